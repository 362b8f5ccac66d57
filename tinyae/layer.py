"""What every layer shares: its parameters, their names, and where they live.

For any value v, write dv for dL/dv: how much the loss L changes when v changes a
little. A layer is a function y = f(x; w) with parameters w. Backpropagation asks each
layer one question: given dy, what are dx and dw? The chain rule answers it:

    forward(x)     computes y, and saves the values that backward needs
    backward(dy)   multiplies dy by the derivative: stores dw, returns dx

dy has the shape of y, and dx has the shape of x. model.backward(dy, input_grad=False)
tells the first layer that its dx is not needed; it may skip that work and return None.

Layers take the batch last: images are (C, H, W, N), vectors are (features, N). Only a
whole autoencoder takes the batch first.

A layer never modifies its arguments, nor an array it has returned. (Flatten and
Unflatten may return a view of their argument.) backward refers to the most recent
forward, which may have kept x itself, not a copy, so do not modify x in between. It
overwrites the gradients of the backward before, so there is no zero_grad to call.

The layers here first check x: checks.array("x", x, shape, like=w) requires that shape,
and the dtype and library of the weight w. Without weights, like is left out. (A layer
of your own works without such a check; a mistake is then found later.)

In the code, np is NumPy on the host, that is, in main memory. xp = namespace(x) is the
library that made x: NumPy, or CuPy on a GPU (backend.py).
"""

from math import prod

import numpy as np

from . import checks
from .backend import backend_of, get_backend, to_numpy


class Parameter:
    """An array that belongs to a layer, and its gradient.

    data: the values. grad: dL/d(data) after a backward; the next backward overwrites
    it. trainable: False for values that are stored but not learned, such as batch
    norm's running statistics. Both kinds are saved with the model.
    """

    def __init__(self, data, trainable=True):
        self.data = data
        self.trainable = trainable
        self.grad = None


def uniform_parameters(shape, bias_size, dtype, seed):
    """Return a new weight and bias, uniform in +-1/sqrt(fan_in), as PyTorch does.

    fan_in is the product of all axes but the first. For Linear and Conv2d that is the
    number of terms in each output's sum. Dividing by its square root makes the size of
    that sum independent of the width of the layer.
    """
    dtype = checks.dtype(dtype)
    rng = np.random.default_rng(seed)
    bound = prod(shape[1:]) ** -0.5
    weight = rng.uniform(-bound, bound, shape).astype(dtype)
    bias = rng.uniform(-bound, bound, bias_size).astype(dtype)
    return Parameter(weight), Parameter(bias)


class Layer:
    """A function with a derivative.

    A subclass defines forward(x) and backward(dy, input_grad=True), and holds
    Parameters.
    """

    training = True
    _saved = None

    def __call__(self, x):
        """Return self.forward(x)."""
        return self.forward(x)

    def save_for_backward(self, y, *arrays):
        """Save `arrays`, and what dy must look like; return y."""
        self._saved = [y.shape, (backend_of(y), y.dtype), arrays]
        return y

    def saved(self, dy):
        """Return the arrays that the most recent forward saved.

        Raises ValueError before a forward, and if dy does not have the shape of y;
        TypeError if dy has another dtype or comes from another library.
        """
        if self._saved is None:
            name = type(self).__name__
            raise ValueError(f"{name}: backward before forward; call forward(x) first")
        shape, like, arrays = self._saved
        checks.array("dy", dy, shape, like)
        return arrays

    def children(self):
        """Return (name, Parameter or Layer) for each attribute that is one.

        Raises TypeError if a list, tuple or dict holds some: they would not be trained.
        """
        kinds = (Parameter, Layer)
        checks.no_hidden(vars(self), kinds)
        return [
            (n, child) for n, child in vars(self).items() if isinstance(child, kinds)
        ]

    def _inside(self):
        """Yield (dotted name, Parameter or Layer) for all children, at every depth."""
        for name, child in self.children():
            yield name, child
            if isinstance(child, Layer):
                for rest, inner in child._inside():
                    yield f"{name}.{rest}", inner

    def named_layers(self):
        """Return (dotted name, Layer) for each layer inside, at every depth."""
        return [(name, c) for name, c in self._inside() if isinstance(c, Layer)]

    def named_parameters(self):
        """Return (dotted name, Parameter) for all, running statistics included.

        The names are those of PyTorch's state_dict. Raises ValueError if a layer or a
        parameter appears twice.
        """
        everything = checks.distinct(self._inside())
        return [(name, p) for name, p in everything if isinstance(p, Parameter)]

    def parameters(self):
        """Return the trainable Parameters, for an optimiser."""
        return [p for _, p in self.named_parameters() if p.trainable]

    def state_dict(self):
        """Return {name: values} of all parameters and running statistics, as copies."""
        return {name: to_numpy(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Load the values in `state`, {name: NumPy array}; dtypes are converted.

        PyTorch's num_batches_tracked is ignored. Raises TypeError or ValueError, before
        anything is changed, if a name is missing or unknown or an array does not fit.
        """
        named = dict(self.named_parameters())
        for name, values in checks.state(state, named).items():
            p = named[name]
            p.data = backend_of(p.data).from_numpy(values)

    def to(self, backend):
        """Move all parameters to the backend of that name; return self."""
        device, _ = get_backend(backend)
        for _, p in self.named_parameters():
            p.data = device.from_numpy(to_numpy(p.data))
            p.grad = None
        return self

    def train(self, mode=True):
        """Set training mode in this layer and all layers inside; return self.

        Batch norm is the only layer here that behaves differently in the two modes.
        Raises ValueError if mode is not True or False.
        """
        if not isinstance(mode, bool):
            raise ValueError(f"mode: got {mode!r}, expected True or False")
        self.training = mode
        for _, child in self.children():
            if isinstance(child, Layer):
                child.train(mode)
        return self

    def eval(self):
        """Set evaluation mode; return self."""
        return self.train(False)
