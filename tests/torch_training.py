"""The same training in PyTorch, as its own users would write it well, for the benchmark. Needs PyTorch.

Everything stays in tensors in memory: no DataLoader, no transform for each image. The corruptions work on whole
batches too. Where PyTorch has a faster way for the same result, such as the layout channels_last, it is offered.
"""

import math

import torch
from torch import distributed, nn

import tinyae


def twin(layer):
    """A tinyae layer as a PyTorch module, with weights of its own."""
    inner = [
        twin(child)
        for _, child in layer.children()
        if isinstance(child, tinyae.layer.Layer)
    ]
    if inner:
        return nn.Sequential(*inner)
    names = {
        "Linear": ("in_features", "out_features"),
        "BatchNorm2d": ("num_features",),
        "Unflatten": (),
        "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
        "ConvTranspose2d": (
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "output_padding",
        ),
    }
    kind = type(layer).__name__
    if kind == "Unflatten":
        return nn.Unflatten(1, layer.unflattened_size)
    return getattr(nn, kind)(*(getattr(layer, name) for name in names.get(kind, ())))


def gaussian(images, sigma):
    return images + sigma * torch.randn_like(images)


def erase(images):
    """torchvision's RandomErasing with its defaults and p = 0.5, for a whole batch at once."""
    N, _, H, W = images.shape
    area = H * W * torch.empty(10, N).uniform_(0.02, 0.33)
    ratio = torch.empty(10, N).uniform_(math.log(0.3), math.log(3.3)).exp()
    h, w = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    first = (
        ((h < H) & (w < W)).byte().argmax(0, keepdim=True)
    )  # that all ten fail does not happen with these settings
    h, w = h.gather(0, first)[0], w.gather(0, first)[0]
    top, left = (
        (torch.rand(N) * (H - h + 1)).floor(),
        (torch.rand(N) * (W - w + 1)).floor(),
    )
    row, column = torch.arange(H), torch.arange(W)
    rows = (
        (row >= top[:, None])
        & (row < (top + h)[:, None])
        & (torch.rand(N) < 0.5)[:, None]
    )
    columns = (column >= left[:, None]) & (column < (left + w)[:, None])
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)


class Training:
    """experiment: tinyae's; its corruption, batch_size, lr, weight_decay and pixel_range count. channels_last: which
    layout in memory. fused: Adam as one kernel.
    """

    def __init__(self, experiment, width=8, channels_last=False, fused=False):
        self.experiment = experiment
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = twin(
            tinyae.AnelloAutoencoder(experiment.latent_dim, width=width)
        ).to(memory_format=self.layout)
        self.adam = torch.optim.Adam(
            self.model.parameters(),
            lr=experiment.lr,
            weight_decay=experiment.weight_decay,
            fused=fused or None,
        )
        self.loss, self.rank, self.size = nn.MSELoss(), 0, 1

    def join(self, rank, size, folder):
        """Take every size-th image of a batch only, and share the gradients as PyTorch does. Its batch norm looks at the
        own part: SyncBatchNorm is for GPUs.
        """
        self.rank, self.size = rank, size
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
        )
        self.model = nn.parallel.DistributedDataParallel(self.model)

    def batches(self, pixels, order):
        (low, high), corruption = (
            self.experiment.pixel_range,
            self.experiment.corruption,
        )
        for some in order.split(self.experiment.batch_size):
            images = (
                pixels[some[self.rank :: self.size]][:, None]
                .float()
                .mul_((high - low) / 255)
                .add_(low)
            )
            if corruption:
                images = (
                    gaussian(images, corruption.sigma)
                    if hasattr(corruption, "sigma")
                    else erase(images)
                )
            yield images.contiguous(memory_format=self.layout)

    def train_epoch(self, pixels):
        """Once through pixels (M, 28, 28), uint8, shuffled; returns the mean of the batches' losses."""
        self.model.train()
        losses = []
        for images in self.batches(pixels, torch.randperm(len(pixels))):
            self.adam.zero_grad()
            loss = self.loss(self.model(images), images)
            loss.backward()
            self.adam.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    @torch.no_grad()
    def test_epoch(self, pixels):
        self.model.eval()
        losses = [
            self.loss(self.model(images), images)
            for images in self.batches(pixels, torch.arange(len(pixels)))
        ]
        return torch.stack(losses).mean().item()


def run(experiment, train_images, test_images, threads, channels_last):
    """A whole training with tests, from NumPy arrays; returns its history."""
    torch.set_num_threads(threads)
    train, test = torch.tensor(train_images), torch.tensor(test_images)
    training = Training(experiment, channels_last=channels_last)
    return [
        (training.train_epoch(train), training.test_epoch(test))
        for _ in range(experiment.epochs)
    ]
