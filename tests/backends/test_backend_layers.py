"""Every part of the library on every backend, compared with its definition."""

import copy
import pickle

import cases
import definitions
import numpy as np
import pytest
from backends import assert_close, every_backend, every_other, readbacks
from every_layer import each, gradients
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from data_tools import GaussianNoise, Masking, Mixture, RandomErasing, SaltAndPepper
from tinyae.backend import HostGenerator, backend_of, get_backend, to_numpy, zeros
from tinyae.layer import Parameter

DTYPES = st.sampled_from(["float64", "float32"])
PLAIN = {
    "ReLU": definitions.relu,
    "Sigmoid": definitions.sigmoid,
    "Flatten": definitions.flatten,
}
KINDS = ["Linear", "Conv2d", "ConvTranspose2d", "BatchNorm2d", "Unflatten", *PLAIN]


@st.composite
def layer_cases(draw, kind, dtype):
    """Draw a layer, the shape of its x, its definition and that one's settings."""
    how = {"dtype": dtype, "seed": draw(cases.seeds)}
    names = ("kernel", "stride", "padding")
    if kind == "Conv2d":
        (C, out, *geometry), shape, _ = draw(cases.convolutions())
        layer = tinyae.Conv2d(C, out, *geometry, **how)
        return layer, shape, definitions.conv, dict(zip(names, geometry, strict=True))
    if kind == "ConvTranspose2d":
        (C, out, *geometry), shape, _ = draw(cases.transposed_convolutions())
        layer = tinyae.ConvTranspose2d(C, out, *geometry, **how)
        settings = dict(zip(names, geometry, strict=False))
        return layer, shape, definitions.conv_transpose, settings
    C, H, W, N = shape = tuple(draw(cases.distinct(4, 2, 6)))
    if kind == "Linear":
        return tinyae.Linear(C, H, **how), (C, N), definitions.linear, {}
    if kind == "BatchNorm2d":
        layer = tinyae.BatchNorm2d(C, dtype=dtype)
        return layer, shape, definitions.batch_norm, {"eps": 1e-5}
    if kind == "Unflatten":
        layer = tinyae.Unflatten((C, H, W))
        return layer, (C * H * W, N), definitions.unflatten, {}
    return getattr(tinyae, kind)(), shape, PLAIN[kind], {}


@every_backend
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), dtype=DTYPES, seed=cases.seeds)
def test_layer(backend, kind, training, data, dtype, seed):
    """Forward, backward and batch norm's statistics follow the definition."""
    layer, shape, definition, settings = data.draw(layer_cases(kind, dtype))
    device, _ = get_backend(backend)
    start = {n: a + 0.25 for n, a in layer.state_dict().items()}  # not ones and zeros
    layer.load_state_dict(start)
    layer.to(backend).train(training)
    (x,) = cases.arrays(seed, shape, dtype=dtype)
    x_there = device.from_numpy(x)
    y = layer.forward(x_there)
    (dy,) = cases.arrays(seed + 1, tuple(y.shape), dtype=dtype)
    dy_there = device.from_numpy(dy)
    dx = layer.backward(dy_there)
    assert backend_of(y) is backend_of(dx) is device
    assert (to_numpy(x_there) == x).all()
    assert (to_numpy(dy_there) == dy).all()

    got = {name: to_numpy(g) for name, g in gradients(layer).items()}
    numbers = {name: start[name].astype("float64") for name in got} | settings
    after = {}
    if kind == "BatchNorm2d":
        running = {name: start[name] for name in ("running_mean", "running_var")}
        if training:
            batch = x.mean((1, 2, 3), "float64"), x.var((1, 2, 3), "float64", ddof=1)
            for (name, old), new in zip(running.items(), batch, strict=True):
                after[name] = 0.9 * old + 0.1 * new
        else:
            numbers["running"] = list(running.values())
            after = running
    upstream = dy.astype("float64")
    want_y, want_dx, want = definition(x.astype("float64"), upstream, **numbers)
    assert_close(to_numpy(y), want_y, dtype, "y")
    assert_close(to_numpy(dx), want_dx, dtype, "dx")
    assert got.keys() == want.keys()
    for name, values in want.items():
        assert_close(got[name], values, dtype, f"the gradient of {name}")
    for name, values in after.items():
        assert_close(layer.state_dict()[name], values, dtype, name)


@every_backend
@given(shape=cases.distinct(4), dtype=DTYPES, seed=cases.seeds)
def test_loss(backend, shape, dtype, seed):
    y, target = cases.arrays(seed, shape, shape, dtype=dtype)
    device, _ = get_backend(backend)
    loss = tinyae.MSELoss()
    value = loss.forward(device.from_numpy(y), device.from_numpy(target))
    assert backend_of(value) is device and tuple(value.shape) == ()
    difference = y.astype("float64") - target
    assert_close(to_numpy(value), np.asarray((difference**2).mean()), dtype)
    slope = to_numpy(loss.backward()) * np.asarray(y.size, dtype)
    assert_close(slope, 2 * difference, dtype)


