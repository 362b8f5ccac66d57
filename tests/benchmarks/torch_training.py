"""The same training in PyTorch, written well, for lesson 4 and the benchmark.

All images stay in tensors in memory: no DataLoader, no transform for each image. The
corruptions work on whole batches too. PyTorch's faster layout is offered.
"""

import inspect
import math

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


def gaussian(images, sigma):
    return images + sigma * torch.randn_like(images)


def erase(images):
    """Apply torchvision's RandomErasing (its defaults, p = 0.5) to a whole batch."""
    N, _, H, W = images.shape
    area = H * W * torch.empty(10, N).uniform_(0.02, 0.33)
    ratio = torch.empty(10, N).uniform_(math.log(0.3), math.log(3.3)).exp()
    h = (area * ratio).sqrt().round()
    w = (area / ratio).sqrt().round()
    fits = (h < H) & (w < W)
    first = fits.byte().argmax(0, keepdim=True)  # of ten tries
    h = h.gather(0, first)[0]
    w = w.gather(0, first)[0]
    top = (torch.rand(N) * (H - h + 1)).floor()
    left = (torch.rand(N) * (W - w + 1)).floor()
    h *= torch.rand(N) < 0.5
    row = torch.arange(H)
    column = torch.arange(W)
    rows = (row >= top[:, None]) & (row < (top + h)[:, None])
    columns = (column >= left[:, None]) & (column < (left + w)[:, None])
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


class Training:
    """The settings of a tinyae Experiment, in PyTorch. layout: a key of LAYOUTS."""

    def __init__(self, experiment, layout=""):
        self.experiment = experiment
        self.layout = LAYOUTS[layout]
        self.model = twin(experiment.model()).to(memory_format=self.layout)
        self.adam = torch.optim.Adam(
            self.model.parameters(),
            lr=experiment.lr,
            weight_decay=experiment.weight_decay,
        )
        self.loss = nn.MSELoss()

    def batches(self, pixels, order):
        low, high = self.experiment.pixel_range
        corruption = self.experiment.corruption
        for chosen in order.split(self.experiment.batch_size):
            images = pixels[chosen][:, None].float().mul_((high - low) / 255).add_(low)
            if hasattr(corruption, "sigma"):
                images = gaussian(images, corruption.sigma)
            elif corruption:
                images = erase(images)
            yield images.contiguous(memory_format=self.layout)

    def train_step(self, images):
        self.adam.zero_grad()
        loss = self.loss(self.model(images), images)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def train_epoch(self, pixels):
        """Train on all pixels (M, 28, 28), uint8, once; return the mean loss."""
        self.model.train()
        order = torch.randperm(len(pixels))
        losses = [self.train_step(images) for images in self.batches(pixels, order)]
        return torch.stack(losses).mean().item()

    @torch.no_grad()
    def test_epoch(self, pixels):
        self.model.eval()
        batches = self.batches(pixels, torch.arange(len(pixels)))
        losses = [self.loss(self.model(images), images) for images in batches]
        return torch.stack(losses).mean().item()


def run(experiment, train_images, test_images, threads, layout):
    """Run a whole training with tests, from NumPy arrays; return its history."""
    torch.set_num_threads(threads)
    train = torch.tensor(train_images)
    test = torch.tensor(test_images)
    training = Training(experiment, layout)
    return [
        (training.train_epoch(train), training.test_epoch(test))
        for _ in range(experiment.epochs)
    ]
