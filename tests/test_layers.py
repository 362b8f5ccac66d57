"""What layers promise beside the right numbers: what they own, what they leave alone, names, shapes, dtypes, modes."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinyae
from cases import arrays, distinct, seeds
from tinyae.layer import Layer

# (make a layer of a dtype, the shape of its input), sizes pairwise distinct
LAYERS = {
    "Linear": (lambda **how: tinyae.Linear(5, 3, seed=1, **how), (5, 4)),
    "Conv2d": (lambda **how: tinyae.Conv2d(2, 3, 3, 2, 1, seed=1, **how), (2, 7, 6, 4)),
    "Conv2d, one position": (lambda **how: tinyae.Conv2d(2, 3, (4, 5), seed=1, **how), (2, 4, 5, 6)),
    "Conv2d, kernel 1": (lambda **how: tinyae.Conv2d(2, 3, 1, seed=1, **how), (2, 4, 5, 6)),
    "ConvTranspose2d": (lambda **how: tinyae.ConvTranspose2d(3, 2, 3, 2, 1, 1, seed=1, **how), (3, 4, 5, 6)),
    "ConvTranspose2d, kernel 1": (lambda **how: tinyae.ConvTranspose2d(3, 2, 1, seed=1, **how), (3, 4, 5, 6)),
    "BatchNorm2d": (lambda **how: tinyae.BatchNorm2d(3, **how), (3, 4, 5, 6)),
    "BatchNorm2d, evaluating": (lambda **how: tinyae.BatchNorm2d(3, **how).eval(), (3, 4, 5, 6)),
    "ReLU": (lambda **how: tinyae.ReLU(), (3, 4, 5)),
    "Sigmoid": (lambda **how: tinyae.Sigmoid(), (3, 4, 5)),
    "Flatten": (lambda **how: tinyae.Flatten(), (2, 3, 4, 5)),
    "Unflatten": (lambda **how: tinyae.Unflatten((2, 3, 4)), (24, 5)),
    "Sequential": (lambda **how: tinyae.Sequential(
        tinyae.Conv2d(1, 2, 3, seed=1, **how), tinyae.BatchNorm2d(2, **how), tinyae.ReLU(), tinyae.Flatten(),
        tinyae.Linear(24, 3, seed=2, **how), tinyae.Sigmoid()), (1, 6, 5, 4)),
    "AnelloAutoencoder": (lambda **how: tinyae.AnelloAutoencoder(3, width=2, seed=1, **how), (4, 1, 28, 28)),
}
each = pytest.mark.parametrize("make, shape", LAYERS.values(), ids=LAYERS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def step(layer, shape, seed, dtype="float32"):
    """One forward and backward on fresh arrays: (x, dy, y, dx). x and dy are read-only: writing into them raises."""
    (x,) = arrays(seed, shape, dtype=dtype)
    y = layer.forward(x)
    (dy,) = arrays(seed + 1, y.shape, dtype=dtype)
    return x, dy, y, layer.backward(dy)


# -- what belongs to whom --

@each
def test_inputs_and_upstream_gradients_are_not_changed(make, shape):
    layer = make()
    x, dy, y, dx = step(layer, shape, 10)  # raises if anything is written: they are read-only
    again_x, = arrays(10, shape, dtype="float32")
    again_dy, = arrays(11, y.shape, dtype="float32")
    np.testing.assert_array_equal(x, again_x)
    np.testing.assert_array_equal(dy, again_dy)


@each
def test_what_is_returned_is_never_written_into(make, shape):
    layer, held, copies = make(), [], []
    adam = tinyae.Adam(layer.parameters(), weight_decay=0.1) if layer.parameters() else None
    for seed in range(4):
        x, dy, y, dx = step(layer, shape, seed)
        new = [x, dy, y, dx, *[p.grad for p in layer.parameters()], *[p.data for _, p in layer.named_parameters()],
               *layer.gradients().values(), *layer.state_dict().values()]
        held, copies = held + new, copies + [array.copy() for array in new]
        if adam:
            adam.step()
    for array, copy in zip(held, copies):
        np.testing.assert_array_equal(array, copy)


@each
def test_a_caller_may_write_into_what_it_got(make, shape):
    """y is the caller's: changing it before backward changes no gradient. (Flatten only reshapes: its y is its x.)"""
    results = []
    for scribble in (False, True):
        layer = make()
        x = arrays(1, shape, dtype="float32")[0].copy()
        y = layer.forward(x)
        (dy,) = arrays(2, y.shape, dtype="float32")
        if scribble:
            y[:] = 7
        results.append([layer.backward(dy), *layer.gradients().values()])
    for clean, scribbled in zip(*results):
        np.testing.assert_array_equal(clean, scribbled)


