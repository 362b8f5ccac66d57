"""What every layer shares: its parameters, their names, and where they live.

A layer is a function y = f(x; w) that can also answer the one question backpropagation asks: if the loss changes by
dL/dy with my output, by how much does it change with my input, and with my weights? The chain rule:

    forward(x)        computes y, and keeps what the derivative will need
    backward(dy)      given dy = dL/dy, multiplies by the derivative: stores dL/dw, returns dx = dL/dx

`dy` always has y's shape and `dx` x's shape. Layers work batch last: images are (C, H, W, N), vectors (features, N).
What forward and backward return belongs to the caller, no later call writes into it; what they are given they only
read, and forward may keep it: do not change it before backward. backward belongs to the latest forward.
"""

from . import checks
from .backend import backend_of, choose, host, to_numpy


class Parameter:
    """An array a layer owns. data: its values. grad: dL/d(data) after a backward, overwritten by the next.

    trainable is False for what is only remembered and never learnt: batch norm's running statistics.
    """

    def __init__(self, data, trainable=True):
        self.data, self.trainable, self.grad = data, trainable, None


def uniform_parameters(seed, dtype, fan_in, *shapes):
    """New parameters, uniform in +-1/sqrt(fan_in): a sum of fan_in terms then starts out with a size of order one,
    whatever the layer's width. (PyTorch's default for linear and convolution layers, weights and biases alike.)"""
    rng, bound = checks.generator(seed), fan_in**-0.5
    return [Parameter(rng.uniform(-bound, bound, shape).astype(dtype)) for shape in shapes]


class Layer:
    """A function with a derivative. Subclasses define forward(x) and backward(dy) and hold Parameters as attributes."""

    training = True
    _kept = None

    def forward(self, x):
        raise TypeError(f"{type(self).__name__} defines no forward(x)")

    def backward(self, dy):
        raise TypeError(f"{type(self).__name__} defines no backward(dy)")

    def keep(self, *what):
        """Keep what backward needs, until the next forward."""
        self._kept = what

    def kept(self):
        """What the latest forward kept. Raises ValueError if there was none."""
        if self._kept is None:
            raise ValueError(f"{type(self).__name__}: backward before forward; call forward(x) first")
        return self._kept

    # -- parameters and their names --

    def children(self):
        """(name, Parameter or Layer) for each this layer holds, in the order they were made."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, (Parameter, Layer))]

    def named_parameters(self):
        """(dotted name, Parameter) for all of them, running statistics included: PyTorch's state_dict names."""
        for name, child in self.children():
            if isinstance(child, Parameter):
                yield name, child
            else:
                yield from ((f"{name}.{rest}", parameter) for rest, parameter in child.named_parameters())

    def parameters(self):
        """The trainable Parameters, for an optimiser."""
        return [parameter for _, parameter in self.named_parameters() if parameter.trainable]

    def gradients(self):
        """{name: dL/d(parameter)} of the latest backward, as NumPy arrays."""
        named = [(name, p) for name, p in self.named_parameters() if p.trainable]
        if any(p.grad is None for _, p in named):
            raise ValueError(f"{type(self).__name__}: gradients before backward; call forward(x) and backward(dy) first")
        return {name: to_numpy(p.grad) for name, p in named}

    def state_dict(self):
        """{name: values} of all parameters and running statistics, as NumPy arrays (copies)."""
        return {name: to_numpy(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Take over the values in `state` ({name: array}); num_batches_tracked is ignored, we do not count batches.

        Raises ValueError before anything is changed if a name is missing or unknown or a shape differs.
        """
        state = {name: host.asarray(value) for name, value in state.items() if not name.endswith("num_batches_tracked")}
        named = dict(self.named_parameters())
        if state.keys() != named.keys():
            raise ValueError(f"state: missing {sorted(named.keys() - state.keys())}, "
                             f"not known to this {type(self).__name__} {sorted(state.keys() - named.keys())}")
        for name, p in named.items():
            if state[name].shape != tuple(p.data.shape) or state[name].dtype.kind != "f":
                raise ValueError(f"state[{name!r}]: got shape {state[name].shape} and dtype {state[name].dtype}, "
                                 f"expected floats of shape {tuple(p.data.shape)}")
        for name, p in named.items():
            p.data = backend_of(p.data).from_numpy(state[name].astype(str(to_numpy(p.data).dtype)))

    def to(self, backend):
        """Move all parameters to a backend, by its name ("auto", "numpy", "cupy", a registered one); returns self."""
        device, _ = choose(backend)
        for _, p in self.named_parameters():
            p.data, p.grad = device.from_numpy(to_numpy(p.data)), None
        return self

    # -- two modes: batch norm behaves differently while training --

    def train(self, mode=True):
        """Training mode, here and in every layer within; returns self."""
        self.training = mode
        for _, child in self.children():
            if isinstance(child, Layer):
                child.train(mode)
        return self

    def eval(self):
        """Evaluation mode; returns self."""
        return self.train(False)
