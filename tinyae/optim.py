"""Optimisers: how a gradient becomes a change of the parameters.

An optimiser sees the network as one long vector θ, all its parameters laid end to end,
and the gradient g = dL/dθ beside it. The gradient says in which direction the loss
grows fastest. So we go a little in the opposite direction. The optimiser decides how
far:

    SGD, gradient descent     θ -= lr g
    SGD with momentum         θ -= lr v, where v sums up the g of all steps so far
    Adam                      θ -= lr m / √v, where m averages g, and v averages g²

Weight decay adds weight_decay θ to g: that is the gradient of an extra loss,
weight_decay/2 |θ|². It shrinks parameters that the loss does not need. It does not
simplify a layer that batch norm follows, because batch norm undoes any scale; there,
smaller weights only mean larger steps.
"""

from math import prod

import numpy as np

from . import checks
from .backend import backend_of, namespace, to_numpy


class Optimizer:
    """What all optimisers share: the long vectors, and what is saved to continue.

    A subclass defines change(g), which returns what is subtracted from θ. In `memory`
    it names the vectors that it keeps from step to step; they start at 0. t: the number
    of the step, from 1. The gradient check cannot tell whether the steps are right:
    compare a few with the same formula on one number (tests/mathematics/test_optim.py).

    parameters: a layer's parameters(). Raises TypeError or ValueError for anything
    else, and for a parameter that appears twice.
    """

    memory = ()

    def __init__(self, parameters, lr=1e-3, weight_decay=0):
        self.parameters = checks.parameters(parameters)
        self.lr = checks.number("lr", lr, 0)
        self.weight_decay = checks.number("weight_decay", weight_decay, 0)
        self.t = 0
        for name in self.memory:
            setattr(self, name, 0 * self._vector("data"))

    def _vector(self, which):
        """Return the "data" or the "grad" of all parameters, laid end to end."""
        xp = namespace(self.parameters[0].data)
        return xp.concat([getattr(p, which) for p in self.parameters], axis=None)

    def step(self):
        """Change every parameter once, by the gradients of the latest backward.

        Raises ValueError before the first backward, and ValueError or TypeError if a
        gradient does not have the shape and dtype of its parameter.
        """
        checks.gradients(self.parameters)
        theta = self._vector("data")
        g = self._vector("grad")
        g += self.weight_decay * theta
        self.t += 1
        theta -= self.change(g)
        xp = namespace(theta)
        start = 0
        for p in self.parameters:
            size = prod(p.data.shape)
            p.data = xp.reshape(theta[start : start + size], p.data.shape)
            start += size

    def state_dict(self):
        """Return {name: NumPy array} of what the next step needs, as copies.

        lr is not part of it.
        """
        vectors = {name: to_numpy(getattr(self, name)) for name in self.memory}
        return {"t": np.array(self.t)} | vectors

    def load_state_dict(self, state):
        """Continue from a state_dict().

        Raises ValueError if the names or sizes are not those of this optimiser.
        """
        wanted = {"t", *self.memory}
        if state.keys() != wanted:
            raise ValueError(f"state: got {set(state)}, expected {wanted}")
        self.t = int(state["t"])
        for name in self.memory:
            vector = getattr(self, name)
            values = np.reshape(state[name], vector.shape)  # must not broadcast
            vector[...] = backend_of(vector).from_numpy(values)


class SGD(Optimizer):
    """Gradient descent, with or without momentum, as torch.optim.SGD.

        v = momentum v + g
        θ -= lr v

    With momentum 0, v is g. With 0.9, v is the sum of the g of all steps, each counting
    0.9 times as much as the next. Where they agree, v grows to 10 g; where their sign
    alternates, v shrinks to about g / 2.
    """

    memory = ("v",)

    def __init__(self, parameters, lr=1e-3, momentum=0, weight_decay=0):
        super().__init__(parameters, lr, weight_decay)
        self.momentum = checks.fraction("momentum", momentum)

    def change(self, g):
        self.v = self.momentum * self.v + g
        return self.lr * self.v


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1) with L2 weight decay, as torch.optim.Adam.

    SGD uses one step size for all parameters: too large where the loss is steep, too
    small where it is flat. Adam divides the step of each parameter by the usual size of
    its own gradient. At step t:

        m = β1 m + (1 - β1) g           running mean of g: the direction
        v = β2 v + (1 - β2) g²          running mean of g²: the size
        θ -= lr (m / (1 - β1ᵗ)) / (√(v / (1 - β2ᵗ)) + eps)

    m and v start at 0, so after t steps the factors of the g sum to only 1 - βᵗ.
    Dividing by that makes m and v true averages. Without this correction m would start
    10 times too small and √v 32 times too small, and the first steps would be 3 to 7
    times too long.

    Weight decay is part of g here, so Adam rescales it like the rest; AdamW subtracts
    lr * weight_decay * θ separately instead.
    """

    memory = ("m", "v")

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0
    ):
        super().__init__(parameters, lr, weight_decay)
        form = "(beta1, beta2), both less than 1"
        self.betas = checks.several("betas", betas, 2, form, checks.fraction)
        self.eps = checks.number("eps", eps, 0)

    def change(self, g):
        xp = namespace(g)
        beta1, beta2 = self.betas
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        denominator = xp.sqrt(self.v) / (1 - beta2**self.t) ** 0.5 + self.eps
        return (self.lr / (1 - beta1**self.t)) * self.m / denominator
