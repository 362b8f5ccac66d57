"""Where a training went wrong: the first infinite value, or the first NaN."""

import numpy as np

from .backend import namespace
from .layer import Parameter


def _note(found, where, *arrays):
    """Add `where` to `found` if an array is not finite."""
    for array in arrays:
        if array is not None:
            xp = namespace(array)
            if not xp.all(xp.isfinite(array)):
                found.append(where)


def _watch(layer, method, where, found):
    """Make a method of a layer, or of the loss, note non-finite results."""
    original = getattr(layer, method)

    def watched(*arguments, **options):
        result = original(*arguments, **options)
        gradients = [p.grad for p in vars(layer).values() if isinstance(p, Parameter)]
        _note(found, where, result, *gradients)
        return result

    setattr(layer, method, watched)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # this looks for them
def first_nonfinite(training, train_images):
    """Repeat the epoch that diverged; say in a sentence where that began.

    training: a Training in the state before that epoch; it cannot be used afterwards,
    because its methods are replaced.
    train_images: (M, H, W) or (M, C, H, W), uint8, a NumPy array.
    """
    found = []
    others = [("model", training.model), ("loss", training.loss)]
    for name, layer in training.model.named_layers() + others:
        kind = f"{name} ({type(layer).__name__})"
        _watch(layer, "forward", f"in the output of {kind}", found)
        _watch(layer, "backward", f"in a gradient computed by {kind}", found)
    pixels = training.backend.from_numpy(train_images)
    epoch = len(training.history) + 1
    for number, (x, target) in enumerate(training.train_batches(pixels, epoch), 1):
        _note(found, "in the images themselves, before the first layer", x, target)
        training.train_step(x, target)
        weights = [p.data for _, p in training.model.named_parameters()]
        _note(found, "in the weights after the optimiser's step", *weights)
        if found:
            return f"It began in batch {number} of the training images, {found[0]}."
    return "The training images do not show it: it began in the test images."
