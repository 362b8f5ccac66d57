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
        self.model = _new_model(experiment).to(self.backend.name)
        self.loss = experiment.loss()
        self.optimizer = experiment.optimizer(self.model.parameters())
        self.history = []

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # reported below
    def run(self, train_images, test_images, epochs=None):
        """Train for `epochs` more epochs, or until experiment.epochs; return self.

        train_images, test_images: (M, H, W) or (M, C, H, W), uint8, NumPy arrays.
        Raises TypeError or ValueError, before the first step, if they or a part of the
        experiment are not what is expected. Raises TrainingDiverged if the loss of an
        epoch is not finite. The weights are then useless; continue from a state() saved
        before.
        """
        check_pixels("train_images", train_images)
        check_pixels("test_images", test_images)
        if epochs is not None:
            checks.integer("epochs", epochs, at_least=0)
        train = self.backend.from_numpy(train_images)
        test = self.backend.from_numpy(test_images)
        self.check_parts(train)
        left = range(len(self.history) + 1, self.experiment.epochs + 1)
        for epoch in left[:epochs]:
            losses = self.train_epoch(train, epoch), self.test_epoch(test, epoch)
            if not np.isfinite(losses).all():
                raise TrainingDiverged(
                    f"The loss of epoch {epoch} is not finite. Lower the optimiser's "
                    f"lr (it is {self.optimizer.lr:g}) or look at the input."
                )
            self.history.append(losses)
        return self

    def check_parts(self, pixels):
        """Raise TypeError or ValueError if the parts do not fit Experiment's contract.

        pixels: (M, H, W) or (M, C, H, W), uint8, on the device. Two of the images go
        through model and loss, in evaluation mode.
        """
        _check_methods("loss", self.loss, "forward", "backward")
        methods = ("lr", "step", "state_dict", "load_state_dict")
        _check_methods("optimizer", self.optimizer, *methods)
        checks.number("optimizer.lr", self.optimizer.lr, 0)
        x = to_range(pixels[:2, ...], self.experiment.pixel_range)
        with evaluation(self.model):
            y = self.model.forward(x)
        checks.array("model", y, tuple(x.shape), like=x)
        loss = self.loss.forward(y, x)
        shape = getattr(loss, "shape", None)
        scalar = shape is not None and tuple(shape) == ()
        checks.expect(scalar, TypeError, "loss", repr(loss), "a 0-d array")
        checks.array("loss.backward()", self.loss.backward(), tuple(y.shape), like=y)

    def train_epoch(self, pixels, epoch):
        """Train on all pixels, uint8, on the device, once; return the mean loss."""
        loss = self._mean(self.train_step, self.train_batches(pixels, epoch))
        self.optimizer.lr *= self.experiment.lr_decay
        return loss

    def test_epoch(self, pixels, epoch):
        """Return the mean loss on pixels, uint8, on the device, without learning."""
        return self._mean(self.test_step, self.test_batches(pixels, epoch))

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

    def encode(self, images):
        """Return the codes (M, ...) of images (M, C, H, W), float32, NumPy arrays."""
        return self._apply(self.model.encode, images)

    def reconstruct(self, images):
        """Return what the model makes of images (M, C, H, W), float32, NumPy arrays."""
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
        arrays = {"history": np.array(self.history, "float64")}
        arrays["lr"] = np.array(self.optimizer.lr, "float64")
        for prefix, part in {"model": self.model, "optimizer": self.optimizer}.items():
            arrays |= {f"{prefix}.{n}": a for n, a in part.state_dict().items()}
        return arrays

    def restore(self, state):
        """Continue from a state(); return self.

        Raises ValueError or KeyError if an array is missing or does not fit.
        """
        history, lr = state["history"], state["lr"]
        for prefix, part in {
            "model.": self.model,
            "optimizer.": self.optimizer,
        }.items():
            names = [name for name in state if name.startswith(prefix)]
            part.load_state_dict({n.removeprefix(prefix): state[n] for n in names})
        self.optimizer.lr = float(lr)
        self.history = [tuple(row) for row in history.tolist()]
        return self


def _new_model(experiment):
    """Return experiment.model(seed), and make sure that it is a new one."""
    models = [experiment.model(seed=experiment.seed) for _ in range(2)]
    form = "a Layer"
    checks.expect(
        isinstance(models[0], Layer), TypeError, "model", repr(models[0]), form
    )
    shared = set(models[0].parameters()) & set(models[1].parameters())
    got = "a function that returns the same Parameters each time"
    checks.expect(not shared, ValueError, "model", got, "new ones each time")
    return models[0]


def _check_methods(name, part, *wanted):
    missing = [method for method in wanted if not hasattr(part, method)]
    got = f"{part!r}, which has no {', '.join(missing)}"
    form = f"an object with {', '.join(wanted)}"
    checks.expect(not missing, TypeError, name, got, form)


@contextmanager
def evaluation(model):
    """Set evaluation mode; afterwards, restore each layer's mode."""
    layers = [model, *(layer for _, layer in model.named_layers())]
    modes = [layer.training for layer in layers]
    model.eval()
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
