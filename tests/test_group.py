"""A group, each of whose members has a part of every batch, computes what one process would."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from board import LENGTH, Group, new_board

from data_tools import GaussianNoise, load_sample
from tinyae import Adam, AnelloAutoencoder, BatchNorm2d
from tinyae.group import Alone
from tinyae.training import Experiment, Training, batches


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    """Where one thread of `together` fails, the others wait for it."""
    monkeypatch.setattr("board.PATIENCE", 20)


def together(size, work):
    """[work(group) of each member]; here members are threads, which share memory as processes share a file's."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(size) as threads:
        board = new_board(size, f"{folder}/board")
        return list(threads.map(lambda rank: work(Group(rank, board)), range(size)))


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_is_the_same_bits_for_all(size, dtype):
    a = np.random.default_rng(size).standard_normal((size, 20)).astype(dtype)
    a[:, 0] = np.resize([1, 1e9, -1e9], size)  # a sum that depends on its order
    given, total = a.copy(), a[0].copy()
    for part in a[1:]:
        total += part
    for form in (lambda b: b, lambda b: b[::2]):
        for mean in together(size, lambda g: g.mean(form(a[g.rank]))):
            np.testing.assert_array_equal(mean, form(total / size), strict=True)
        assert (a == given).all()


def test_a_long_vector_goes_in_pieces():
    a = np.random.default_rng(1).standard_normal((2, 2 * LENGTH + 3), dtype="float32")
    for mean in together(2, lambda g: g.mean(a[g.rank])):
        np.testing.assert_array_equal(mean, (a[0] + a[1]) / 2, strict=True)


def test_nobody_reads_what_is_written_later():
    """Thousands of means, one right after the other, the members out of step now and then."""

    def many(g):
        rng, means = np.random.default_rng(g.rank), []
        for turn in range(3000):
            if rng.random() < 0.01:
                time.sleep(rng.random() / 1000)
            means.append(g.mean(np.full(1 + turn % 5, turn + g.rank, "float64")))
        return means

    for means in together(2, many):
        for turn, mean in enumerate(means):
            np.testing.assert_array_equal(mean, np.full(1 + turn % 5, turn + 0.5))


def test_processes_meet_on_a_file(tmp_path):
    board = new_board(2, tmp_path / "board")
    parts = np.arange(6.0).reshape(2, 3)
    means = joblib.Parallel(2, batch_size=1)(
        joblib.delayed(lambda rank, board: Group(rank, board).mean(parts[rank]))(
            rank, board
        )
        for rank in (0, 1)
    )
    np.testing.assert_array_equal(means, [[1.5, 2.5, 3.5]] * 2)


def test_nobody_waits_for_ever(monkeypatch, tmp_path):
    monkeypatch.setattr("board.PATIENCE", 0.05)
    with pytest.raises(
        TimeoutError, match="rank 1 waited 0.05 s for the other 1 of its group"
    ):
        Group(1, new_board(2, tmp_path / "board")).mean(np.ones(3))


@pytest.mark.parametrize("size", [2, 3])
def test_batch_norm_sees_the_whole_batch(size):
    rng = np.random.default_rng(size)
    x, dy = rng.normal(3, 2, (2, 4, 5, 3, 6))

    def layer_on(g):
        layer = BatchNorm2d(4, dtype="float64")
        layer.group = g
        layer.load_state_dict(
            layer.state_dict() | {"weight": np.arange(1.0, 5), "bias": np.ones(4)}
        )
        y, dx = (
            layer.forward(x[..., g.rank :: g.size]),
            layer.backward(dy[..., g.rank :: g.size]),
        )
        return y, dx, layer

    y, dx, whole = layer_on(Alone())
    found = together(size, layer_on)
    for rank, (own_y, own_dx, layer) in enumerate(found):
        np.testing.assert_allclose(own_y, y[..., rank::size], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(own_dx, dx[..., rank::size], rtol=1e-13, atol=1e-13)
        for name, values in whole.state_dict().items():
            np.testing.assert_allclose(
                layer.state_dict()[name], values, rtol=1e-13, err_msg=name
            )
    for (
        name,
        gradient,
    ) in whole.gradients().items():  # dy is given here, not an average: parts add
        np.testing.assert_allclose(
            sum(layer.gradients()[name] for *_, layer in found), gradient, rtol=1e-12
        )


def test_batch_norm_takes_one_value_each_of_several():
    x = np.array([1.0, 3.0]).reshape(1, 1, 1, 2)

    def forward(g):
        layer = BatchNorm2d(1, dtype="float64")
        layer.group = g
        return layer.forward(x[..., g.rank :: 2]).item(), layer.state_dict()[
            "running_var"
        ].item()

    first, second = together(2, forward)
    assert first[0] == -second[0] == pytest.approx(-1, abs=1e-5)
    assert (
        first[1] == second[1] == pytest.approx(0.9 + 0.1 * 2)
    )  # the unbiased variance of 1 and 3


@pytest.mark.parametrize("size", [2, 4])
def test_steps_are_those_of_the_whole_batch(size):
    """In float64, where rounding has no time to grow: three steps of Adam, with noise on the input."""
    images = np.random.default_rng(3).integers(0, 256, (24, 28, 28), dtype="uint8")

    def three_steps(g):
        training = Training(
            Experiment(GaussianNoise(0.5), clean_target=True, batch_size=8)
        )
        training.model = AnelloAutoencoder(4, dtype="float64", seed=1)
        training.optimizer = Adam(training.model.parameters(), weight_decay=1e-5)
        training.join(g)
        losses = [
            float(training.train_step(x.astype("float64"), target.astype("float64")))
            for x, target in training.train_batches(images, 1)
        ]
        return g.mean(np.array(losses)), training.model

    losses, whole = three_steps(Alone())
    found = together(size, three_steps)
    for own_losses, model in found:
        np.testing.assert_allclose(own_losses, losses, rtol=1e-10)
        for name, values in whole.state_dict().items():
            np.testing.assert_allclose(
                model.state_dict()[name], values, rtol=0, atol=1e-9, err_msg=name
            )
            np.testing.assert_array_equal(
                model.state_dict()[name], found[0][1].state_dict()[name], err_msg=name
            )


def test_parts_are_the_batch():
    images, noise = (
        load_sample().train_images[:100],
        Experiment(GaussianNoise(0.2), clean_target=True, batch_size=64),
    )
    noisy = lambda g: list(batches(images, noise, np.random.default_rng(1), group=g))
    parts = together(2, noisy)
    for number, (x, target) in enumerate(noisy(Alone())):
        for rank in (0, 1):
            np.testing.assert_array_equal(parts[rank][number][0], x[rank::2])
            np.testing.assert_array_equal(parts[rank][number][1], target[rank::2])
