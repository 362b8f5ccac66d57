"""Names, shapes and initial values of the parameters, and state_dict and load_state_dict."""

import numpy as np
import pytest
from cases import arrays
from every_layer import each, step

import tinyae

STATE = {  # PyTorch's state_dict of Anello's two modules, in order, latent_dim 4
    "encoder.encoder_cnn.0.weight": (8, 1, 3, 3),
    "encoder.encoder_cnn.0.bias": (8,),
    "encoder.encoder_cnn.2.weight": (16, 8, 3, 3),
    "encoder.encoder_cnn.2.bias": (16,),
    "encoder.encoder_cnn.3.weight": (16,),
    "encoder.encoder_cnn.3.bias": (16,),
    "encoder.encoder_cnn.3.running_mean": (16,),
    "encoder.encoder_cnn.3.running_var": (16,),
    "encoder.encoder_cnn.5.weight": (32, 16, 3, 3),
    "encoder.encoder_cnn.5.bias": (32,),
    "encoder.encoder_lin.0.weight": (128, 288),
    "encoder.encoder_lin.0.bias": (128,),
    "encoder.encoder_lin.2.weight": (4, 128),
    "encoder.encoder_lin.2.bias": (4,),
    "decoder.decoder_lin.0.weight": (128, 4),
    "decoder.decoder_lin.0.bias": (128,),
    "decoder.decoder_lin.2.weight": (288, 128),
    "decoder.decoder_lin.2.bias": (288,),
    "decoder.decoder_conv.0.weight": (32, 16, 3, 3),
    "decoder.decoder_conv.0.bias": (16,),
    "decoder.decoder_conv.1.weight": (16,),
    "decoder.decoder_conv.1.bias": (16,),
    "decoder.decoder_conv.1.running_mean": (16,),
    "decoder.decoder_conv.1.running_var": (16,),
    "decoder.decoder_conv.3.weight": (16, 8, 3, 3),
    "decoder.decoder_conv.3.bias": (8,),
    "decoder.decoder_conv.4.weight": (8,),
    "decoder.decoder_conv.4.bias": (8,),
    "decoder.decoder_conv.4.running_mean": (8,),
    "decoder.decoder_conv.4.running_var": (8,),
    "decoder.decoder_conv.6.weight": (8, 1, 3, 3),
    "decoder.decoder_conv.6.bias": (1,),
}
RUNNING = ("running_mean", "running_var")


def test_the_autoencoders_names_and_shapes():
    model = tinyae.AnelloAutoencoder()
    state = model.state_dict()
    assert [(name, value.shape) for name, value in state.items()] == list(
        STATE.items()
    ) and len(STATE) == 32
    learnt = [name for name in STATE if not name.endswith(RUNNING)]
    step(model, (2, 1, 28, 28), 1)
    gradients = model.gradients()
    assert [(name, value.shape) for name, value in gradients.items()] == [
        (name, STATE[name]) for name in learnt
    ]
    assert [p.data.shape for p in model.parameters()] == [
        STATE[name] for name in learnt
    ]


def test_the_autoencoders_shapes():
    model = tinyae.AnelloAutoencoder(3, width=2)
    (x,) = arrays(1, (5, 1, 28, 28), dtype="float32")
    codes = model.eval().encode(x)
    assert codes.shape == (5, 3) and model.decode(codes).shape == (5, 1, 28, 28)
    np.testing.assert_array_equal(model.decode(codes), model.forward(x))
    assert 0 < model.forward(x).min() and model.forward(x).max() < 1
    np.testing.assert_allclose(
        model.encode(x[2:3]), codes[2:3], atol=1e-5
    )  # image n is row n
    np.testing.assert_allclose(
        model.decode(codes[2:3]), model.decode(codes)[2:3], atol=1e-5
    )


@pytest.mark.parametrize(
    "make, fan_in",
    [
        (lambda seed: tinyae.Linear(50, 40, seed=seed), 50),
        (lambda seed: tinyae.Conv2d(7, 40, (3, 5), seed=seed), 7 * 3 * 5),
        (lambda seed: tinyae.ConvTranspose2d(40, 7, (3, 5), seed=seed), 7 * 3 * 5),
    ],
)
def test_initial_values(make, fan_in):
    """Uniform in +-1/sqrt(fan_in), weight and bias alike. A seed gives the same values again. No global state moves."""
    np.random.seed(5)
    layer, bound = make(3), fan_in**-0.5
    assert np.random.random() == np.random.RandomState(5).random_sample()
    weight = layer.weight.data
    assert (
        abs(weight).max() <= bound
        and weight.min() < -0.98 * bound
        and weight.max() > 0.98 * bound
    )
    assert abs(weight.mean()) < 0.06 * bound and weight.std() == pytest.approx(
        bound / 3**0.5, rel=0.05
    )
    biases = np.concatenate([make(seed).bias.data for seed in range(100)])
    assert (
        abs(biases).max() <= bound
        and biases.min() < -0.95 * bound
        and biases.max() > 0.95 * bound
    )
    assert abs(biases.mean()) < 0.1 * bound
    for other in (make(3), make(np.random.default_rng(3))):
        np.testing.assert_array_equal(other.weight.data, weight)
        np.testing.assert_array_equal(other.bias.data, layer.bias.data)
    for other in (make(4), make(None), make(None)):
        assert (other.weight.data != weight).all() and (
            other.bias.data != layer.bias.data
        ).all()
    generator = np.random.default_rng(3)
    assert (
        make(generator).weight.data != make(generator).weight.data
    ).all()  # it goes on where it was


