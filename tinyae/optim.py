"""The optimiser: what to do with a gradient."""

from . import checks
from .backend import namespace


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), with L2 weight decay as in torch.optim.Adam.

    Plain gradient descent, theta -= lr g, takes one step size for all parameters: too long where the loss is steep, too
    short where it is flat. Adam divides each parameter's step by the usual size of its own gradient. At step t, for all
    parameters at once:

        g = dL/dtheta + weight_decay theta        the gradient of L + weight_decay/2 |theta|^2
        m = beta1 m + (1 - beta1) g               running mean of g: the direction
        v = beta2 v + (1 - beta2) g^2             running mean of g^2: the size
        theta -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    The averages start at 0, so after t steps their weights sum to 1 - beta^t only; dividing by it makes them true
    averages. Without that correction m would start 10 times too small and sqrt(v) 32 times: a first step 3 times too long.

    parameters: from a layer's parameters(). All are laid end to end as one vector theta, so the update is one line
    each for a hundred thousand numbers, and a dozen kernel launches on a GPU instead of a dozen for every layer.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("parameters: got none, expected a layer's parameters()")
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"betas: got {betas!r}, expected two numbers (beta1, beta2)")
        self.lr = checks.number("lr", lr, 0)
        self.betas = tuple(checks.number("betas", beta, 0, 1, high_open=True) for beta in betas)
        self.eps = checks.number("eps", eps, 0)
        self.weight_decay = checks.number("weight_decay", weight_decay, 0)
        self.t, self.m, self.v = 0, None, None

    def step(self):
        """Change every parameter once, by the gradients of the latest backward."""
        if any(p.grad is None for p in self.parameters):
            raise ValueError("Adam: step before backward; a parameter has no gradient yet")
        xp = namespace(self.parameters[0].data)
        theta = xp.concat([xp.reshape(p.data, (-1,)) for p in self.parameters])
        g = xp.concat([xp.reshape(p.grad, (-1,)) for p in self.parameters])
        if self.m is None:
            self.m, self.v = xp.zeros_like(theta), xp.zeros_like(theta)
        (beta1, beta2), self.t = self.betas, self.t + 1

        if self.weight_decay:
            g += self.weight_decay * theta
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        size = xp.sqrt(self.v) / (1 - beta2**self.t) ** 0.5 + self.eps
        theta -= (self.lr / (1 - beta1**self.t)) * self.m / size

        start = 0
        for p in self.parameters:
            stop = start + p.data.size
            p.data = xp.reshape(theta[start:stop], p.data.shape)
            start = stop
