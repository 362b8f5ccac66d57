"""The autoencoder on every backend, whole: trained, evaluated, saved and resumed; and what that costs on a device."""

import array_api_strict as strict
import cases
import count_launches
import numpy as np
import pytest
from backends import DEVICE, assert_close, every_backend, every_other, readbacks
from counted import CountedArray, counting
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.corruptions import GaussianNoise, RandomErasing
from tinyae import Adam, AnelloAutoencoder, Conv2d, MSELoss, checkpoint
from tinyae.backend import HostGenerator, backend_of, choose, to_numpy, zeros
from tinyae.training import Experiment, Training, TrainingDiverged

# -- the autoencoder --


def train(backend, dtype, seed, N, steps=3):
    """A few steps on random images with noise. Returns the losses, one in evaluation mode, and the model."""
    device = choose(backend)[0]
    coarse = np.random.default_rng(seed).uniform(0, 1, (N, 1, 7, 7)).astype(dtype)
    images = device.from_numpy(np.kron(coarse, np.ones((1, 1, 4, 4), dtype)))
    model = AnelloAutoencoder(3, dtype=dtype, seed=seed, width=3).to(backend)
    optimizer, loss, noise = (
        Adam(model.parameters(), lr=0.01, weight_decay=1e-3),
        MSELoss(),
        GaussianNoise(0.1),
    )
    losses = []
    for step in range(steps):
        x = noise(images, HostGenerator([seed, step], device.from_numpy))
        losses.append(loss.forward(model.forward(x), images))
        model.backward(loss.backward(), input_grad=False)
        optimizer.step()
    losses.append(loss.forward(model.eval().forward(images), images))
    return to_numpy(device.xp.stack(losses)), model, images


