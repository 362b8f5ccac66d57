"""Names, shapes and initial values of the parameters, and their state_dict."""

import make_golden
import numpy as np
import pytest
from cases import arrays
from every_layer import each, step

import tinyae
from tinyae import AnelloAutoencoder, BatchNorm2d, Conv2d, ConvTranspose2d, Linear


def equal(state, other):
    assert list(state) == list(other)
    for name in state:
        np.testing.assert_array_equal(state[name], other[name])


def test_the_names_are_those_of_pytorch_in_order():
    """Their shapes are compared with golden.npz in test_golden.py."""
    with np.load(make_golden.FILE) as file:
        wanted = [name.removeprefix("ten.") for name in file if name[:4] == "ten."]
    wanted.remove("losses")
    model = AnelloAutoencoder()
    assert list(model.state_dict()) == wanted
    assert len(wanted) == 32
    learned = [p for name, p in model.named_parameters() if "running" not in name]
    assert model.parameters() == learned


def test_the_autoencoder_is_its_two_halves():
    model = AnelloAutoencoder(3, width=2, seed=1).eval()
    (x,) = arrays(1, (5, 1, 28, 28), dtype="float32")
    codes, y = model.encode(x), model.forward(x)
    assert (codes.shape, y.shape) == ((5, 3), x.shape)
    np.testing.assert_array_equal(model.decode(codes), y)
    assert 0 < y.min() < y.max() < 1
    np.testing.assert_allclose(model.encode(x[2:3]), codes[2:3], atol=1e-5)
    np.testing.assert_allclose(model.decode(codes[2:3]), y[2:3], atol=1e-5)


@pytest.mark.parametrize(
    "kind, arguments, fan_in",
    [
        (Linear, (50, 40), 50),
        (Conv2d, (7, 40, (3, 5)), 7 * 3 * 5),
        (ConvTranspose2d, (40, 7, (3, 5)), 7 * 3 * 5),
    ],
)
def test_initial_values(kind, arguments, fan_in):
    """Uniform in +-1/√fan_in; a seed repeats them; no global state moves."""
    bound = fan_in**-0.5
    before = str(np.random.get_state())
    layers = [kind(*arguments, seed=seed) for seed in range(100)]
    assert str(np.random.get_state()) == before
    weight = layers[3].weight.data
    biases = np.concatenate([layer.bias.data for layer in layers])
    for values in (weight, biases):
        assert 0.98 * bound < values.max() <= bound
        assert -bound <= values.min() < -0.98 * bound
        assert abs(values.mean()) < 0.06 * bound
        assert values.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    rng = np.random.default_rng(3)
    equal(kind(*arguments, seed=rng).state_dict(), layers[3].state_dict())
    for seed in (rng, 4, None):  # rng continues where it was
        other = kind(*arguments, seed=seed)
        assert (other.weight.data != weight).all()
        assert (other.bias.data != layers[3].bias.data).all()


def test_the_autoencoders_initial_values():
    """One stream in order, so that no layer repeats the numbers of another."""
    state = AnelloAutoencoder(seed=3).state_dict()
    equal(state, AnelloAutoencoder(seed=3).state_dict())
    drawn = []
    for name, values in state.items():
        layer = name.rpartition(".")[0]
        if f"{layer}.running_var" in state:
            constant = name.endswith(("weight", "running_var"))
            assert (values == constant).all()
            continue
        bound = np.prod(state[f"{layer}.weight"].shape[1:]) ** -0.5
        assert abs(values).max() <= bound
        drawn += (values / bound).ravel()[:1].tolist()
    assert len(drawn) == 20
    assert np.diff(sorted(drawn)).min() > 1e-5


@each
def test_a_state_can_be_loaded_again(make, shape):
    layer, other = make(), make()
    step(layer, shape, 1)
    if layer.parameters():
        tinyae.Adam(layer.parameters(), lr=0.1).step()
    state = layer.state_dict()
    other.load_state_dict(state | {"0.num_batches_tracked": np.array(7)})
    equal(other.state_dict(), state)
    (x,) = arrays(5, shape, dtype="float32")
    np.testing.assert_array_equal(other.eval()(x), layer.eval()(x))


def test_state_is_copied_both_ways():
    layer = BatchNorm2d(3)
    state = layer.state_dict()
    for values in state.values():
        values[:] = 9
    assert layer.weight.data.tolist() == layer.running_var.data.tolist() == [1] * 3
    layer.load_state_dict(state)
    state["weight"][:] = 5
    assert layer.weight.data.tolist() == layer.running_mean.data.tolist() == [9] * 3


def test_loading_takes_any_float_and_keeps_the_layers_dtype():
    layer = Linear(3, 2)
    weight = np.full((2, 3), 0.1)
    layer.load_state_dict({"bias": np.array([1, 2], "float16"), "weight": weight})
    assert layer.weight.data.dtype == layer.bias.data.dtype == "float32"
    assert layer.bias.data.tolist() == [1, 2]
    assert (layer.weight.data == np.float32(0.1)).all()
