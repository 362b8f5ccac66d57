"""Every part of the library on every backend: the same drawn cases, the same tolerances, the same results."""

import cases
import definitions
import numpy as np
import pytest
from backends import assert_close, every_backend
from hypothesis import given
from hypothesis import strategies as st

from data_tools.corruptions import GaussianNoise, RandomErasing
from tinyae import (
    Adam,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    MSELoss,
    ReLU,
    Sigmoid,
    Unflatten,
)
from tinyae.backend import HostGenerator, backend_of, choose, to_numpy, zeros
from tinyae.layer import Parameter

DTYPES = st.sampled_from(["float64", "float32"])


# -- the layers --


@st.composite
def geometries(draw, sizes, transposed):
    """kernel, stride, padding, output_padding for an image of these sizes, two numbers each, such that it fits."""
    along = []
    for size in sizes:
        stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, 2))
        extra = draw(st.integers(0, stride - 1)) if transposed else 0
        least = (
            max(1, 1 + 2 * padding - extra - (size - 1) * stride) if transposed else 1
        )  # else nothing is left
        most = 5 if transposed else min(5, size + 2 * padding)
        along.append((draw(st.integers(least, most)), stride, padding, extra))
    return list(zip(*along))


@st.composite
def layer_cases(draw, kind):
    """(layer, shape of x, its definition as a function of x, dy and parameters, seed), for one kind of layer."""
    dtype = draw(DTYPES)
    (C, H, W, N), seed = shape, _ = (
        tuple(draw(cases.distinct(4, 2, 6))),
        draw(cases.seeds),
    )
    if kind in (Conv2d, ConvTranspose2d):
        O = draw(st.integers(1, 7).filter(lambda n: n not in shape))
        *geometry, extra = draw(geometries((H, W), kind is ConvTranspose2d))
        if kind is Conv2d:
            return (
                Conv2d(C, O, *geometry, dtype=dtype, seed=seed),
                shape,
                definitions.conv,
                geometry,
                seed,
            )
        layer = ConvTranspose2d(C, O, *geometry, extra, dtype=dtype, seed=seed)
        return layer, shape, definitions.conv_transpose, geometry, seed
    if kind is Linear:
        return (
            Linear(C, H, dtype=dtype, seed=seed),
            (C, N),
            definitions.linear,
            (),
            seed,
        )
    if kind is BatchNorm2d:
        return BatchNorm2d(C, dtype=dtype), shape, definitions.batch_norm, (1e-5,), seed
    if kind is Unflatten:
        return Unflatten((C, H, W)), (C * H * W, N), definitions.unflatten, (), seed
    definition = {
        ReLU: definitions.relu,
        Sigmoid: definitions.sigmoid,
        Flatten: definitions.flatten,
    }[kind]
    return kind(), shape, definition, (), seed


def run_layer(layer, x, dy_seed, backend):
    """Move everything to the backend, go forward and backward there, and bring the results back."""
    device, _ = choose(backend)
    layer.to(backend)
    x_there = device.from_numpy(x)
    y = layer.forward(x_there)
    (dy,) = cases.arrays(dy_seed, y.shape, dtype=str(x.dtype))
    dy_there = device.from_numpy(dy)
    dx = layer.backward(dy_there)
    assert backend_of(y) is backend_of(dx) is device
    assert (to_numpy(x_there) == x).all() and (to_numpy(dy_there) == dy).all(), (
        "changed what it was given"
    )
    return to_numpy(y), dy, to_numpy(dx), layer.gradients()


@every_backend
@pytest.mark.parametrize(
    "kind",
    [Linear, Conv2d, ConvTranspose2d, BatchNorm2d, ReLU, Sigmoid, Flatten, Unflatten],
)
@given(data=st.data())
def test_layer(backend, kind, data):
    """Forward and backward follow the definition, and agree with NumPy's, in training and in evaluation mode."""
    layer, shape, definition, settings, seed = data.draw(layer_cases(kind))
    dtype = (
        str(layer.weight.data.dtype) if hasattr(layer, "weight") else data.draw(DTYPES)
    )
    (x,) = cases.arrays(seed, shape, dtype=dtype)
    start = {
        name: values + 0.25 for name, values in layer.state_dict().items()
    }  # away from ones and zeros
    for training in (True, False):
        layer.load_state_dict(start)
        layer.train(training)
        y, dy, dx, gradients = run_layer(layer, x, seed + 1, backend)
        numbers = {name: start[name].astype("float64") for name in gradients}
        if kind is BatchNorm2d and not training:
            numbers["running"] = start["running_mean"], start["running_var"]
        want_y, want_dx, want_gradients = definition(
            x.astype("float64"),
            dy.astype("float64"),
            *(numbers.pop(n) for n in gradients),
            *settings,
            **numbers,
        )
        assert_close(y, want_y, dtype, "y")
        assert_close(dx, want_dx, dtype, "dx")
        assert gradients.keys() == want_gradients.keys()
        for name in gradients:
            assert_close(
                gradients[name], want_gradients[name], dtype, f"gradient of {name}"
            )
        if kind is BatchNorm2d:
            M = x[0].size
            batch = (
                x.mean((1, 2, 3), dtype="float64"),
                x.var((1, 2, 3), dtype="float64") * M / (M - 1),
            )
            for name, values in zip(("running_mean", "running_var"), batch):
                want = 0.9 * start[name] + 0.1 * values if training else start[name]
                assert_close(layer.state_dict()[name], want, dtype, name)
        if backend != "numpy":
            layer.load_state_dict(start)
            for ours, host in zip((y, dx), run_layer(layer, x, seed + 1, "numpy")[::2]):
                assert_close(ours, host, dtype, "against NumPy")