def test_the_autoencoders_initial_values():
    state = {
        name: value
        for name, value in tinyae.AnelloAutoencoder(seed=3).state_dict().items()
    }
    for name, value in state.items():
        layer, kind = name.rsplit(".", 1)
        if kind in RUNNING or layer in (
            "encoder.encoder_cnn.3",
            "decoder.decoder_conv.1",
            "decoder.decoder_conv.4",
        ):
            assert (value == (kind in ("weight", "running_var"))).all()
            continue
        bound = np.prod(state[layer + ".weight"].shape[1:]) ** -0.5
        assert abs(value).max() <= bound and (
            value.size == 1 or value.std() > 0.3 * bound
        )
    first, second = (
        state["decoder.decoder_lin.2.bias"],
        state["decoder.decoder_lin.2.weight"][:, 0],
    )
    assert not np.intersect1d(
        first, second
    ).size  # one stream, used in order: no layer repeats another's numbers
    again, other = (
        tinyae.AnelloAutoencoder(seed=3).state_dict(),
        tinyae.AnelloAutoencoder(seed=4).state_dict(),
    )
    assert all((again[name] == value).all() for name, value in state.items())
    assert (
        other["encoder.encoder_cnn.0.weight"] != state["encoder.encoder_cnn.0.weight"]
    ).all()
    kernels = [
        state[name].ravel()[:8] * np.prod(state[name].shape[1:]) ** 0.5
        for name in state
        if name.endswith(".weight") and state[name].ndim > 1
    ]
    assert all(
        abs(a - b).max() > 0.01 for i, a in enumerate(kernels) for b in kernels[i + 1 :]
    )


@each
def test_state_goes_round(make, shape):
    layer, other = make(), make()
    step(layer, shape, 1)
    if layer.parameters():
        tinyae.Adam(layer.parameters(), lr=0.1).step()
    state = layer.state_dict()
    other.load_state_dict(
        state | {"encoder.encoder_cnn.3.num_batches_tracked": np.array(7)}
    )
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    (x,) = arrays(5, shape, dtype="float32")
    np.testing.assert_array_equal(other.eval().forward(x), layer.eval().forward(x))


def test_state_is_copied_both_ways():
    layer = tinyae.BatchNorm2d(3)
    state = layer.state_dict()
    for value in state.values():
        value[:] = 9
    assert (
        layer.weight.data.tolist() == [1] * 3
        and layer.running_var.data.tolist() == [1] * 3
    )
    layer.load_state_dict(state)
    state["weight"][:] = 5
    assert layer.weight.data.tolist() == [9] * 3 == layer.running_mean.data.tolist()
    step(layer, (3, 4, 5, 2), 1)
    gradients = layer.gradients()
    kept = {name: value.copy() for name, value in gradients.items()}
    for value in gradients.values():
        value[:] = 9
    assert all((layer.gradients()[name] == value).all() for name, value in kept.items())


def test_loading_takes_any_float_and_keeps_the_layers_dtype():
    layer = tinyae.Linear(3, 2)
    layer.load_state_dict(
        {"bias": np.array([1, 2], "float16"), "weight": np.full((2, 3), 0.1)}
    )  # in any order
    assert layer.weight.data.dtype == layer.bias.data.dtype == "float32"
    assert layer.bias.data.tolist() == [1, 2] and layer.weight.data[0, 0] == np.float32(
        0.1
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("2.bias"), r"missing \['2.bias'\]"),
        (lambda state: state.update(extra=np.ones(3)), r"Sequential \['extra'\]"),
        (
            lambda state: state.update({"2.weight": np.ones((3, 2))}),
            r"2.weight.*\(3, 2\).*\(2, 3\)",
        ),
        (lambda state: state.update({"2.bias": np.ones(1)}), r"2.bias.*\(1,\).*\(2,\)"),
        (lambda state: state.update({"2.bias": np.ones(2, int)}), "2.bias.*int64"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    layer = tinyae.Sequential(
        tinyae.Linear(4, 3, seed=1), tinyae.ReLU(), tinyae.Linear(3, 2, seed=2)
    )
    before = layer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_sequential_names():
    numbered = tinyae.Sequential(
        tinyae.Linear(4, 3),
        tinyae.ReLU(),
        tinyae.Sequential({"inner": tinyae.Linear(3, 2)}),
    )
    assert list(numbered.state_dict()) == [
        "0.weight",
        "0.bias",
        "2.inner.weight",
        "2.inner.bias",
    ]
    assert len(tinyae.Sequential(*[tinyae.ReLU() for _ in range(12)]).children()) == 12
