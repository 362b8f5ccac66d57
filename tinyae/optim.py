"""The Adam optimiser: how a gradient becomes a change of the parameters."""

from math import prod

from . import checks
from .backend import namespace


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with L2 weight decay, as torch.optim.Adam.

    Gradient descent, θ -= lr g, uses one step size for all parameters: too large where
    the loss is steep, too small where it is flat. Adam divides the step of each
    parameter by the usual size of its own gradient. At step t:

        g = dL/dθ + weight_decay θ      the gradient of L + weight_decay/2 |θ|²
        m = β1 m + (1 - β1) g           running mean of g: the direction
        v = β2 v + (1 - β2) g²          running mean of g²: the size
        θ -= lr (m / (1 - β1ᵗ)) / (√(v / (1 - β2ᵗ)) + eps)

    m and v start at 0, so after t steps their weights sum to only 1 - βᵗ. Dividing by
    that makes them true averages. Without this correction m would start 10 times too
    small and √v 32 times too small, and the first steps would be 3 to 7 times too long.

    Weight decay shrinks weights that the loss does not need, which makes the model
    smoother. Here it is part of the gradient, so Adam rescales it like the rest; AdamW
    subtracts lr * weight_decay * θ separately instead.

    parameters: a layer's parameters(). Laid end to end they form one vector θ, so each
    line in step() is one operation for the whole model.
    """

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0
    ):
        self.parameters = checks.parameters(parameters)
        self.betas = checks.fractions("betas", betas, "(beta1, beta2)")
        self.lr = checks.number("lr", lr, 0)
        self.eps = checks.number("eps", eps, 0)
        self.weight_decay = checks.number("weight_decay", weight_decay, 0)
        self.t = 0
        self.m = 0
        self.v = 0

    def step(self):
        """Change every parameter once, by the gradients of the latest backward.

        Raises ValueError before the first backward, and ValueError or TypeError if a
        gradient does not have the shape and dtype of its parameter.
        """
        checks.gradients(self.parameters)
        xp = namespace(self.parameters[0].data)
        theta = xp.concat([p.data for p in self.parameters], axis=None)  # flattened
        g = xp.concat([p.grad for p in self.parameters], axis=None)
        if self.t:
            checks.array("the averages of Adam", self.m, tuple(theta.shape), like=theta)

        self.t += 1
        beta1, beta2 = self.betas
        g += self.weight_decay * theta
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        denominator = xp.sqrt(self.v) / (1 - beta2**self.t) ** 0.5 + self.eps
        theta -= (self.lr / (1 - beta1**self.t)) * self.m / denominator

        start = 0
        for p in self.parameters:
            size = prod(p.data.shape)
            p.data = xp.reshape(theta[start : start + size], p.data.shape)
            start += size