@every_other
@settings(max_examples=settings.default.max_examples // 8)  # each trains four times
@given(seed=cases.seeds, N=st.integers(2, 6))
def test_training_agrees_with_numpy(backend, seed, N):
    """Weights, running statistics and losses in float64; in float32 the losses: Adam turns rounding errors of gradients
    that are truly zero (the biases before a batch norm) into steps, on any two machines.
    """
    losses, model, images = train(backend, "float64", seed, N)
    want, reference, _ = train("numpy", "float64", seed, N)
    assert_close(losses, want, "float64", "losses")
    for name, values in reference.state_dict().items():
        assert_close(model.state_dict()[name], values, "float64", name)
    assert_close(
        to_numpy(model.encode(images)),
        reference.encode(to_numpy(images)),
        "float64",
        "codes",
    )
    losses, want = (train(name, "float32", seed, N)[0] for name in (backend, "numpy"))
    assert_close(losses, want, "float32", "float32 losses")


@every_backend
def test_learns(backend):
    losses, _, _ = train(backend, "float32", 1, 4, steps=30)
    assert losses[-2] < 0.8 * losses[0]


@every_backend
def test_evaluation_treats_images_one_by_one(backend):
    """With batch norm's running statistics, an image's reconstruction does not depend on the others in its batch."""
    _, model, images = train(backend, "float64", 2, 5)
    together = to_numpy(model.forward(images))
    assert_close(to_numpy(model.forward(images[1:2, ...])), together[1:2], "float64")
    model.train()
    assert (
        np.abs(to_numpy(model.forward(images[1:3, ...])) - together[1:3]).max() > 1e-3
    )


@every_backend
def test_round_trips(backend):
    """Weights go to the device and back, by to() and by state_dict, without a bit changing."""
    _, model, images = train(backend, "float32", 3, 2)
    state, there = model.state_dict(), to_numpy(model.forward(images))
    assert all(
        backend_of(p.data) is choose(backend)[0] for _, p in model.named_parameters()
    )
    again = AnelloAutoencoder(3, width=3, seed=9).eval().to(backend)
    again.load_state_dict(state)
    assert (to_numpy(again.forward(images)) == there).all()
    assert all(
        backend_of(p.data) is choose(backend)[0] for _, p in again.named_parameters()
    )
    host = model.to("numpy")
    assert all(
        (host.state_dict()[name] == values).all() for name, values in state.items()
    )
    assert all(p.grad is None for p in host.parameters()), (
        "gradients of another device must not be used"
    )
    assert_close(host.forward(to_numpy(images)), there, "float32")


# -- nothing is read back --


def test_a_step_reads_nothing_back():
    """Corruption, forward, loss, backward, Adam: the processor never waits for a value."""
    device = choose("strict")[0]
    with readbacks() as reads:
        train("strict", "float32", 1, 2)
        for corruption in (RandomErasing(), GaussianNoise(0.5)):
            corruption(
                zeros((2, 1, 28, 28), like=device.from_numpy(np.ones(1))),
                device.rng(1, 1, "test"),
            )
    assert reads == {"to_device": 1}, (
        "train() reads its losses, once, and nothing else may"
    )


# -- the tools themselves --


def test_strict_refuses_what_a_gpu_would():
    there, here = strict.asarray([1.0], device=DEVICE), strict.asarray([1.0])
    with pytest.raises(RuntimeError):
        np.asarray(there)
    with pytest.raises(ValueError):
        there + here
    with pytest.raises(TypeError):
        there + np.ones(1)
    with pytest.raises(AttributeError):
        strict.einsum


def test_readbacks_are_seen():
    x = choose("strict")[0].from_numpy(np.ones(3))
    for read, name in [
        (lambda: float(x[0]), "__float__"),
        (lambda: int(x[0]), "__int__"),
        (lambda: list(x), "__iter__"),
        (lambda: bool(x[0]), "__bool__"),
        (lambda: max(x[0], 2.0), "__bool__"),
        (lambda: complex(x[0]), "__complex__"),
        (lambda: to_numpy(x), "to_device"),
        (lambda: range(strict.asarray(1, device=DEVICE)), "__index__"),
    ]:
        with readbacks() as reads:
            read()
        assert reads == {name: 1}


def test_counted_refuses_numpy():
    x = CountedArray(np.ones(3))
    for wrong in (
        lambda: np.asarray(x),
        lambda: x + np.ones(3),
        lambda: np.ones(3) * x,
        lambda: np.exp(x),
        lambda: iter(x),
        lambda: float(x),
        lambda: x[np.array([0])],
    ):
        with pytest.raises(TypeError):
            wrong()


# -- Training --


def images(M, seed):
    return np.random.default_rng(seed).integers(0, 256, (M, 28, 28), dtype="uint8")


TRAIN, TEST = images(20, 1), images(7, 2)  # in batches of 8 the last ones are smaller


def experiment(backend, epochs=2, **how):
    return Experiment(backend=backend, epochs=epochs, batch_size=8, **how)


@pytest.mark.parametrize(
    "backend", ["strict", "counted"]
)  # not cupy: it draws other random numbers, as documented
@pytest.mark.parametrize(
    "corruption",
    [None, GaussianNoise(0.5), RandomErasing()],
    ids=lambda c: type(c).__name__,
)
def test_training_has_numpys_history(backend, corruption):
    want = Training(experiment("numpy", corruption=corruption)).run(TRAIN, TEST).history
    got = Training(experiment(backend, corruption=corruption)).run(TRAIN, TEST).history
    np.testing.assert_allclose(got, want, rtol=1e-5)


@every_backend
def test_training_goes_on_from_a_checkpoint(backend, tmp_path):
    """From the device to a file and back, without a bit of difference to a training that never stopped."""
    whole = Training(experiment(backend, 3, corruption=GaussianNoise(0.1))).run(
        TRAIN, TEST
    )
    first = Training(experiment(backend, 1, corruption=GaussianNoise(0.1))).run(
        TRAIN, TEST
    )
    checkpoint.save(tmp_path / "file", first.state(), {})
    state, _ = checkpoint.load(tmp_path / "file")
    resumed = (
        Training(experiment(backend, 3, corruption=GaussianNoise(0.1)))
        .restore(state)
        .run(TRAIN, TEST)
    )
    assert resumed.history == whole.history
    for name, values in whole.state().items():
        np.testing.assert_array_equal(resumed.state()[name], values, err_msg=name)
    assert all(
        backend_of(p.data).name == backend for _, p in resumed.model.named_parameters()
    )


@every_backend
def test_an_epoch_can_be_replayed(backend):
    training = Training(experiment(backend, corruption=GaussianNoise(0.1)))
    pixels = training.backend.from_numpy(TRAIN)
    draw = lambda epoch: np.concatenate(
        [to_numpy(x) for x, _ in training.train_batches(pixels, epoch)]
    )
    assert (draw(2) == draw(2)).all() and (draw(1) != draw(2)).any()


@every_backend
@pytest.mark.filterwarnings("ignore:(overflow|invalid):RuntimeWarning")
def test_divergence_is_explained_on_every_backend(backend):
    with pytest.raises(
        TrainingDiverged,
        match="The loss of epoch 1 is not finite. It began in batch 2 of",
    ):
        Training(experiment(backend, lr=1e30)).run(TRAIN, TEST)


@pytest.mark.parametrize(
    "lr, batch, where",
    [
        (
            1e39,
            1,
            r"in the weights after Adam's step\.",
        ),  # beyond float32 at once, even if no batch came after it
        (
            1e37,
            2,
            r"in the output of [\w.]+ \(\w+\)\.",
        ),  # finite weights, the product of which is not
    ],
)
def test_a_divergence_is_found_where_it_began(lr, batch, where):
    with pytest.raises(
        TrainingDiverged,
        match=f"It began in batch {batch} of the training images, {where}",
    ):
        Training(experiment("numpy", lr=lr)).run(TRAIN, TEST)


@pytest.mark.parametrize(
    "corruption",
    [None, GaussianNoise(0.5), RandomErasing()],
    ids=lambda c: type(c).__name__,
)
def test_an_epoch_reads_back_once(corruption):
    training = Training(experiment("strict", 3, corruption=corruption))
    with readbacks() as reads:
        training.run(TRAIN, TEST)
    assert reads == {"to_device": 3}


# -- launches --


@pytest.mark.parametrize(
    "corruption",
    [None, GaussianNoise(0.5), RandomErasing()],
    ids=lambda c: type(c).__name__,
)
def test_launches_of_a_step(corruption):
    """They do not depend on the batch size, and are not more than count_launches.LIMIT."""
    counts = count_launches.launches_of_a_step(2, corruption)
    assert counts == count_launches.launches_of_a_step(16, corruption)
    parts = count_launches.totals(counts)
    assert all(parts.values()) and "read back" not in sum(
        counts.values(), start=type(counts["loss"])()
    )
    assert sum(parts.values()) <= count_launches.LIMIT


def test_launches_are_counted():
    x = choose("counted")[0].from_numpy(np.ones((1, 5, 5, 2), "float32"))
    layer = Conv2d(1, 3, 2).to("counted")
    with counting() as calls:
        layer.forward(x)
    assert calls == {"zeros": 1, "setitem": 4, "__matmul__": 1, "__iadd__": 1}
    with counting() as calls:
        y = x[:, 1:, :, :]
        y = choose("counted")[0].xp.permute_dims(y, (3, 0, 1, 2))
    assert calls == {} and y.shape == (2, 1, 4, 5)
    with counting() as calls:
        x[:, 1:, :, :] += 1
    assert calls == {"__iadd__": 1} and to_numpy(x)[0, :, 0, 0].tolist() == [
        1,
        2,
        2,
        2,
        2,
    ]
    with counting() as calls:
        choose("counted")[0].xp.reshape(x.T[0, ...], (-1,))
    assert calls == {"reshape (copy)": 1}
