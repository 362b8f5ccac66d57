"""What every layer shares: its parameters, their names, and where they live.

For any v write dv for dL/dv, the rate at which the loss L changes with v. A layer is a function y = f(x; w) that also
answers the one question of backpropagation: given dy, what are dx and dw? By the chain rule:

    forward(x)      computes y, and keeps what the derivative will need
    backward(dy)    multiplies dy by the derivative: stores dw, returns dx
                    (model.backward(dy, input_grad=False) tells its first layer, which may then skip dx and return None)

dy always has y's shape, dx x's. Layers work batch last: images are (C, H, W, N), vectors (features, N); only a whole
autoencoder takes its batch first. A layer writes only into arrays that it made in that call; what it returns is the
caller's (Flatten's and Unflatten's is a view of what they were given). backward belongs to the latest forward, which may
have kept x itself: do not change x in between. In the code, host is NumPy, and xp = namespace(x) the library that made
x: NumPy, or CuPy on a GPU (backend.py).
"""

from . import checks
from .backend import backend_of, choose, host, to_numpy


class Parameter:
    """An array a layer owns. data: its values. grad: dL/d(data) after a backward; the next overwrites it. trainable is
    False for what is only remembered and never learnt: batch norm's running statistics.
    """

    def __init__(self, data, trainable=True):
        self.data, self.trainable, self.grad = data, trainable, None


def uniform_parameters(shape, bias_size, dtype, seed):
    """A new weight of `shape` and its bias, uniform in +-1/sqrt(fan_in), PyTorch's default. fan_in is the product of all
    axes but the first; for Linear and Conv2d the number of terms in a sum, which is then of order one, however wide.
    """
    dtype, rng, bound = (
        checks.dtype(dtype),
        checks.generator(seed),
        host.prod(shape[1:]) ** -0.5,
    )
    return [
        Parameter(rng.uniform(-bound, bound, size).astype(dtype))
        for size in (shape, (bias_size,))
    ]


class Layer:
    """A function with a derivative. Subclasses define forward(x) and backward(dy, input_grad=True), and hold Parameters."""

    training, _kept = True, None

    def keep(self, y, *what):
        """Keep `what` backward needs, until the next forward, and the form of y, which dy must have; returns y."""
        self._kept = y.shape, (backend_of(y), y.dtype), what
        return y

    def kept(self, dy):
        """What the latest forward kept. Raises ValueError before a forward and for a dy of another shape than its y,
        TypeError for another dtype or library.
        """
        if self._kept is None:
            raise ValueError(
                f"{type(self).__name__}: backward before forward; call forward(x) first"
            )
        shape, like, what = self._kept
        checks.array("dy", dy, shape, like)
        return what

    def children(self):
        """(name, Parameter or Layer) for each this layer holds, in the order they were made."""
        return [
            (name, value)
            for name, value in vars(self).items()
            if isinstance(value, (Parameter, Layer))
        ]

    def leaves(self):
        """(dotted name, Layer) for each layer in here that holds no others, in order; itself if it holds none."""
        inner = [
            (name, child.leaves())
            for name, child in self.children()
            if isinstance(child, Layer)
        ]
        return [
            (f"{name}.{rest}".rstrip("."), leaf)
            for name, found in inner
            for rest, leaf in found
        ] or [("", self)]

    def named_parameters(self):
        """(dotted name, Parameter) for all of them, running statistics included: PyTorch's state_dict names."""
        for name, child in self.children():
            inner = (
                [("", child)]
                if isinstance(child, Parameter)
                else child.named_parameters()
            )
            yield from ((f"{name}.{rest}".rstrip("."), p) for rest, p in inner)

    def parameters(self):
        """The trainable Parameters, for an optimiser."""
        return [p for _, p in self.named_parameters() if p.trainable]

    def gradients(self):
        """{name: dL/d(parameter)} of the latest backward, as NumPy arrays. Raises ValueError before the first."""
        if any(p.grad is None for p in self.parameters()):
            raise ValueError(
                f"{type(self).__name__}: gradients before backward; call forward(x), then backward(dy)"
            )
        return {
            name: to_numpy(p.grad) for name, p in self.named_parameters() if p.trainable
        }

    def state_dict(self):
        """{name: values} of all parameters and running statistics, as NumPy arrays (copies)."""
        return {name: to_numpy(p.data) for name, p in self.named_parameters()}

    def load_state_dict(self, state):
        """Take over the values in `state`, {name: array}; num_batches_tracked is ignored: we do not count batches. Raises
        TypeError or ValueError, before anything is changed, if a name is missing or unknown or an array unfit.
        """
        state = checks.state(state, self)
        for name, p in self.named_parameters():
            p.data = backend_of(p.data).from_numpy(state[name])

    def to(self, backend):
        """Move all parameters to a backend, by its name ("auto", "numpy", "cupy", a registered one); returns self."""
        device, _ = choose(backend)
        for _, p in self.named_parameters():
            p.data, p.grad = device.from_numpy(to_numpy(p.data)), None
        return self

    def train(self, mode=True):
        """Training mode, here and in every layer within; returns self. Batch norm differs between the two modes."""
        self.training = mode
        for _, child in self.children():
            if isinstance(child, Layer):
                child.train(mode)
        return self

    def eval(self):
        """Evaluation mode; returns self."""
        return self.train(False)