@each
def test_gradients_share_no_memory(make, shape):
    layer = make()
    x, dy, y, dx = step(layer, shape, 1)
    views = isinstance(layer, (tinyae.Flatten, tinyae.Unflatten))
    mine = [dx, *[p.grad for p in layer.parameters()]]
    others = [p.data for _, p in layer.named_parameters()] + ([] if views else [x, dy, y])
    for i, gradient in enumerate(mine):
        assert not any(np.shares_memory(gradient, other) for other in mine[i + 1:] + others)


@each
def test_backward_belongs_to_the_latest_forward(make, shape):
    """Forward twice, then backward: the second counts. Backward twice: the gradients are overwritten, not added."""
    twice, once = make(), make()
    first, second = arrays(1, shape, shape, dtype="float32")
    twice.forward(first)
    y = twice.forward(second)
    dy, other = arrays(2, y.shape, y.shape, dtype="float32")
    twice.backward(other)
    dx = twice.backward(dy)
    np.testing.assert_array_equal(y, once.forward(second))
    np.testing.assert_array_equal(dx, once.backward(dy))
    for name, gradient in once.gradients().items():
        np.testing.assert_array_equal(twice.gradients()[name], gradient)


@each
def test_the_input_gradient_can_be_spared(make, shape):
    full, spared = make(), make()
    x, dy, y, dx = step(full, shape, 1)
    assert dx.shape == x.shape
    if not full.parameters() or isinstance(full, tinyae.BatchNorm2d):
        return  # these have no such argument: there is nothing to spare
    spared.forward(x)
    assert spared.backward(dy, input_grad=False) is None
    for name, gradient in full.gradients().items():
        np.testing.assert_array_equal(spared.gradients()[name], gradient)


def test_a_model_spares_its_first_layer_only(monkeypatch):
    asked, backward = [], tinyae.Conv2d.backward

    def spy(layer, dy, input_grad=True):
        asked.append((layer.in_channels, input_grad))
        return backward(layer, dy, input_grad)

    monkeypatch.setattr(tinyae.Conv2d, "backward", spy)
    model = tinyae.AnelloAutoencoder(2, width=3)
    model.forward(arrays(1, (2, 1, 28, 28), dtype="float32")[0])
    assert model.backward(arrays(2, (2, 1, 28, 28), dtype="float32")[0], input_grad=False) is None
    assert asked == [(6, True), (3, True), (1, False)]


@each
@each_dtype
def test_dtypes_are_kept(make, shape, dtype):
    layer = make(dtype=dtype)
    x, dy, y, dx = step(layer, shape, 1, dtype)
    adam = tinyae.Adam(layer.parameters(), weight_decay=0.1) if layer.parameters() else None
    if adam:
        adam.step()
        assert adam.m.dtype == adam.v.dtype == dtype
    made = [y, dx, *layer.state_dict().values(), *layer.gradients().values()]
    made += [p.data for _, p in layer.named_parameters()] + [layer.forward(x)]
    assert {str(array.dtype) for array in made} == {dtype}


@each
def test_float32_is_the_default_and_close_to_float64(make, shape):
    narrow, wide = make(), make(dtype="float64")
    wide.load_state_dict(narrow.state_dict())
    for seed in (1, 3):
        x, dy, y, dx = step(narrow, shape, seed)
        wide_y, wide_dx = wide.forward(x.astype("float64")), wide.backward(dy.astype("float64"))
        np.testing.assert_allclose(y, wide_y, rtol=0, atol=1e-5)
        np.testing.assert_allclose(dx, wide_dx, rtol=0, atol=1e-4 * abs(wide_dx).max())


# -- formulas --

