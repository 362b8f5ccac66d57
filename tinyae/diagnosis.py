"""Where a training went wrong: the first infinite value, or the first NaN."""

import numpy as np

from .backend import to_numpy


def _places(training, x, loss):
    """Yield (description, array): what a step computed, from layer to layer."""
    yield "the images themselves, before the first layer", x
    for name, layer in training.model.named_layers():
        for array in (layer._saved or [()])[-1]:  # what save_for_backward was given
            if hasattr(array, "__dlpack__"):  # an array: no shape, no scalar
                yield f"what {name} ({type(layer).__name__}) saved for backward", array
    yield "the loss", training.backend.xp.asarray(loss)
    for name, p in reversed(training.model.named_parameters()):
        if p.trainable:
            yield f"the gradient of {name}", p.grad
        yield f"{name} after the step", p.data


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # this looks for them
def first_nonfinite(training, train_images):
    """Repeat the epoch that diverged; say in a sentence where that began.

    training: a Training in the state before that epoch; it is trained on.
    train_images: (M, H, W) or (M, C, H, W), uint8, a NumPy array.
    """
    pixels = training.backend.from_numpy(train_images)
    epoch = len(training.history) + 1
    for number, (x, target) in enumerate(training.train_batches(pixels, epoch), 1):
        loss = training.train_step(x, target)
        for where, array in _places(training, x, loss):
            if not np.isfinite(to_numpy(array)).all():
                return f"It began in batch {number} of the training images, in {where}."
    return "The training images do not show it: it began in the test images."
