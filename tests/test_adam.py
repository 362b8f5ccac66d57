"""Adam against the paper's algorithm, written out number by number."""

import numpy as np
import pytest
from cases import arrays, seeds
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from tinyae.layer import Parameter


def paper(theta, gradients, lr, beta1, beta2, eps, weight_decay):
    """Kingma & Ba, algorithm 1, for one number; weight decay as the gradient of weight_decay/2 theta^2."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * theta
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        mhat, vhat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = theta - lr * mhat / (vhat**0.5 + eps)
        yield theta


def parameters(seed, *shapes, dtype="float64"):
    return [Parameter(array) for array in arrays(seed, *shapes, dtype=dtype)]


@given(
    seeds,
    st.floats(1e-4, 0.5),
    st.floats(0, 0.99),
    st.floats(0, 0.9999),
    st.sampled_from([0, 1e-8, 1e-3, 0.5]),
    st.sampled_from([0, 1e-5, 0.1, 2]),
)
def test_adam_is_the_papers_algorithm(seed, lr, beta1, beta2, eps, weight_decay):
    shapes, steps = [(2, 3), (4,), (1, 2, 1, 3)], 12
    given = parameters(seed, *shapes)
    start = np.concatenate([p.data.ravel() for p in given])
    gradients = arrays(seed + 1, (steps, start.size))[0] * 10.0 ** np.arange(
        start.size
    ).clip(0, 4)  # of many sizes
    expected = np.array(
        [
            list(paper(x, g, lr, beta1, beta2, eps, weight_decay))
            for x, g in zip(start, gradients.T)
        ]
    ).T
    adam = tinyae.Adam(given, lr, (beta1, beta2), eps, weight_decay)
    for t in range(steps):
        parts = np.split(gradients[t], [6, 10])
        for p, part in zip(given, parts):
            p.grad = part.reshape(p.data.shape)
        adam.step()
        assert [p.data.shape for p in given] == shapes
        np.testing.assert_allclose(
            np.concatenate([p.data.ravel() for p in given]),
            expected[t],
            rtol=1e-9,
            atol=1e-9,
        )


def test_defaults():
    adam = tinyae.Adam(parameters(1, (3,)))
    assert (adam.lr, adam.betas, adam.eps, adam.weight_decay) == (
        1e-3,
        (0.9, 0.999),
        1e-8,
        0,
    )


def test_the_first_step_has_the_length_lr():
    """What the bias correction is for: m / sqrt(v) is 1 or -1 after one step, however large the gradient."""
    (p,) = given = parameters(1, (5,))
    before, p.grad = p.data, np.array([1e-3, -1.0, 50, -4e4, 2])
    tinyae.Adam(given, lr=0.25).step()
    np.testing.assert_allclose(
        p.data - before, [-0.25, 0.25, -0.25, 0.25, -0.25], rtol=1e-4
    )


def test_only_its_own_parameters_move_and_gradients_are_read_only():
    layer = tinyae.Sequential(tinyae.Linear(3, 2, seed=1), tinyae.Linear(2, 4, seed=2))
    x, dy = arrays(1, (3, 5), (4, 5), dtype="float32")
    layer.forward(x)
    layer.backward(dy)
    before, gradients = layer.state_dict(), layer.gradients()
    for p in layer.parameters():
        p.grad.flags.writeable = p.data.flags.writeable = False
    adam = tinyae.Adam(layer.layers["1"].parameters(), weight_decay=0.1)
    adam.step()
    adam.step()
    after = layer.state_dict()
    assert all(
        (after[name] == before[name]).all() == name.startswith("0") for name in before
    )
    assert all(
        (layer.gradients()[name] == value).all() for name, value in gradients.items()
    )


def test_parameters_may_come_from_an_iterator_and_share_nothing_with_adam():
    given = parameters(1, (3,), (2,), dtype="float32")
    adam = tinyae.Adam(iter(given))
    for p in given:
        p.grad = np.ones_like(p.data)
    adam.step()
    assert not any(
        np.shares_memory(p.data, moments) for p in given for moments in (adam.m, adam.v)
    )
    with pytest.raises(ValueError, match="parameters"):
        tinyae.Adam([])