@given(distinct(3), seeds)
def test_linear_is_a_matrix_product(sizes, seed):
    i, o, N = sizes
    layer = tinyae.Linear(i, o, dtype="float64", seed=seed)
    x, dy = arrays(seed, (i, N), (o, N))
    w, b = layer.weight.data, layer.bias.data
    y = [[w[k] @ x[:, n] + b[k] for n in range(N)] for k in range(o)]
    np.testing.assert_allclose(layer.forward(x), y, atol=1e-12)
    np.testing.assert_allclose(layer.backward(dy), np.einsum("oi,on->in", w, dy), atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad, np.einsum("on,in->oi", dy, x), atol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, np.einsum("on->o", dy), atol=1e-12)


def test_relu():
    layer, x = tinyae.ReLU(), np.array([-2.0, -0.0, 0.0, 1e-30, 3.0])
    assert layer.forward(x).tolist() == [0, 0, 0, 1e-30, 3]
    assert layer.backward(np.array([5.0, 6, 7, 8, 9])).tolist() == [0, 0, 0, 8, 9]  # 0 at the kink


@each_dtype
def test_sigmoid_at_both_ends(dtype):
    layer, x = tinyae.Sigmoid(), np.array([-1e4, -89, -40, -1, 0, 2, 40, 1e4], dtype=dtype)
    with np.errstate(all="raise", under="ignore"):  # no overflow at either end
        y = layer.forward(x)
        dx = layer.backward(np.full(8, 3, dtype))
    exact = np.array([0, 0, np.exp(-40), 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1, 1])
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, 3 * exact * (1 - exact), rtol=1e-6, atol=1e-6)
    assert dx[-1] == 0 and y[1] > 0


@given(distinct(4), seeds)
def test_flatten_and_unflatten_are_inverse(shape, seed):
    *size, N = shape
    flatten, unflatten = tinyae.Flatten(), tinyae.Unflatten(size)
    (x,) = arrays(seed, shape)
    y = flatten.forward(x)
    C, H, W = size
    np.testing.assert_array_equal(y, [x[c, h, w] for c in range(C) for h in range(H) for w in range(W)])
    np.testing.assert_array_equal(unflatten.forward(y), x)
    np.testing.assert_array_equal(flatten.backward(y), x)
    np.testing.assert_array_equal(unflatten.backward(x), y)


@given(st.integers(1, 4).flatmap(distinct), seeds)
def test_mse_loss(shape, seed):
    loss = tinyae.MSELoss()
    y, target = arrays(seed, shape, shape)
    value = loss.forward(y, target)
    assert isinstance(value, np.ndarray) and value.shape == () and value.dtype == "float64"
    differences = [a - b for a, b in zip(y.ravel().tolist(), target.ravel().tolist())]
    assert float(value) == pytest.approx(sum(d * d for d in differences) / len(differences), rel=1e-12)
    np.testing.assert_allclose(loss.backward().ravel(), [2 * d / len(differences) for d in differences], rtol=1e-12)
    assert not np.shares_memory(loss.backward(), loss.backward())


def test_mse_loss_keeps_float32():
    y, target = arrays(1, (3, 4), (3, 4), dtype="float32")
    loss = tinyae.MSELoss()
    assert loss.forward(y, target).dtype == loss.backward().dtype == "float32"


# -- batch norm --

@given(distinct(4, 2, 6), seeds, st.floats(0.01, 1), st.sampled_from([1e-5, 0.3]))
def test_batch_norm_statistics(shape, seed, momentum, eps):
    """The biased variance normalises, the unbiased one enters the running variance; evaluation uses the latter."""
    C = shape[0]
    layer = tinyae.BatchNorm2d(C, eps, momentum, dtype="float64")
    layer.weight.data, layer.bias.data = arrays(seed + 1, (C,), (C,))
    mean, var = np.zeros(C), np.ones(C)
    for k in range(3):
        x = arrays(seed + 2 + k, shape)[0] * (k + 1) + 5 * k
        y = layer.forward(x)
        for c in range(C):
            values = x[c].ravel()
            xhat = (values - values.mean()) / np.sqrt(values.var() + eps)
            expected = layer.weight.data[c] * xhat + layer.bias.data[c]
            np.testing.assert_allclose(y[c].ravel(), expected, atol=1e-10)
            mean[c] = (1 - momentum) * mean[c] + momentum * values.mean()
            var[c] = (1 - momentum) * var[c] + momentum * values.var(ddof=1)
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-10)
    before = layer.eval().state_dict()
    y, (mean, var) = layer.forward(x), (v[:, None, None, None] for v in (mean, var))
    w, b = (p.data[:, None, None, None] for p in (layer.weight, layer.bias))
    np.testing.assert_allclose(y, w * (x - mean) / np.sqrt(var + eps) + b, atol=1e-10)
    assert all((layer.state_dict()[name] == value).all() for name, value in before.items())  # left alone by evaluation
    np.testing.assert_allclose(layer.forward(x[..., :1]), y[..., :1], atol=1e-12)  # no image depends on the others