@every_backend
@given(shape=cases.distinct(4), dtype=DTYPES, seed=cases.seeds)
def test_loss(backend, shape, dtype, seed):
    y, target = cases.arrays(seed, shape, shape, dtype=dtype)
    device, loss = choose(backend)[0], MSELoss()
    value = loss.forward(device.from_numpy(y), device.from_numpy(target))
    assert backend_of(value) is device and tuple(value.shape) == ()
    difference = y.astype("float64") - target
    assert_close(to_numpy(value), np.asarray((difference**2).mean()), dtype)
    assert_close(
        to_numpy(loss.backward()) * np.asarray(y.size, dtype), 2 * difference, dtype
    )


@every_backend
@given(
    shapes=st.lists(cases.distinct(2), min_size=1, max_size=3),
    steps=st.integers(1, 4),
    dtype=DTYPES,
    seed=cases.seeds,
    lr=st.floats(1e-4, 0.1),
    beta1=st.floats(0, 0.95),
    weight_decay=st.sampled_from([0, 0.01]),
)
def test_adam(backend, shapes, steps, dtype, seed, lr, beta1, weight_decay):
    """Every number follows the paper's algorithm on its own, whatever the shapes around it."""
    device = choose(backend)[0]
    start, *gradients = [
        cases.arrays(seed + k, *shapes, dtype=dtype) for k in range(steps + 1)
    ]
    parameters = [Parameter(device.from_numpy(values)) for values in start]
    optimizer = Adam(parameters, lr=lr, betas=(beta1, 0.99), weight_decay=weight_decay)
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = device.from_numpy(gradient)
        optimizer.step()
    for k, parameter in enumerate(parameters):
        each = np.vectorize(
            lambda *n: definitions.adam(
                n[0], n[1:], lr, (beta1, 0.99), 1e-8, weight_decay
            )
        )
        assert_close(
            to_numpy(parameter.data),
            each(*(a[k].astype("float64") for a in (start, *gradients))),
            dtype,
        )


# -- the corruptions --


@every_backend
@pytest.mark.parametrize(
    "corruption",
    [GaussianNoise(0.5), RandomErasing(p=0.7, value=0.25)],
    ids=lambda c: type(c).__name__,
)
@given(sizes=cases.distinct(3, 4, 9), seed=cases.seeds)
def test_corruption(backend, corruption, sizes, seed):
    """From the same uniform numbers come the same images; what is given is not touched."""
    images = np.random.default_rng(seed).uniform(-1, 1, (sizes[0], 1, *sizes[1:]))
    device = choose(backend)[0]
    there = device.from_numpy(images)
    corrupted = corruption(there, HostGenerator(seed, device.from_numpy))
    assert backend_of(corrupted) is device
    assert (to_numpy(there) == images).all(), "changed what it was given"
    want = corruption(images, HostGenerator(seed, np.array))
    assert_close(to_numpy(corrupted), want, "float64")
    assert not np.shares_memory(want, images)


@every_backend
def test_own_random_numbers(backend):
    """A backend's generator is uniform, replays what it drew, and differs with the seed, the epoch and the purpose."""
    device = choose(backend)[0]
    draw = lambda *key: to_numpy(
        device.rng(*key).random((500,), dtype=device.xp.float32)
    )
    first = draw(1, 2, "noise")
    assert (
        first.dtype == "float32"
        and first.min() >= 0
        and first.max() < 1
        and abs(first.mean() - 0.5) < 0.1
    )
    assert (first == draw(1, 2, "noise")).all()
    for other in [(2, 2, "noise"), (1, 3, "noise"), (1, 2, "order")]:
        assert (first != draw(*other)).any()


@every_backend
def test_zeros_like(backend):
    like = choose(backend)[0].from_numpy(np.ones(3, "float32"))
    made = zeros((2, 5), like=like)
    assert (
        made.shape == (2, 5) and made.dtype == like.dtype and made.device == like.device
    )
    assert (to_numpy(made) == 0).all()