@every_backend
@given(
    shapes=st.lists(cases.distinct(2), min_size=1, max_size=3),
    steps=st.integers(1, 4),
    dtype=DTYPES,
    seed=cases.seeds,
    lr=st.floats(1e-4, 0.1),
    beta1=st.floats(0, 0.95),
    decay=st.sampled_from([0, 0.01]),
)
def test_adam(backend, shapes, steps, dtype, seed, lr, beta1, decay):
    """Every number follows the paper's algorithm, whatever the shapes around it."""
    device, _ = get_backend(backend)
    drawn = [cases.arrays(seed + k, *shapes, dtype=dtype) for k in range(steps + 1)]
    parameters = [Parameter(device.from_numpy(values)) for values in drawn[0]]
    betas = (beta1, 0.99)
    adam = tinyae.Adam(parameters, lr=lr, betas=betas, weight_decay=decay)
    for values in drawn[1:]:
        for parameter, gradient in zip(parameters, values, strict=True):
            parameter.grad = device.from_numpy(gradient)
        adam.step()
    for parameter, start, *slopes in zip(parameters, *drawn, strict=True):
        start, *slopes = (a.astype("float64") for a in (start, *slopes))
        want = definitions.adam(start, slopes, lr, betas, 1e-8, decay)
        assert_close(to_numpy(parameter.data), want, dtype)


# Copies


@every_backend
@each
def test_a_layer_can_be_copied_and_pickled_at_any_time(backend, make, shape):
    """The copy computes the same, and neither changes the other."""
    device, _ = get_backend(backend)
    layer = make().to(backend)
    x, upstream = cases.arrays(1, shape, shape, dtype="float32")
    x = device.from_numpy(x)
    for _ in range(2):  # before a forward, and after a forward and backward
        copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
        state = layer.state_dict()
        y = layer.forward(x)
        (dy,) = cases.arrays(2, tuple(y.shape), dtype="float32")
        dx = layer.backward(device.from_numpy(dy))
        for other in copies:
            for name, values in other.state_dict().items():
                np.testing.assert_array_equal(values, state[name])
            assert (to_numpy(other.forward(x)) == to_numpy(y)).all()
            same = other.backward(device.from_numpy(dy))
            assert backend_of(same) is device
            assert (to_numpy(same) == to_numpy(dx)).all()


# Corruptions and random numbers

SINGLE = (
    GaussianNoise(0.5),
    GaussianNoise((0.1, 0.9)),
    SaltAndPepper((0.1, 0.9), low=-1.0),
    Masking(0.4, value=0.25),
    RandomErasing(p=0.7, value=0.25),
)
CORRUPTIONS = [*SINGLE, Mixture(SINGLE)]


@every_other
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)
@given(sizes=cases.distinct(3, 4, 9), dtype=DTYPES, seed=cases.seeds)
def test_corruption(backend, corruption, sizes, dtype, seed):
    """The same uniform numbers give NumPy's images; nothing is read back."""
    N, *size = sizes
    images = np.random.default_rng(seed).random((N, 1, *size), dtype=dtype)
    device, _ = get_backend(backend)
    there = device.from_numpy(images)
    rng = HostGenerator(seed, device.from_numpy)
    with readbacks() as reads:
        corrupted = corruption(there, rng)
    assert not reads and backend_of(corrupted) is device
    assert (to_numpy(there) == images).all(), "it changed its argument"
    want = corruption(images, np.random.default_rng(seed))
    assert_close(to_numpy(corrupted), want, dtype)


@every_other
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)
def test_a_corruption_repeats(backend, corruption):
    """Also with the backend's own generator; one of another backend is refused."""
    device, _ = get_backend(backend)
    images = device.from_numpy(np.ones((500, 1, 8, 7), "float32"))
    generators = [device.rng(0, epoch, "noise") for epoch in (1, 1, 2)]
    one, same, other = (to_numpy(corruption(images, g)) for g in generators)
    assert (one == same).all()
    assert (one != other).any()
    with pytest.raises(TypeError, match="^rng: got .*expected .*backend"):
        corruption(images, np.random.default_rng(0))


@every_backend
def test_own_random_numbers(backend):
    """They are uniform, can be repeated, and differ by seed, epoch and purpose."""
    device, _ = get_backend(backend)

    def draw(*key):
        return to_numpy(device.rng(*key).random((500,), dtype=device.xp.float32))

    first = draw(1, 2, "noise")
    assert first.dtype == "float32"
    assert first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 0.5) < 0.1
    assert (first == draw(1, 2, "noise")).all()
    for other in [(2, 2, "noise"), (1, 3, "noise"), (1, 2, "order")]:
        assert (first != draw(*other)).any()


@every_backend
def test_zeros_like(backend):
    like = get_backend(backend)[0].from_numpy(np.ones(3, "float32"))
    made = zeros((2, 5), like=like)
    assert made.shape == (2, 5) and made.dtype == like.dtype
    assert made.device == like.device
    assert (to_numpy(made) == 0).all()