def test_batch_norm_defaults():
    layer = tinyae.BatchNorm2d(3)
    assert (layer.eps, layer.momentum, layer.training) == (1e-5, 0.1, True)
    assert {name: value.tolist() for name, value in layer.state_dict().items()} == {
        "weight": [1] * 3, "bias": [0] * 3, "running_mean": [0] * 3, "running_var": [1] * 3}
    assert not np.shares_memory(layer.running_mean.data, layer.bias.data)


def test_batch_norm_keeps_its_digits_at_a_large_mean():
    """At mean 1e4 and deviation 1, mean(x^2) - mean^2 in float32 is noise of size 8. Centred, 3 digits survive."""
    x = (arrays(1, (2, 13, 11, 17))[0] + 1e4).astype("float32")
    layer = tinyae.BatchNorm2d(2, momentum=1)
    y, wide = layer.forward(x), x.astype("float64")
    np.testing.assert_allclose(layer.running_var.data, wide.var(axis=(1, 2, 3), ddof=1), rtol=1e-3)
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-3)


def test_running_statistics_are_kept_but_not_learnt():
    layer = tinyae.BatchNorm2d(3)
    assert [p for p in layer.parameters()] == [layer.weight, layer.bias]
    step(layer, (3, 4, 5, 2), 1)
    assert list(layer.gradients()) == ["weight", "bias"]
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    with pytest.raises(ValueError, match="more than one value"):
        layer.forward(np.ones((3, 1, 1, 1), "float32"))
    layer.forward(np.ones((3, 1, 1, 2), "float32"))
    layer.eval().forward(np.ones((3, 1, 1, 1), "float32"))


# -- modes --

def test_train_and_eval_reach_every_layer():
    def layers(layer):
        yield layer
        for _, child in layer.children():
            if isinstance(child, Layer):
                yield from layers(child)

    model = tinyae.AnelloAutoencoder(2, width=1)
    assert len(list(layers(model))) == 31 and all(layer.training is True for layer in layers(model))
    assert model.eval() is model and all(layer.training is False for layer in layers(model))
    assert model.train() is model and all(layer.training is True for layer in layers(model))
    model.train(False)
    assert not any(layer.training for layer in layers(model))


@pytest.mark.parametrize("between", [lambda layer: layer.eval(), lambda layer: None])
def test_backward_uses_the_mode_of_its_forward(between):
    layer, same = tinyae.BatchNorm2d(3), tinyae.BatchNorm2d(3)
    x, dy = arrays(1, (3, 4, 5, 2), (3, 4, 5, 2), dtype="float32")
    layer.forward(x)
    same.forward(x)
    between(layer)
    np.testing.assert_array_equal(layer.backward(dy), same.backward(dy))


# -- names, shapes, state --

STATE = {  # PyTorch's state_dict of Anello's two modules, in order, latent_dim 4
    "encoder.encoder_cnn.0.weight": (8, 1, 3, 3), "encoder.encoder_cnn.0.bias": (8,),
    "encoder.encoder_cnn.2.weight": (16, 8, 3, 3), "encoder.encoder_cnn.2.bias": (16,),
    "encoder.encoder_cnn.3.weight": (16,), "encoder.encoder_cnn.3.bias": (16,),
    "encoder.encoder_cnn.3.running_mean": (16,), "encoder.encoder_cnn.3.running_var": (16,),
    "encoder.encoder_cnn.5.weight": (32, 16, 3, 3), "encoder.encoder_cnn.5.bias": (32,),
    "encoder.encoder_lin.0.weight": (128, 288), "encoder.encoder_lin.0.bias": (128,),
    "encoder.encoder_lin.2.weight": (4, 128), "encoder.encoder_lin.2.bias": (4,),
    "decoder.decoder_lin.0.weight": (128, 4), "decoder.decoder_lin.0.bias": (128,),
    "decoder.decoder_lin.2.weight": (288, 128), "decoder.decoder_lin.2.bias": (288,),
    "decoder.decoder_conv.0.weight": (32, 16, 3, 3), "decoder.decoder_conv.0.bias": (16,),
    "decoder.decoder_conv.1.weight": (16,), "decoder.decoder_conv.1.bias": (16,),
    "decoder.decoder_conv.1.running_mean": (16,), "decoder.decoder_conv.1.running_var": (16,),
    "decoder.decoder_conv.3.weight": (16, 8, 3, 3), "decoder.decoder_conv.3.bias": (8,),
    "decoder.decoder_conv.4.weight": (8,), "decoder.decoder_conv.4.bias": (8,),
    "decoder.decoder_conv.4.running_mean": (8,), "decoder.decoder_conv.4.running_var": (8,),
    "decoder.decoder_conv.6.weight": (8, 1, 3, 3), "decoder.decoder_conv.6.bias": (1,),
}
RUNNING = ("running_mean", "running_var")


