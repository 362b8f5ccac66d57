"""Training: the model, the loss, the optimiser and the loop.

An epoch is one pass over all training images. Everything happens on the device that
holds the images: shuffling, corruption, forward, loss, backward, step. The losses stay
there too until the epoch ends, because reading a number back makes a GPU wait.
"""

from contextlib import contextmanager

import numpy as np

from . import checks
from .backend import get_backend, to_numpy
from .experiment import batches, check_pixels, to_range
from .layer import Layer

CONTRACT = {  # what the loss and the optimiser must have
    "loss": ("forward", "backward"),
    "optimizer": ("lr", "step", "state_dict", "load_state_dict"),
}


class TrainingDiverged(ArithmeticError):
    """A loss became infinite or not a number."""


class Training:
    """A training in progress: its model, loss, optimiser and history.

    history: [(train loss, test loss), ...], one pair per finished epoch. The train loss
    is the mean over the images while the model learns; the test loss is the mean over
    the test images after the epoch, with batch norm in evaluation mode.

    Raises TypeError if experiment.model makes no Layer, ValueError if it does not make
    a new one each time.
    """

    def __init__(self, experiment):
        # A block of just under 32 MiB, allocated and freed at once: from then on glibc
        # keeps freed blocks up to that size instead of returning them to the system
        # after every step. Without this a sweep takes 20 to 33% longer.
        np.empty(2**25 - 2**16, "uint8")
        self.experiment = experiment
        self.backend, _ = get_backend(experiment.backend)
        # The other one is needed only to see that each call makes new Parameters.
        self.model, other = (experiment.model(seed=experiment.seed) for _ in range(2))
        if not isinstance(self.model, Layer):
            raise TypeError(f"model: got {self.model!r}, expected a Layer")
        if set(self.model.parameters()) & set(other.parameters()):
            raise ValueError(
                "model: got the same Parameters twice, expected new ones from each call"
            )
        self.model.to(self.backend.name)
        self.loss = experiment.loss()
        self.optimizer = experiment.optimizer(self.model.parameters())
        self.history = []

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # reported below
    def run(self, train_images, test_images, epochs=None):
        """Train until experiment.epochs, but at most `epochs` more; return self.

        train_images, test_images: (M, H, W) or (M, C, H, W), uint8, NumPy arrays.
        Raises TypeError or ValueError, before the first step, if they or a part of the
        experiment are not what is expected. Raises TrainingDiverged if the loss of an
        epoch is not finite. The weights are then useless; continue from a state() saved
        before.
        """
        check_pixels("train_images", train_images)
        check_pixels("test_images", test_images)
        most = self.experiment.epochs
        epochs = most if epochs is None else checks.integer("epochs", epochs, 0)
        train = self.backend.from_numpy(train_images)
        test = self.backend.from_numpy(test_images)
        self.check_parts(train)
        self.check_parts(test)
        for epoch in range(len(self.history) + 1, most + 1)[:epochs]:
            losses = self.train_epoch(train, epoch), self.test_epoch(test, epoch)
            if not np.isfinite(losses).all():
                raise TrainingDiverged(
                    f"The loss of epoch {epoch} is not finite. Lower the optimiser's "
                    f"lr (it is now {self.optimizer.lr:g}) or look at the input."
                )
            self.history.append(losses)
        return self

    def check_parts(self, pixels):
        """Raise TypeError or ValueError if the parts do not fit Experiment's contract.

        pixels: (M, H, W) or (M, C, H, W), uint8, on the device. Two of the images go
        through model and loss, in evaluation mode.
        """
        for name, wanted in CONTRACT.items():
            part = getattr(self, name)
            if not all(hasattr(part, attribute) for attribute in wanted):
                raise TypeError(f"{name}: got {part!r}, expected one with {wanted}")
        x = to_range(pixels[:2, ...], self.experiment.pixel_range)
        with evaluation(self.model):
            y = self.model.forward(x)
        checks.array("model", y, tuple(x.shape), like=x)
        loss = self.loss.forward(y, x)
        if getattr(loss, "shape", None) != ():
            got = f"{type(loss).__name__} of shape {np.shape(loss)}"
            raise TypeError(f"loss: got {got}, expected a 0-d array")

    def train_epoch(self, pixels, epoch):
        """Train on all pixels, uint8, on the device, once; return the mean loss."""
        loss = self._mean(self.train_step, self.train_batches(pixels, epoch))
        self.optimizer.lr *= self.experiment.lr_decay
        return loss

    def test_epoch(self, pixels, epoch):
        """Return the mean loss on pixels, uint8, on the device, without learning."""
        rng = self._rng(epoch, "test")
        return self._mean(self.test_step, batches(pixels, self.experiment, rng))

    def train_step(self, x, target):
        """Take one step downhill on one batch; return its loss, a 0-d array."""
        self.model.train()
        loss = self.loss.forward(self.model.forward(x), target)
        self.model.backward(self.loss.backward(), input_grad=False)
        self.optimizer.step()
        return loss

    def test_step(self, x, target):
        """Return the loss of one batch in evaluation mode, a 0-d array."""
        with evaluation(self.model):
            return self.loss.forward(self.model.forward(x), target)

    def _mean(self, step, batches):
        """Return the mean loss over all images, from the mean losses of the batches."""
        results = [(step(x, target), x.shape[0]) for x, target in batches]
        losses, sizes = zip(*results, strict=True)
        values = to_numpy(self.backend.xp.stack(losses)).astype("float64")
        return float(np.average(values, weights=sizes))

    def train_batches(self, pixels, epoch):
        """Return the batches of an epoch in random order.

        They depend only on the seed and the epoch, so an epoch can be repeated exactly.
        """
        xp = self.backend.xp
        keys = self._rng(epoch, "shuffle").random((pixels.shape[0],), dtype=xp.float64)
        rng = self._rng(epoch, "train")
        return batches(pixels, self.experiment, rng, xp.argsort(keys))

    def _rng(self, epoch, purpose):
        return self.backend.rng(self.experiment.seed, epoch, purpose)

    def encode(self, images):
        """Return the codes (M, ...) of images (M, C, H, W), float32, NumPy arrays."""
        return self._apply(self.model.encode, images)

    def reconstruct(self, images):
        """Return the reconstructions of images (M, C, H, W), float32, NumPy arrays."""
        return self._apply(self.model.forward, images)

    def _apply(self, function, images, size=256):
        """Return function(images), computed batch by batch to save memory."""
        with evaluation(self.model):
            parts = [
                function(self.backend.from_numpy(images[start : start + size]))
                for start in range(0, len(images), size)
            ]
        return to_numpy(self.backend.xp.concat(parts))

    def state(self):
        """Return all that must be saved after an epoch, {name: NumPy array}.

        Raises ValueError before the first epoch.
        """
        if not self.history:
            raise ValueError("state: got no finished epoch, expected at least one")
        arrays = {"history": np.array(self.history), "lr": np.array(self.optimizer.lr)}
        for part in "model", "optimizer":
            values = getattr(self, part).state_dict()
            arrays |= {f"{part}.{name}": array for name, array in values.items()}
        return arrays

    def restore(self, state):
        """Continue from a state(); return self.

        Raises ValueError, KeyError or TypeError if an array is missing or does not fit.
        """
        for part in "model", "optimizer":
            values = {
                name.removeprefix(f"{part}."): array
                for name, array in state.items()
                if name.startswith(f"{part}.")
            }
            getattr(self, part).load_state_dict(values)
        self.optimizer.lr = float(state["lr"])
        self.history = [tuple(row) for row in state["history"].tolist()]
        return self


@contextmanager
def evaluation(model):
    """Set evaluation mode; afterwards, restore each layer's mode."""
    modes = {layer: layer.training for _, layer in model.named_layers()}
    modes[model] = model.training
    model.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
