"""The optimiser: what to do with a gradient."""

from math import prod

from . import checks
from .backend import namespace
from .group import Alone


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), with L2 weight decay as in torch.optim.Adam.

    Gradient descent, theta -= lr g, takes one step size lr for all parameters theta: too long where the loss is steep,
    too short where it is flat. Adam divides each parameter's step by the usual size of its own gradient. At step t:

        g = dL/dtheta + weight_decay theta        the gradient of L + weight_decay/2 |theta|^2
        m = beta1 m + (1 - beta1) g               running mean of g: the direction
        v = beta2 v + (1 - beta2) g^2             running mean of g^2: the size
        theta -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    The averages start at 0, so after t steps their weights sum to 1 - beta^t only; dividing by it makes them true
    averages. Left out, m would start 10 times too small, sqrt(v) 32 times: the first steps, under a steady gradient, would
    be 3 to 6.6 times too long.

    parameters: a layer's parameters(). Laid end to end they are one vector theta, so that each formula is one line for
    all, and 17 programs to start on a GPU instead of as many for every weight and every bias.
    """

    def __init__(
        self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0
    ):
        self.parameters = checks.parameters(parameters)
        self.betas = checks.several(
            "betas",
            betas,
            2,
            "(beta1, beta2)",
            checks.number,
            low=0,
            high=1,
            high_open=True,
        )
        self.lr, self.eps = checks.number("lr", lr, 0), checks.number("eps", eps, 0)
        self.weight_decay = checks.number("weight_decay", weight_decay, 0)
        self.t = self.m = self.v = 0

    def step(self, group=Alone()):
        """Change every parameter once, by the gradients of the latest backward; in a `group` (group.py) by its members'
        mean gradient. Raises ValueError before the first.
        """
        if any(p.grad is None for p in self.parameters):
            raise ValueError(
                "Adam: step before backward; a parameter has no gradient yet"
            )
        xp = namespace(self.parameters[0].data)
        theta = xp.concat(
            [p.data for p in self.parameters], axis=None
        )  # flattened, end to end
        g = group.mean(xp.concat([p.grad for p in self.parameters], axis=None))
        if self.t:
            checks.array(
                "the averages of Adam",
                self.m,
                {"parameters": theta.shape[0]},
                like=theta,
            )
        (beta1, beta2), self.t = self.betas, self.t + 1

        g += self.weight_decay * theta
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        denominator = xp.sqrt(self.v) / (1 - beta2**self.t) ** 0.5 + self.eps
        theta -= (self.lr / (1 - beta1**self.t)) * self.m / denominator

        for p in self.parameters:  # each takes its part from the front
            size = prod(p.data.shape)
            p.data, theta = xp.reshape(theta[:size], p.data.shape), theta[size:]