def test_the_autoencoders_names_and_shapes():
    model = tinyae.AnelloAutoencoder()
    state = model.state_dict()
    assert [(name, value.shape) for name, value in state.items()] == list(STATE.items()) and len(STATE) == 32
    learnt = [name for name in STATE if not name.endswith(RUNNING)]
    step(model, (2, 1, 28, 28), 1)
    gradients = model.gradients()
    assert [(name, value.shape) for name, value in gradients.items()] == [(name, STATE[name]) for name in learnt]
    assert [p.data.shape for p in model.parameters()] == [STATE[name] for name in learnt]


def test_the_autoencoders_shapes():
    model = tinyae.AnelloAutoencoder(3, width=2)
    (x,) = arrays(1, (5, 1, 28, 28), dtype="float32")
    codes = model.eval().encode(x)
    assert codes.shape == (5, 3) and model.decode(codes).shape == (5, 1, 28, 28)
    np.testing.assert_array_equal(model.decode(codes), model.forward(x))
    assert 0 < model.forward(x).min() and model.forward(x).max() < 1
    np.testing.assert_allclose(model.encode(x[2:3]), codes[2:3], atol=1e-5)  # image n is row n
    np.testing.assert_allclose(model.decode(codes[2:3]), model.decode(codes)[2:3], atol=1e-5)


@pytest.mark.parametrize("make, fan_in", [
    (lambda seed: tinyae.Linear(50, 40, seed=seed), 50),
    (lambda seed: tinyae.Conv2d(7, 40, (3, 5), seed=seed), 7 * 3 * 5),
    (lambda seed: tinyae.ConvTranspose2d(40, 7, (3, 5), seed=seed), 7 * 3 * 5),
])
def test_initial_values(make, fan_in):
    """Uniform in +-1/sqrt(fan_in), weight and bias alike. A seed gives the same values again. No global state moves."""
    np.random.seed(5)
    layer, bound = make(3), fan_in**-0.5
    assert np.random.random() == np.random.RandomState(5).random_sample()
    weight = layer.weight.data
    assert abs(weight).max() <= bound and weight.min() < -0.98 * bound and weight.max() > 0.98 * bound
    assert abs(weight.mean()) < 0.06 * bound and weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    biases = np.concatenate([make(seed).bias.data for seed in range(100)])
    assert abs(biases).max() <= bound and biases.min() < -0.95 * bound and biases.max() > 0.95 * bound
    assert abs(biases.mean()) < 0.1 * bound
    for other in (make(3), make(np.random.default_rng(3))):
        np.testing.assert_array_equal(other.weight.data, weight)
        np.testing.assert_array_equal(other.bias.data, layer.bias.data)
    for other in (make(4), make(None), make(None)):
        assert (other.weight.data != weight).all() and (other.bias.data != layer.bias.data).all()
    generator = np.random.default_rng(3)
    assert (make(generator).weight.data != make(generator).weight.data).all()  # it goes on where it was


