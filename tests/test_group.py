"""Several processes with a part of every batch each: what one would compute, and nothing lost when one of them dies."""

import os
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import joblib
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from data_tools import GaussianNoise, load_sample
from tinyae import Adam, AnelloAutoencoder, BatchNorm2d, group, sweep
from tinyae.group import LENGTH, Alone, Group, new_board
from tinyae.training import Experiment, Training, TrainingDiverged, batches

DATA = load_sample()
IMAGES = DATA.train_images[:192], DATA.test_images[:64]
CORRUPTED = Experiment(GaussianNoise(0.2), clean_target=True, epochs=3, batch_size=64)


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    """Where one thread of `together` fails, the others wait for it."""
    monkeypatch.setattr(group, "PATIENCE", 20)


def together(size, work):
    """[work(group) of each member]; here members are threads, which share memory as processes share a file's."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(size) as threads:
        board = new_board(size, f"{folder}/board")
        return list(threads.map(lambda rank: work(Group(rank, board)), range(size)))


def train(folder, experiment=CORRUPTED, processes=1, **how):
    experiment = replace(experiment, processes=processes)
    (_, training), = sweep.train_all({"one": experiment}, *IMAGES, folder, "source", **how)
    return training


def assert_same(one, other):
    assert one.history == other.history
    for name, values in one.state().items():
        np.testing.assert_array_equal(values, other.state()[name], err_msg=name, strict=True)


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
    means = joblib.Parallel(2, batch_size=1)(joblib.delayed(lambda rank, board: Group(rank, board).mean(parts[rank]))(
        rank, board) for rank in (0, 1))
    np.testing.assert_array_equal(means, [[1.5, 2.5, 3.5]] * 2)


def test_nobody_waits_for_ever(monkeypatch, tmp_path):
    monkeypatch.setattr(group, "PATIENCE", 0.05)
    with pytest.raises(TimeoutError, match="rank 1 waited 0.05 s for the other 1 of its group"):
        Group(1, new_board(2, tmp_path / "board")).mean(np.ones(3))


@pytest.mark.parametrize("size", [2, 3])
def test_batch_norm_sees_the_whole_batch(size):
    rng = np.random.default_rng(size)
    x, dy = rng.normal(3, 2, (2, 4, 5, 3, 6))

    def layer_on(g):
        layer = BatchNorm2d(4, dtype="float64")
        layer.group = g
        layer.load_state_dict(layer.state_dict() | {"weight": np.arange(1.0, 5), "bias": np.ones(4)})
        y, dx = layer.forward(x[..., g.rank::g.size]), layer.backward(dy[..., g.rank::g.size])
        return y, dx, layer

    y, dx, whole = layer_on(Alone())
    found = together(size, layer_on)
    for rank, (own_y, own_dx, layer) in enumerate(found):
        np.testing.assert_allclose(own_y, y[..., rank::size], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(own_dx, dx[..., rank::size], rtol=1e-13, atol=1e-13)
        for name, values in whole.state_dict().items():
            np.testing.assert_allclose(layer.state_dict()[name], values, rtol=1e-13, err_msg=name)
    for name, gradient in whole.gradients().items():  # dy is given here, not an average: parts add
        np.testing.assert_allclose(sum(layer.gradients()[name] for *_, layer in found), gradient, rtol=1e-12)


def test_batch_norm_takes_one_value_each_of_several():
    x = np.array([1.0, 3.0]).reshape(1, 1, 1, 2)

    def forward(g):
        layer = BatchNorm2d(1, dtype="float64")
        layer.group = g
        return layer.forward(x[..., g.rank::2]).item(), layer.state_dict()["running_var"].item()

    first, second = together(2, forward)
    assert first[0] == -second[0] == pytest.approx(-1, abs=1e-5)
    assert first[1] == second[1] == pytest.approx(0.9 + 0.1 * 2)  # the unbiased variance of 1 and 3


@pytest.mark.parametrize("size", [2, 4])
def test_steps_are_those_of_the_whole_batch(size):
    """In float64, where rounding has no time to grow: three steps of Adam, with noise on the input."""
    images = np.random.default_rng(3).integers(0, 256, (24, 28, 28), dtype="uint8")

    def three_steps(g):
        training = Training(Experiment(GaussianNoise(0.5), clean_target=True, batch_size=8))
        training.model = AnelloAutoencoder(4, dtype="float64", seed=1)
        training.optimizer = Adam(training.model.parameters(), weight_decay=1e-5)
        training.join(g)
        losses = [float(training.train_step(x.astype("float64"), target.astype("float64")))
                  for x, target in training.train_batches(images, 1)]
        return g.mean(np.array(losses)), training.model

    losses, whole = three_steps(Alone())
    found = together(size, three_steps)
    for own_losses, model in found:
        np.testing.assert_allclose(own_losses, losses, rtol=1e-10)
        for name, values in whole.state_dict().items():
            np.testing.assert_allclose(model.state_dict()[name], values, rtol=0, atol=1e-9, err_msg=name)
            np.testing.assert_array_equal(model.state_dict()[name], found[0][1].state_dict()[name], err_msg=name)


def test_parts_are_the_batch():
    noisy = lambda g: list(batches(IMAGES[0][:100], CORRUPTED, np.random.default_rng(1), group=g))
    parts = together(2, noisy)
    for number, (x, target) in enumerate(noisy(Alone())):
        for rank in (0, 1):
            np.testing.assert_array_equal(parts[rank][number][0], x[rank::2])
            np.testing.assert_array_equal(parts[rank][number][1], target[rank::2])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return train(tmp_path_factory.mktemp("two"), processes=2)


def test_processes_train_what_one_trains(tmp_path, two):
    one = train(tmp_path)
    assert len(two.history) == 3 and two.history != one.history, "rounding differs, or nothing was shared"
    np.testing.assert_allclose(two.history, one.history, rtol=1e-4)
    for name, values in one.first_model.state_dict().items():
        np.testing.assert_allclose(two.first_model.state_dict()[name], values, rtol=0, atol=5e-3, err_msg=name)


@pytest.mark.parametrize("n_jobs", [1, 2, 5])
def test_the_number_of_cores_changes_no_bit(tmp_path, two, n_jobs):
    assert_same(train(tmp_path, processes=2, n_jobs=n_jobs), two)


def test_several_trainings_of_several_processes(tmp_path, two):
    others = {str(seed): Experiment(epochs=2, batch_size=64, seed=seed, processes=2) for seed in range(3)}
    both = others | {"one": replace(CORRUPTED, processes=2)}
    found = dict(sweep.train_all(both, *IMAGES, tmp_path, "source", n_jobs=3))
    assert_same(found["one"], two)
    assert [len(found[name].history) for name in others] == [2, 2, 2]


class Kills:
    """A corruption that kills the second member of a group in epoch 2, if FOLDER/kill is there."""

    def __init__(self, folder):
        self.folder = folder

    def __repr__(self):
        return "Kills()"

    def __call__(self, images, rng):
        try:
            if rng.bit_generator.seed_seq.entropy[1] == 2:
                os.remove(self.folder / "kill")  # whoever comes first
                os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            pass
        return images


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_member_that_dies_costs_one_epoch(tmp_path):
    experiment = Experiment(Kills(tmp_path), epochs=3, batch_size=64, processes=2)
    undisturbed = train(tmp_path / "undisturbed", experiment, 2)
    (tmp_path / "kill").touch()
    with pytest.raises(TerminatedWorkerError):
        train(tmp_path / "killed", experiment, 2)
    path, = sweep.training_paths({"one": experiment}, *IMAGES, tmp_path / "killed", "source").values()
    assert len(sweep.resume(experiment, path).history) == 1
    assert_same(train(tmp_path / "killed", experiment, 2), undisturbed)


class Poisoned:
    """A corruption that makes one image of epoch 2 infinite."""

    def __repr__(self):
        return "Poisoned()"

    def __call__(self, images, rng):
        images = images.copy()
        images[1] += np.float32("inf") if rng.bit_generator.seed_seq.entropy[1] == 2 else 0
        return images


def test_a_divergence_is_explained(tmp_path):
    """Each member looks for itself, at whole batches: one whose part has nothing wrong with it would wait for ever."""
    with pytest.raises(TrainingDiverged, match="The loss of epoch 2 is not finite. It began in batch 1 of the training "
                       "images, in the images themselves, .* the state after epoch 1 is kept"):
        train(tmp_path, Experiment(Poisoned(), epochs=3, batch_size=64), processes=2)


@pytest.mark.parametrize("change, kind, said", [
    ({"processes": 0}, ValueError, ("processes", "0", "at least 1")),
    ({"processes": 1.5}, TypeError, ("processes", "1.5", "an integer")),
    ({"processes": 3}, ValueError, ("processes", "3", "divisor", "batch_size", "64")),
    ({"processes": 2, "backend": "cupy"}, ValueError, ("processes", "2", "expected 1", "cupy"))])
def test_wrong_numbers_of_processes(change, kind, said):
    with pytest.raises(kind) as raised:
        replace(CORRUPTED, **change)
    assert all(word in str(raised.value) for word in said), raised.value


def test_one_process_is_no_group():
    with pytest.raises(ValueError, match="processes: got 2, but run.. is here in a group of 1; use sweep.train_all"):
        Training(replace(CORRUPTED, processes=2)).run(*IMAGES)


def test_parts_of_the_images_are_of_one_size(tmp_path):
    with pytest.raises(ValueError, match="test_images: got 63 images, expected a multiple of the experiment's processes, 2"):
        list(sweep.train_all({"one": replace(CORRUPTED, processes=2)}, IMAGES[0], IMAGES[1][:63], tmp_path, "source"))


def test_a_sweep_has_one_number_of_processes(tmp_path):
    both = {"one": CORRUPTED, "two": replace(CORRUPTED, processes=2)}
    with pytest.raises(ValueError, match=r"processes: got \[1, 2\], expected the same for all experiments"):
        list(sweep.train_all(both, *IMAGES, tmp_path, "source"))


def test_threads_and_clusters_are_refused(tmp_path):
    with joblib.parallel_config(backend="threading"), pytest.raises(ValueError, match="processes: got 2, expected 1: this is no worker process"):
        train(tmp_path, processes=2)
