"""Training: an experiment's settings, and the loop that carries them out.

Everything happens where the images are put: shuffling, corrupting, forward, loss, backward, Adam. The losses of an
epoch stay there too and are read back once, at its end: on a GPU every reading makes the processor wait.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from . import checks
from .backend import choose, host, namespace, to_numpy, zeros
from .diagnosis import first_nonfinite
from .group import Alone
from .losses import MSELoss
from .models import AnelloAutoencoder, Sequential, batch_first, batch_last
from .optim import Adam

# Every step makes new arrays and lets the old ones go. glibc would return their memory to the system and fetch it again,
# page by page, until it has once seen a block of nearly 32 MiB freed (lesson 4). Elsewhere nothing is lost.
KEPT_MEMORY = 2**25 - 2**16  # bytes


class TrainingDiverged(ArithmeticError):
    """A loss became infinite or not a number. The message says where that began, and what to try."""


@dataclass(frozen=True)
class Experiment:
    """All that decides a training: equal experiments on equal data give bit-identical weights (on the same backend and
    machine, with the same number of threads).

    corruption: (images, generator) -> corrupted images, with a repr that tells its settings; None for none. It is
    drawn afresh for every image in every epoch, for training and testing.
    clean_target: whether the output is compared with the clean image (denoising) or with the corrupted one.
    pixel_range: the values that black and white are mapped to. backend: a name for `choose`. processes: how many share
    every batch, see group.py; more than 1 are for when there are fewer trainings than cores.
    """

    corruption: Any = None
    clean_target: bool = False
    pixel_range: tuple[float, float] = (-1.0, 1.0)
    latent_dim: int = 4
    epochs: int = 20
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-5
    seed: int = 1
    backend: str = "numpy"
    processes: int = 1

    def __post_init__(self):
        checks.expect(
            self.corruption is None or callable(self.corruption),
            TypeError,
            "corruption",
            repr(self.corruption),
            "None or a function (images, generator)",
        )
        low, high = checks.several(
            "pixel_range",
            self.pixel_range,
            2,
            "(low, high)",
            checks.number,
            low=-float("inf"),
        )
        checks.expect(
            low < high,
            ValueError,
            "pixel_range",
            self.pixel_range,
            "(low, high) with low < high",
        )
        for name, at_least in (
            ("latent_dim", 1),
            ("epochs", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("processes", 1),
        ):
            checks.integer(name, getattr(self, name), at_least)
        checks.number("lr", self.lr, 0)
        checks.number("weight_decay", self.weight_decay, 0)
        checks.expect(
            self.batch_size % self.processes == 0,
            ValueError,
            "processes",
            self.processes,
            f"a divisor of batch_size, {self.batch_size}",
        )
        checks.expect(
            self.processes == 1 or self.backend == "numpy",
            ValueError,
            "processes",
            self.processes,
            f"1 with the backend {self.backend!r}: they share processor cores, one device has none to share",
        )


def to_range(pixels, pixel_range):
    """Grey values 0..255 (N, H, W), uint8 -> images (N, 1, H, W), float32, 0 mapped to low and 255 to high."""
    low, high = pixel_range
    images = namespace(pixels).astype(pixels[:, None, :, :], namespace(pixels).float32)
    images *= (high - low) / 255
    images += low
    return images


def _along_batch(x):
    """The images x (N, C, H, W) with the batch contiguous in memory, as the layers work: one copy here spares many."""
    y = zeros((*x.shape[1:], x.shape[0]), like=x)
    y[...] = batch_last(x)
    return batch_first(y)


def batches(pixels, experiment, rng, shuffle=None, group=Alone()):
    """Go once through pixels (M, H, W), uint8, in the order of `shuffle` (their indices) or as they come: yields (input,
    target), both (N, 1, H, W), float32, N = batch_size (the last may be smaller). rng: draws the corruption, for the
    whole batch; of that a member of a `group` gets its part.
    """
    part = slice(group.rank, None, group.size)
    for start in range(0, pixels.shape[0], experiment.batch_size):
        chosen = slice(
            start, min(start + experiment.batch_size, pixels.shape[0])
        )  # beyond the end is not in the standard
        some = (
            pixels[chosen, ...]
            if shuffle is None
            else namespace(pixels).take(pixels, shuffle[chosen], axis=0)
        )
        clean = to_range(some, experiment.pixel_range)
        x = _along_batch(
            (experiment.corruption(clean, rng) if experiment.corruption else clean)[
                part, ...
            ]
        )
        yield (
            x,
            _along_batch(clean[part, ...])
            if experiment.corruption and experiment.clean_target
            else x,
        )


class Training:
    """An experiment under way: its model, its optimiser and its history, to be saved and resumed after any epoch.

    history: [(train loss, test loss), ...], one pair an epoch: the mean over the images while learning, and over the
    test images after it, with batch norm in evaluation mode. first_model: the model as it was after one epoch.
    """

    def __init__(self, experiment):
        host.empty(KEPT_MEMORY, "uint8")  # allocated and freed at once
        self.experiment = experiment
        self.backend, _ = choose(experiment.backend)
        self.model, self.first_model = (
            AnelloAutoencoder(experiment.latent_dim, seed=experiment.seed).to(
                self.backend.name
            )
            for _ in range(2)
        )
        self.optimizer = Adam(
            self.model.parameters(),
            lr=experiment.lr,
            weight_decay=experiment.weight_decay,
        )
        self.loss, self.history, self.group = MSELoss(), [], Alone()

    def join(self, group):
        """Train as a member of `group`; returns self. Each member must do all that the others do."""
        self.group = group
        for _, layer in self.model.leaves():
            layer.group = group  # batch norm asks for it
        return self

    def train_step(self, x, target):
        """One step downhill on one batch; returns the loss before it, a 0-d array on the device."""
        loss = self.loss.forward(self.model.forward(x), target)
        self.model.backward(self.loss.backward(), input_grad=False)
        self.optimizer.step(self.group)
        return loss

    def train_batches(self, pixels, epoch):
        """The batches of an epoch: the same epoch gives the same ones, whatever was done before."""
        e = self.experiment
        random = self.backend.rng(e.seed, epoch, "shuffle").random(
            (pixels.shape[0],), dtype=self.backend.xp.float64
        )
        order = namespace(pixels).argsort(random)
        return batches(
            pixels, e, self.backend.rng(e.seed, epoch, "train"), order, self.group
        )

    def train_epoch(self, pixels, epoch):
        """Go once through pixels (M, 28, 28), uint8, on the device; returns its batches' losses, still there."""
        self.model.train()
        return [
            self.train_step(x, target)
            for x, target in self.train_batches(pixels, epoch)
        ]

    def test_epoch(self, pixels, epoch):
        """The losses on pixels (M, 28, 28), uint8, batch by batch, without learning."""
        self.model.eval()
        rng = self.backend.rng(self.experiment.seed, epoch, "test")
        return [
            self.loss.forward(self.model.forward(x), target)
            for x, target in batches(pixels, self.experiment, rng, group=self.group)
        ]

    @host.errstate(
        over="ignore", invalid="ignore", divide="ignore"
    )  # they are looked for below, and explained
    def run(self, train_images, test_images, epochs=None):
        """Train `epochs` more, or until experiment.epochs are done; returns self.

        train_images, test_images: (M, 28, 28), uint8, NumPy arrays. Raises TrainingDiverged at the end of an epoch whose
        loss is not finite, with the state before that epoch.
        """
        processes = self.experiment.processes
        for name, images in (
            ("train_images", train_images),
            ("test_images", test_images),
        ):
            kind, shape = (
                getattr(images, "dtype", type(images).__name__),
                getattr(images, "shape", ()),
            )
            checks.expect(
                kind == "uint8" and len(shape) == 3 and 0 not in shape,
                TypeError,
                name,
                f"{kind} {shape}",
                "uint8 images (M, 28, 28)",
            )
            checks.expect(
                len(images) % processes == 0,
                ValueError,
                name,
                f"{len(images)} images",
                f"a multiple of the experiment's processes, {processes}",
            )
        checks.expect(
            self.group.size == processes,
            ValueError,
            "processes",
            f"{processes} in a group of {self.group.size}",
            "a group of that size, join() it first: lessons/sweep.py does",
        )
        train, test = (
            self.backend.from_numpy(train_images),
            self.backend.from_numpy(test_images),
        )
        last = (
            self.experiment.epochs
            if epochs is None
            else min(len(self.history) + epochs, self.experiment.epochs)
        )
        for epoch in range(len(self.history) + 1, last + 1):
            before = self._arrays()
            train_losses, test_losses = (
                self.train_epoch(train, epoch),
                self.test_epoch(test, epoch),
            )
            losses = self.group.mean(
                to_numpy(self.backend.xp.stack(train_losses + test_losses))
            )  # the only reading
            if not host.isfinite(losses).all():
                raise TrainingDiverged(
                    f"The loss of epoch {epoch} is not finite. {self._explain(before, train, epoch)} "
                    f"Lower lr (it is {self.experiment.lr}) or look at the input; "
                    f"the state after epoch {epoch - 1} is kept."
                )
            n = len(train_losses)
            self.history.append(
                (
                    self._mean(losses[:n], train.shape[0]),
                    self._mean(losses[n:], test.shape[0]),
                )
            )
            if epoch == 1:
                for (_, first), (_, p) in zip(
                    self.first_model.named_parameters(), self.model.named_parameters()
                ):
                    first.data = p.data  # not copied: a step makes new arrays and never writes into old ones
        return self

    def _mean(self, losses, M):
        """The mean over M images from the means over batches, of which the last may be smaller."""
        sizes = [
            min(self.experiment.batch_size, M - start)
            for start in range(0, M, self.experiment.batch_size)
        ]
        return float(host.average(losses.astype("float64"), weights=sizes))

    def _arrays(self):
        """The state, without copying."""
        return [(p, p.data) for _, p in self.model.named_parameters()], vars(
            self.optimizer
        ).copy()

    def _rewind(self, before):
        """Go back to an earlier _arrays()."""
        for p, data in before[0]:
            p.data = data
        vars(self.optimizer).update(before[1])

    def _explain(self, before, train, epoch):
        """Replay an epoch that went wrong, to say at which batch and where the first non-finite value appeared."""
        self.join(Alone())._rewind(
            before
        )  # of a group, each looks for itself, at whole batches
        self.model.train()
        found = first_nonfinite(self, self.train_batches(train, epoch))
        self._rewind(before)
        return found

    def encode(self, images):
        """The codes (M, latent_dim) of images (M, 1, 28, 28), float32, NumPy arrays."""
        return self._apply(self.model.eval().encode, images)

    def reconstruct(self, images, after_first=False):
        """What the model makes of such images; with after_first, what it made of them after one epoch."""
        return self._apply(
            (self.first_model if after_first else self.model).eval().forward, images
        )

    def _apply(self, function, images):
        """function(images), batch by batch: no more memory than training takes."""
        parts = [
            function(self.backend.from_numpy(images[i : i + 256]))
            for i in range(0, len(images), 256)
        ]
        return to_numpy(self.backend.xp.concat(parts))

    def _models(self):
        """Both models as one, whose state_dict tells them apart."""
        return Sequential({"model": self.model, "after_first": self.first_model})

    def state(self):
        """All there is to save after an epoch, {name: NumPy array}: both models, Adam's averages, the history."""
        return self._models().state_dict() | {
            "adam.t": host.array(self.optimizer.t),
            "adam.m": to_numpy(self.optimizer.m),
            "adam.v": to_numpy(self.optimizer.v),
            "history": host.array(self.history),
        }

    def restore(self, state):
        """Go on from a state(). Raises ValueError, with nothing changed, if a name, shape or dtype does not fit."""
        average = (
            "float32",
            1,
            sum(prod(p.data.shape) for p in self.model.parameters()),
        )  # dtype, axes, last side
        want = {
            "adam.t": ("int64", 0),
            "adam.m": average,
            "adam.v": average,
            "history": ("float64", 2, 2),
        }
        got = {
            name: (str(a.dtype), a.ndim, *a.shape[-1:])
            for name, a in state.items()
            if name in want
        }
        if got != want:
            raise ValueError(f"state: got {got}, expected {want}")
        self._models().load_state_dict(
            {name: a for name, a in state.items() if name not in want}
        )
        self.optimizer.t = int(state["adam.t"])
        self.optimizer.m, self.optimizer.v = map(
            self.backend.from_numpy, (state["adam.m"], state["adam.v"])
        )
        self.history = [tuple(row) for row in state["history"].tolist()]
        return self
