"""What every layer of the package obeys, and a layer that a reader adds to it."""

import numpy as np
from cases import arrays, every_layer, every_mode, gradients, new, step

import tinyae
from tinyae.layer import Layer, Parameter


def equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


@every_layer
@every_mode
def test_float32_is_float64_rounded_and_dtypes_are_kept(part, shape, training):
    narrow, wide = (
        step(new(part, dtype).train(training), shape, dtype=dtype)
        for dtype in ("float32", "float64")
    )
    assert narrow.keys() == wide.keys()
    for name, exact in wide.items():
        assert (narrow[name].dtype, exact.dtype) == ("float32", "float64")
        rounding = 1e-5 * max(1, abs(exact).max())
        np.testing.assert_allclose(narrow[name], exact, atol=rounding, rtol=0)


@every_layer
@every_mode
def test_what_is_given_or_returned_is_never_changed(part, shape, training):
    layer, held, copies = new(part).train(training), [], []
    for seed in range(3):
        held += step(layer, shape, seed).values()  # x and dy are read-only
        held += [p.data for _, p in layer.named_parameters()]
        held += layer.state_dict().values()
        copies += [array.copy() for array in held[len(copies) :]]
        if layer.parameters():
            tinyae.Adam(layer.parameters(), weight_decay=0.1).step()
        moved = {name: a + 0.01 for name, a in layer.state_dict().items()}
        layer.load_state_dict(moved)
    equal(held, copies)


@every_layer
def test_backward_belongs_to_the_latest_forward(part, shape):
    """A second forward replaces the first, and its mode. y may be written to."""
    twice, once = new(part), new(part)
    x, other = arrays(2, shape, shape, dtype="float32")
    twice.eval().forward(other)
    y = twice.train().forward(x.copy())
    (dy,) = arrays(3, y.shape, dtype="float32")
    if not isinstance(part, tinyae.Flatten):  # its y is a view of x
        y[...] = 7
    once.forward(x)
    equal([twice.eval().backward(dy)], [once.backward(dy)])
    equal(gradients(twice).values(), gradients(once).values())


@every_layer
def test_a_state_can_be_loaded_again(part, shape):
    """In any float dtype; the layer's own stays. PyTorch's counts are ignored."""
    layer, other = new(part), new(new(part))
    step(layer, shape)
    state = {name: a.astype(">f8") for name, a in layer.state_dict().items()}
    other.load_state_dict(state | {"0.num_batches_tracked": np.array(7)})
    equal(step(other.eval(), shape).values(), step(layer.eval(), shape).values())


def test_a_state_is_copied_both_ways():
    layer = tinyae.BatchNorm2d(3)
    state = layer.state_dict()
    state["weight"][:] = 9
    assert layer.weight.data.tolist() == [1] * 3
    layer.load_state_dict(state)
    state["weight"][:] = 5
    assert layer.weight.data.tolist() == [9] * 3


def test_moving_copies_and_forgets_gradients():
    layer = tinyae.BatchNorm2d(3)
    step(layer, (3, 4, 5, 2))
    before = layer.running_mean.data
    assert layer.to("numpy") is layer
    assert layer.running_mean.data is not before
    assert layer.weight.grad is None


def test_train_and_eval_reach_every_layer():
    model = tinyae.AnelloAutoencoder(2, width=1, seed=1)
    layers = [model, *dict(model.named_layers()).values()]
    assert len(layers) == 31
    for change, mode in (model.eval, False), (model.train, True):
        assert change() is model
        assert {layer.training for layer in layers} == {mode}


def test_an_input_gradient_that_is_not_asked_for_is_not_computed():
    for layer in tinyae.Conv2d(1, 2, 1, seed=1), tinyae.AnelloAutoencoder(2, seed=1):
        y = layer.forward(np.ones((1, 1, 28, 28), "float32"))
        assert y.shape[1:] == (1, 28, 28)  # the stride is 1 where none is given
        assert layer.backward(y, input_grad=False) is None


class Scaled(tinyae.Sequential):
    """Its own Parameter stands beside the layers that it was given."""

    def __init__(self):
        super().__init__({"first": tinyae.Linear(2, 3, seed=1), "rest": Inner()})
        self.scale = Parameter(np.ones(1, "float32"))


class Inner(Layer):
    def __init__(self):
        self.count = Parameter(np.zeros(1, "float32"), trainable=False)
        self.linear = tinyae.Linear(3, 2, seed=2)


def test_parameters_are_found_at_every_depth_and_named_as_in_pytorch():
    model = Scaled()
    assert model["first"] is model.layers["first"]
    assert [
        name for name, _ in model.named_layers()
    ] == "first rest rest.linear".split()
    learned = (
        "first.weight first.bias rest.linear.weight rest.linear.bias scale".split()
    )
    assert list(gradients(model)) == learned
    assert list(model.state_dict()) == [*learned[:2], "rest.count", *learned[2:]]
    assert len(model.parameters()) == 5