def test_the_autoencoders_initial_values():
    state = {name: value for name, value in tinyae.AnelloAutoencoder(seed=3).state_dict().items()}
    for name, value in state.items():
        layer, kind = name.rsplit(".", 1)
        if kind in RUNNING or layer in ("encoder.encoder_cnn.3", "decoder.decoder_conv.1", "decoder.decoder_conv.4"):
            assert (value == (kind in ("weight", "running_var"))).all()
            continue
        bound = np.prod(state[layer + ".weight"].shape[1:]) ** -0.5
        assert abs(value).max() <= bound and (value.size == 1 or value.std() > 0.3 * bound)
    first, second = state["decoder.decoder_lin.2.bias"], state["decoder.decoder_lin.2.weight"][:, 0]
    assert not np.intersect1d(first, second).size  # one stream, used in order: no layer repeats another's numbers
    again, other = tinyae.AnelloAutoencoder(seed=3).state_dict(), tinyae.AnelloAutoencoder(seed=4).state_dict()
    assert all((again[name] == value).all() for name, value in state.items())
    assert (other["encoder.encoder_cnn.0.weight"] != state["encoder.encoder_cnn.0.weight"]).all()
    kernels = [state[name].ravel()[:8] * np.prod(state[name].shape[1:]) ** 0.5 for name in state
               if name.endswith(".weight") and state[name].ndim > 1]
    assert all(abs(a - b).max() > 0.01 for i, a in enumerate(kernels) for b in kernels[i + 1:])


@each
def test_state_goes_round(make, shape):
    layer, other = make(), make()
    step(layer, shape, 1)
    if layer.parameters():
        tinyae.Adam(layer.parameters(), lr=0.1).step()
    state = layer.state_dict()
    other.load_state_dict(state | {"encoder.encoder_cnn.3.num_batches_tracked": np.array(7)})
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    (x,) = arrays(5, shape, dtype="float32")
    np.testing.assert_array_equal(other.eval().forward(x), layer.eval().forward(x))


def test_state_is_copied_both_ways():
    layer = tinyae.BatchNorm2d(3)
    state = layer.state_dict()
    for value in state.values():
        value[:] = 9
    assert layer.weight.data.tolist() == [1] * 3 and layer.running_var.data.tolist() == [1] * 3
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
    layer.load_state_dict({"bias": np.array([1, 2], "float16"), "weight": np.full((2, 3), 0.1)})  # in any order
    assert layer.weight.data.dtype == layer.bias.data.dtype == "float32"
    assert layer.bias.data.tolist() == [1, 2] and layer.weight.data[0, 0] == np.float32(0.1)


@pytest.mark.parametrize("change, message", [
    (lambda state: state.pop("2.bias"), r"missing \['2.bias'\]"),
    (lambda state: state.update(extra=np.ones(3)), r"Sequential \['extra'\]"),
    (lambda state: state.update({"2.weight": np.ones((3, 2))}), r"2.weight.*\(3, 2\).*\(2, 3\)"),
    (lambda state: state.update({"2.bias": np.ones(1)}), r"2.bias.*\(1,\).*\(2,\)"),
    (lambda state: state.update({"2.bias": np.ones(2, int)}), "2.bias.*int64"),
])
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    layer = tinyae.Sequential(tinyae.Linear(4, 3, seed=1), tinyae.ReLU(), tinyae.Linear(3, 2, seed=2))
    before = layer.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        layer.load_state_dict(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_sequential_names():
    numbered = tinyae.Sequential(tinyae.Linear(4, 3), tinyae.ReLU(), tinyae.Sequential({"inner": tinyae.Linear(3, 2)}))
    assert list(numbered.state_dict()) == ["0.weight", "0.bias", "2.inner.weight", "2.inner.bias"]
    assert len(tinyae.Sequential(*[tinyae.ReLU() for _ in range(12)]).children()) == 12


def test_backward_and_gradients_need_a_forward():
    for make, shape in LAYERS.values():
        layer = make()
        y = make().forward(arrays(1, shape, dtype="float32")[0])
        with pytest.raises(ValueError, match="before forward"):
            layer.backward(y)
        if layer.parameters():
            with pytest.raises(ValueError, match="before backward"):
                layer.gradients()
            with pytest.raises(ValueError, match="before backward"):
                tinyae.Adam(layer.parameters()).step()
    with pytest.raises(ValueError, match="before forward"):
        tinyae.MSELoss().backward()


def test_moving_to_the_same_backend_copies_and_forgets_gradients():
    layer = tinyae.BatchNorm2d(3)
    step(layer, (3, 4, 5, 2), 1)
    before, state = layer.running_mean.data, layer.state_dict()
    assert layer.to("numpy") is layer
    assert layer.running_mean.data is not before and layer.weight.grad is None
    assert all((layer.state_dict()[name] == value).all() for name, value in state.items())
