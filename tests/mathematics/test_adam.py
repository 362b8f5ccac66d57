"""Adam against the paper's algorithm, computed number by number."""

import numpy as np
from cases import arrays, seeds
from definitions import adam
from every_layer import gradients
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from tinyae.experiment import Experiment
from tinyae.layer import Parameter
from tinyae.training import Training

SHAPES = [(2, 3), (4,), (1, 2, 1, 3)]
fractions = st.floats(0, 0.9999)


@given(
    seeds,
    st.integers(1, 12),
    st.floats(1e-4, 0.5),
    st.tuples(fractions, fractions),
    st.sampled_from([0, 1e-8, 1e-3, 0.5]),
    st.sampled_from([0, 1e-5, 0.1, 2]),
)
def test_adam_is_the_papers_algorithm(seed, steps, lr, betas, eps, decay):
    start = arrays(seed, *SHAPES)
    parameters = [Parameter(values) for values in start]
    optimizer = tinyae.Adam(iter(parameters), lr, betas, eps, decay)
    drawn = [arrays(seed + t, *SHAPES) for t in range(1, steps + 1)]
    sizes = np.array([1, 100, 1e4])  # of the gradients in the last axis
    for t in range(steps):
        drawn[t][2] = drawn[t][2] * sizes
        for p, gradient in zip(parameters, drawn[t], strict=True):
            p.grad = gradient
        optimizer.step()
    for i, p in enumerate(parameters):
        columns = [gradient[i] for gradient in drawn]
        wanted = adam(start[i], columns, lr, betas, eps, decay)
        assert p.data.shape == SHAPES[i]
        np.testing.assert_allclose(p.data, wanted, rtol=1e-9, atol=1e-9)
        assert not np.shares_memory(p.data, optimizer.m)


def test_defaults_and_first_step():
    """m / √v is 1 or -1 after one step, however large the gradient."""
    p = Parameter(np.zeros(5))
    p.grad = np.array([1e-3, -1.0, 50, -4e4, 2])
    optimizer = tinyae.Adam([p])
    assert (optimizer.lr, optimizer.betas) == (1e-3, (0.9, 0.999))
    assert (optimizer.eps, optimizer.weight_decay) == (1e-8, 0)
    optimizer.step()
    np.testing.assert_allclose(p.data, -1e-3 * np.sign(p.grad), rtol=1e-4)


def test_only_its_own_parameters_move_and_gradients_are_read_only():
    layer = tinyae.Sequential(tinyae.Linear(3, 2, seed=1), tinyae.Linear(2, 4, seed=2))
    (x,) = arrays(1, (3, 5), dtype="float32")
    layer.backward(layer.forward(x))
    before = layer.state_dict()
    held = [g.copy() for g in gradients(layer).values()]
    for p in layer.parameters():
        p.grad.flags.writeable = p.data.flags.writeable = False
    tinyae.Adam(layer[1].parameters(), weight_decay=0.1).step()
    for name, values in layer.state_dict().items():
        assert (values == before[name]).all() == name.startswith("0")
    for now, then in zip(gradients(layer).values(), held, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_step_is_saved_as_int64_on_every_platform():
    training = Training(Experiment())
    x = np.zeros((2, 1, 28, 28), "float32")
    training.train_step(x, x)
    training.history = [(1.0, 1.0)]
    assert training.state()["adam.t"].dtype == "int64"
