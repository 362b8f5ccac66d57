"""What every layer keeps to: what it owns and what it leaves alone, dtypes, modes, backward after forward."""

import numpy as np
import pytest
from cases import arrays
from every_layer import LAYERS, each, each_dtype, step

import tinyae
from tinyae.layer import Layer

# -- what belongs to whom --


@each
def test_inputs_and_upstream_gradients_are_not_changed(make, shape):
    layer = make()
    x, dy, y, dx = step(
        layer, shape, 10
    )  # raises if anything is written: they are read-only
    (again_x,) = arrays(10, shape, dtype="float32")
    (again_dy,) = arrays(11, y.shape, dtype="float32")
    np.testing.assert_array_equal(x, again_x)
    np.testing.assert_array_equal(dy, again_dy)


@each
def test_what_is_returned_is_never_written_into(make, shape):
    layer, held, copies = make(), [], []
    adam = (
        tinyae.Adam(layer.parameters(), weight_decay=0.1)
        if layer.parameters()
        else None
    )
    for seed in range(4):
        x, dy, y, dx = step(layer, shape, seed)
        new = [
            x,
            dy,
            y,
            dx,
            *[p.grad for p in layer.parameters()],
            *[p.data for _, p in layer.named_parameters()],
            *layer.gradients().values(),
            *layer.state_dict().values(),
        ]
        held, copies = held + new, copies + [array.copy() for array in new]
        if adam:
            adam.step()
        layer.load_state_dict(
            {name: value + 0.01 for name, value in layer.state_dict().items()}
        )
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
    others = [p.data for _, p in layer.named_parameters()] + (
        [] if views else [x, dy, y]
    )
    for i, gradient in enumerate(mine):
        assert not any(
            np.shares_memory(gradient, other) for other in mine[i + 1 :] + others
        )


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
        return  # these return dx all the same: it costs little
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
    assert (
        model.backward(arrays(2, (2, 1, 28, 28), dtype="float32")[0], input_grad=False)
        is None
    )
    assert asked == [(6, True), (3, True), (1, False)]


@each
@each_dtype
def test_dtypes_are_kept(make, shape, dtype):
    layer = make(dtype=dtype)
    x, dy, y, dx = step(layer, shape, 1, dtype)
    adam = (
        tinyae.Adam(layer.parameters(), weight_decay=0.1)
        if layer.parameters()
        else None
    )
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
        wide_y, wide_dx = (
            wide.forward(x.astype("float64")),
            wide.backward(dy.astype("float64")),
        )
        np.testing.assert_allclose(y, wide_y, rtol=0, atol=1e-5)
        np.testing.assert_allclose(dx, wide_dx, rtol=0, atol=1e-4 * abs(wide_dx).max())


# -- modes --


def test_train_and_eval_reach_every_layer():
    def layers(layer):
        yield layer
        for _, child in layer.children():
            if isinstance(child, Layer):
                yield from layers(child)

    model = tinyae.AnelloAutoencoder(2, width=1)
    assert len(list(layers(model))) == 31 and all(
        layer.training is True for layer in layers(model)
    )
    assert model.eval() is model and all(
        layer.training is False for layer in layers(model)
    )
    assert model.train() is model and all(
        layer.training is True for layer in layers(model)
    )
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


# -- what must come first, and what is forgotten --


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
    assert all(
        (layer.state_dict()[name] == value).all() for name, value in state.items()
    )
