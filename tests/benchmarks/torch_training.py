"""The same training in PyTorch (eager), written well, for the benchmark.

All images stay in tensors in memory: no DataLoader, no transform for each image. The
noise is drawn for whole batches too. PyTorch's faster layout is offered.
"""

import inspect

import torch
from torch import nn

from tinyae.layer import Layer

LAYOUTS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}


def twin(layer):
    """Return a tinyae layer as a PyTorch module, with weights of its own."""
    inner = [twin(child) for _, child in layer.children() if isinstance(child, Layer)]
    if inner:
        return nn.Sequential(*inner)
    make = getattr(nn, type(layer).__name__)
    known = inspect.signature(make).parameters
    kinds = (int, float, tuple)  # a bias is an array here and a bool there
    settings = {k: v for k, v in vars(layer).items() if type(v) in kinds and k in known}
    if "dim" in known:  # the axis that Unflatten splits
        settings["dim"] = 1
    return make(**settings)


class Training:
    """The report's settings. layout: a key of LAYOUTS; sigma: of the noise."""

    def __init__(self, model, layout, sigma=0):
        self.layout = LAYOUTS[layout]
        self.sigma = sigma
        self.model = twin(model).to(memory_format=self.layout)
        weights = self.model.parameters()
        self.adam = torch.optim.Adam(weights, lr=1e-3, weight_decay=1e-5)

    def epoch(self, pixels, learn=True):
        """Train on all pixels (M, 28, 28), uint8, or test; return the mean loss."""
        self.model.train(learn)
        order = torch.randperm(len(pixels)) if learn else torch.arange(len(pixels))
        losses = []
        with torch.set_grad_enabled(learn):
            for chosen in order.split(256):
                x = pixels[chosen][:, None].float().mul_(2 / 255).sub_(1)
                if self.sigma:
                    x += self.sigma * torch.randn_like(x)
                x = x.contiguous(memory_format=self.layout)
                loss = nn.functional.mse_loss(self.model(x), x)
                losses.append(loss.detach())
                if learn:
                    self.adam.zero_grad()
                    loss.backward()
                    self.adam.step()
        return torch.stack(losses).mean().item()


def run(model, sigma, epochs, images, threads, layout):
    """Run a whole training with tests, from NumPy arrays; return its history."""
    torch.set_num_threads(threads)
    train, test = map(torch.tensor, images)
    training = Training(model, layout, sigma)
    return [
        (training.epoch(train), training.epoch(test, learn=False))
        for _ in range(epochs)
    ]
