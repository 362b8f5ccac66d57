"""Adam and SGD against their definitions, and what every optimiser obeys."""

import numpy as np
import pytest
from cases import arrays, gradients, seeds, step
from definitions import adam, sgd
from hypothesis import given
from hypothesis import strategies as st

import tinyae
from tinyae.layer import Parameter
from tinyae.optim import SGD, Adam, Optimizer

SHAPES = [(2, 3), (4,), (1, 2, 1, 3)]
fractions = st.floats(0, 0.9999)


def trained(optimizer, slopes):
    """Take one step for each list of gradients; return the parameters."""
    for values in slopes:
        for p, gradient in zip(optimizer.parameters, values, strict=True):
            p.grad = gradient
        optimizer.step()
    return [p.data for p in optimizer.parameters]


@given(
    seeds,
    st.integers(1, 12),
    st.floats(1e-4, 0.5),
    st.tuples(fractions, fractions),
    st.sampled_from([0, 1e-8, 1e-3, 0.5]),
    st.sampled_from([0, 1e-5, 0.1, 2]),
)
def test_adam_and_sgd_follow_their_definitions(seed, steps, lr, betas, eps, decay):
    start, *slopes = (arrays(seed + t, *SHAPES) for t in range(steps + 1))
    for values in slopes:
        values[2] = values[2] * np.array([1, 100, 1e4])
    for kind, definition, how in [
        (Adam, adam, (lr, betas, eps, decay)),
        (SGD, sgd, (lr, betas[0], decay)),
    ]:
        got = trained(kind(map(Parameter, start), *how), slopes)
        for values, first, *g in zip(got, start, *slopes, strict=True):
            wanted = definition(first, g, *how)
            assert values.shape == first.shape
            scale = max(1, abs(wanted).max())
            np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-9 * scale)


def test_defaults_and_first_steps():
    """Adam's m / √v is 1 or -1 after one step, however large the gradient."""
    slope = np.array([1e-3, -1.0, 50, -4e4, 2])
    made = [kind([Parameter(np.zeros(5))]) for kind in (Optimizer, SGD, Adam)]
    assert {(each.lr, each.weight_decay) for each in made} == {(1e-3, 0)}
    _, descent, adaptive = made
    np.testing.assert_allclose(*trained(descent, [[slope]] * 2), -2e-3 * slope)
    np.testing.assert_allclose(
        *trained(adaptive, [[slope]]), -1e-3 * np.sign(slope), 1e-4
    )
    assert (adaptive.betas, adaptive.eps) == ((0.9, 0.999), 1e-8)


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_only_its_own_parameters_move_and_gradients_are_read_only(kind):
    layer = tinyae.Sequential(tinyae.Linear(3, 2, seed=1), tinyae.Linear(2, 4, seed=2))
    step(layer, (3, 5))
    before = layer.state_dict()
    held = [g.copy() for g in gradients(layer).values()]
    for p in layer.parameters():
        p.grad.flags.writeable = p.data.flags.writeable = False
    kind(layer[1].parameters(), weight_decay=0.1).step()
    for name, values in layer.state_dict().items():
        assert (values == before[name]).all() == name.startswith("0")
    for now, then in zip(gradients(layer).values(), held, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_state_is_a_copy_and_its_t_is_int64_on_every_platform():
    optimizer = SGD([Parameter(np.ones(3, "float32"))])
    trained(optimizer, [[np.ones(3, "float32")]])
    state = optimizer.state_dict()
    state["v"] += 1
    assert optimizer.v.tolist() == [1] * 3
    assert (state["t"].dtype, state["v"].dtype) == ("int64", "float32")
