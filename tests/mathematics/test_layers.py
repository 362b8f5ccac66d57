"""What every layer obeys: what it owns and leaves alone, dtypes, modes, copies."""

import copy
import pickle

import numpy as np
import pytest
from cases import arrays
from every_layer import LAYERS, each, each_dtype, gradients, step

import tinyae


def equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def data(layer):
    return [p.data for _, p in layer.named_parameters()]


@each
def test_what_is_given_or_returned_is_never_changed(make, shape):
    layer, held, copies = make(), [], []
    for seed in range(4):
        held += step(layer, shape, seed)  # x and dy are read-only
        held += [*gradients(layer).values(), *data(layer)]
        held += layer.state_dict().values()
        copies += [array.copy() for array in held[len(copies) :]]
        if layer.parameters():
            tinyae.Adam(layer.parameters(), weight_decay=0.1).step()
        moved = {name: a + 0.01 for name, a in layer.state_dict().items()}
        layer.load_state_dict(moved)
    equal(held, copies)


@each
def test_a_caller_may_change_what_it_was_given(make, shape):
    """Writing to y before backward changes no gradient (Flatten's y is a view of x)."""
    results = []
    for scribble in (False, True):
        layer = make()
        y = layer.forward(arrays(1, shape, dtype="float32")[0].copy())
        (dy,) = arrays(2, y.shape, dtype="float32")
        if scribble:
            y[:] = 7
        results.append([layer.backward(dy), *gradients(layer).values()])
    equal(*results)


@each
def test_gradients_share_no_memory(make, shape):
    layer = make()
    x, dy, y, dx = step(layer, shape, 1)
    mine = [dx, *gradients(layer).values()]
    others = data(layer)
    if not isinstance(layer, tinyae.Flatten):
        others += [x, dy, y]
    for i, gradient in enumerate(mine):
        for other in mine[i + 1 :] + others:
            assert not np.shares_memory(gradient, other)


@each
def test_backward_belongs_to_the_latest_forward(make, shape):
    """A second forward replaces the first. A second backward adds nothing."""
    twice, once = make(), make()
    y = twice.forward(arrays(1, shape, dtype="float32")[0])
    twice.forward(arrays(2, shape, dtype="float32")[0])
    twice.backward(y)
    (_, dy, _, dx) = step(once, shape, 2)
    equal([twice.backward(dy)], [dx])
    equal(gradients(twice).values(), gradients(once).values())


@each
def test_the_input_gradient_can_be_left_out(make, shape):
    full, less = make(), make()
    x, dy, _, dx = step(full, shape, 1)
    assert dx.shape == x.shape
    less.forward(x)
    nothing = less.backward(dy, input_grad=False)
    if full.parameters() and not isinstance(full, tinyae.BatchNorm2d):
        assert nothing is None  # the others return dx: it costs little
    equal(gradients(less).values(), gradients(full).values())


def test_only_the_first_layer_of_a_model_leaves_it_out(monkeypatch):
    asked, backward = [], tinyae.Conv2d.backward

    def spy(layer, dy, input_grad=True):
        asked.append((layer.in_channels, input_grad))
        return backward(layer, dy, input_grad)

    monkeypatch.setattr(tinyae.Conv2d, "backward", spy)
    model = tinyae.AnelloAutoencoder(2, width=3, seed=1)
    images = arrays(1, (2, 1, 28, 28), dtype="float32")[0]
    assert model.backward(model.forward(images), input_grad=False) is None
    assert asked == [(6, True), (3, True), (1, False)]


@each
@each_dtype
def test_dtypes_are_kept(make, shape, dtype):
    layer = make(dtype=dtype)
    made = [*step(layer, shape, 1, dtype), *gradients(layer).values()]
    if layer.parameters():
        adam = tinyae.Adam(layer.parameters(), weight_decay=0.1)
        adam.step()
        made += [adam.m, adam.v]
    made += [*data(layer), *layer.state_dict().values()]
    assert {str(array.dtype) for array in made} == {dtype}


def test_train_and_eval_reach_every_layer():
    model = tinyae.AnelloAutoencoder(2, width=1)
    layers = [model, *dict(model.named_layers()).values()]
    assert len(layers) == 31
    assert all(layer.training for layer in layers)
    assert model.eval() is model
    assert not any(layer.training for layer in layers)
    assert model.train() is model
    assert all(layer.training for layer in layers)


def test_backward_uses_the_mode_of_its_forward():
    layer, same = tinyae.BatchNorm2d(3), tinyae.BatchNorm2d(3)
    _, dy, _, dx = step(same, (3, 4, 5, 2), 1)
    layer.forward(arrays(1, dy.shape, dtype="float32")[0])
    equal([layer.eval().backward(dy)], [dx])


def test_backward_and_steps_need_what_comes_first():
    for make, shape in LAYERS.values():
        layer = make()
        y = make().forward(arrays(1, shape, dtype="float32")[0])
        with pytest.raises(ValueError, match=r"backward before forward; call forward"):
            layer.backward(y)
        if layer.parameters():
            with pytest.raises(ValueError, match="Adam: step before backward"):
                tinyae.Adam(layer.parameters()).step()
    with pytest.raises(ValueError, match="MSELoss: backward before forward"):
        tinyae.MSELoss().backward()


def pickled(layer):
    return pickle.loads(pickle.dumps(layer))


@each
@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
def test_a_layer_can_be_copied_at_any_time(make, shape, clone):
    layer = make()
    before = clone(layer)
    x, dy, y, dx = step(layer, shape, 1)
    after = clone(layer)
    equal(step(before, shape, 1), (x, dy, y, dx))
    equal([after.backward(dy)], [dx])
    for new in (before, after):
        equal(gradients(new).values(), gradients(layer).values())
        equal(data(new), data(layer))
        for mine, original in zip(data(new), data(layer), strict=True):
            assert not np.shares_memory(mine, original)


def test_moving_to_the_same_backend_copies_and_forgets_gradients():
    layer = tinyae.BatchNorm2d(3)
    step(layer, (3, 4, 5, 2), 1)
    before = data(layer)
    assert layer.to("numpy") is layer
    equal(data(layer), before)
    assert layer.running_mean.data is not before[2]
    assert layer.weight.grad is None


def test_habits_from_pytorch():
    first = tinyae.Conv2d(1, 8, (3, 2))
    model = tinyae.Sequential({"conv": first, "rest": tinyae.Sequential(tinyae.ReLU())})
    assert model[0] is model["conv"] is first
    assert model[-1][0] is model["rest"]["0"]
    (x,) = arrays(1, (1, 4, 5, 2), dtype="float32")
    equal(model(x), model.forward(x))
    assert [name for name, _ in model.named_layers()] == ["conv", "rest", "rest.0"]
    lines = str(model).splitlines()
    assert lines[0] == "Sequential("
    assert lines[1].startswith("    conv: Conv2d(in_channels=1, out_channels=8, kernel")
    assert lines[3:] == ["        0: ReLU()", "    )", ")"]
