"""Training: the model, the optimiser and the loop.

An epoch is one pass over all training images. Everything happens on the device that
holds the images: shuffling, corruption, forward, loss, backward, Adam. The losses stay
there too until the epoch ends, because reading a number back makes a GPU wait.
"""

import numpy as np

from .backend import get_backend, to_numpy
from .experiment import batches
from .losses import MSELoss
from .optim import Adam


class TrainingDiverged(ArithmeticError):
    """A loss became infinite or not a number."""


class Training:
    """A training in progress: its model, its optimiser and its history.

    history: [(train loss, test loss), ...], one pair per finished epoch. The train loss
    is the mean over the images while the model learns; the test loss is the mean over
    the test images after the epoch, with batch norm in evaluation mode. first_weights:
    {name: array}, the weights after the first epoch.
    """

    def __init__(self, experiment):
        # A block of just under 32 MiB, allocated and freed at once: from then on glibc
        # keeps freed blocks up to that size instead of returning them to the system
        # after every step. Without this a sweep takes 20 to 33% longer.
        np.empty(2**25 - 2**16, "uint8")
        self.experiment = experiment
        self.backend, _ = get_backend(experiment.backend)
        self.model = experiment.model(seed=experiment.seed).to(self.backend.name)
        self.loss = MSELoss()
        self.optimizer = Adam(
            self.model.parameters(),
            lr=experiment.lr,
            weight_decay=experiment.weight_decay,
        )
        self.history = []
        self.first_weights = {}

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # reported below
    def run(self, train_images, test_images, epochs=None):
        """Train for `epochs` more epochs, or until experiment.epochs; return self.

        train_images, test_images: (M, 28, 28), uint8, NumPy arrays. Raises
        TrainingDiverged if the loss of an epoch is not finite. The weights are then
        useless; continue from a state() saved before.
        """
        _check_images("train_images", train_images)
        _check_images("test_images", test_images)
        train = self.backend.from_numpy(train_images)
        test = self.backend.from_numpy(test_images)
        left = range(len(self.history) + 1, self.experiment.epochs + 1)
        for epoch in left[:epochs]:
            losses = self.train_epoch(train, epoch), self.test_epoch(test, epoch)
            if not np.isfinite(losses).all():
                raise TrainingDiverged(
                    f"The loss of epoch {epoch} is not finite. Lower lr (it is "
                    f"{self.experiment.lr}) or look at the input."
                )
            self.history.append(losses)
            self.first_weights = self.first_weights or self.weights()
        return self

    def train_epoch(self, pixels, epoch):
        """Train on all pixels (M, 28, 28) once; return the mean loss."""
        self.model.train()
        return self._mean(self.train_step, self.train_batches(pixels, epoch))

    def test_epoch(self, pixels, epoch):
        """Return the mean loss on pixels (M, 28, 28), without learning."""
        self.model.eval()
        return self._mean(self.test_step, self.test_batches(pixels, epoch))

    def train_step(self, x, target):
        """Take one step downhill on one batch; return its loss, a 0-d array."""
        e = self.experiment
        self.optimizer.lr = e.lr * e.lr_decay ** len(self.history)
        loss = self.test_step(x, target)
        self.model.backward(self.loss.backward(), input_grad=False)
        self.optimizer.step()
        return loss

    def test_step(self, x, target):
        """Return the loss of one batch, a 0-d array."""
        return self.loss.forward(self.model.forward(x), target)

    def _mean(self, step, batches):
        """Return the mean loss over all images, from the mean losses of the batches."""
        losses, sizes = [], []
        for x, target in batches:
            losses.append(step(x, target))
            sizes.append(x.shape[0])
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

    def test_batches(self, pixels, epoch):
        """Return the batches of the test images, in order."""
        return batches(pixels, self.experiment, self._rng(epoch, "test"))

    def _rng(self, epoch, purpose):
        return self.backend.rng(self.experiment.seed, epoch, purpose)

    def weights(self):
        """Return {name: array}, not copied, because a step never changes an array."""
        return {name: p.data for name, p in self.model.named_parameters()}

    def encode(self, images):
        """Return the codes (M, latent_dim) of images (M, 1, 28, 28), float32, NumPy."""
        return self._apply(self.model.eval().encode, images)

    def reconstruct(self, images, after_first=False):
        """Return what the model makes of images (M, 1, 28, 28), float32, NumPy.

        after_first: use the weights after the first epoch.
        """
        model = self.model
        if after_first:
            model = Training(self.experiment).model
            for name, p in model.named_parameters():
                p.data = self.first_weights[name]
        return self._apply(model.eval().forward, images)

    def _apply(self, function, images, size=256):
        """Return function(images), computed batch by batch to save memory."""
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
        arrays = {f"model.{name}": to_numpy(a) for name, a in self.weights().items()}
        arrays |= {f"first.{n}": to_numpy(a) for n, a in self.first_weights.items()}
        arrays["adam.t"] = np.array(self.optimizer.t, "int64")
        arrays["adam.m"] = to_numpy(self.optimizer.m)
        arrays["adam.v"] = to_numpy(self.optimizer.v)
        arrays["history"] = np.array(self.history, "float64")
        return arrays

    def restore(self, state):
        """Continue from a state(); return self.

        Raises ValueError or KeyError if an array is missing or does not fit.
        """
        self.model.load_state_dict(_part(state, "first."))
        self.first_weights = self.weights()
        self.model.load_state_dict(_part(state, "model."))
        self.optimizer.t = int(state["adam.t"])
        self.optimizer.m = self.backend.from_numpy(state["adam.m"])
        self.optimizer.v = self.backend.from_numpy(state["adam.v"])
        self.history = [tuple(row) for row in state["history"].tolist()]
        return self


def _part(state, prefix):
    """Return the entries of `state` whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): a for k, a in state.items() if k.startswith(prefix)}


def _check_images(name, images):
    kind = getattr(images, "dtype", type(images).__name__)
    shape = np.shape(images)
    if kind != "uint8" or len(shape) != 3 or 0 in shape:
        raise TypeError(
            f"{name}: got {kind} {shape}, expected uint8 images (M, 28, 28)"
        )
