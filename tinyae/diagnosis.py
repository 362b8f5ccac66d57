"""Where a training went wrong: the first place that made an infinite value or one that is not a number."""

from .backend import namespace
from .models import batch_first, batch_last


def _step(training, x, target):
    """A training step, layer by layer: yields (where, in words, and the arrays) for all that it computes, in order."""
    yield "in the images themselves, before the first layer", x, target
    chain = [
        (f"{name} ({type(layer).__name__})", layer)
        for name, layer in training.model.leaves()
    ]
    y = batch_last(x)
    for what, layer in chain:
        y = layer.forward(y)
        yield f"in the output of {what}", y
    yield "in the loss", training.loss.forward(batch_first(y), target)
    dy = batch_last(training.loss.backward())
    for what, layer in reversed(chain):
        dy = layer.backward(dy)
        yield (
            f"in a gradient that {what} computed",
            dy,
            *(p.grad for p in layer.parameters()),
        )
    training.optimizer.step()
    yield (
        "in the weights after Adam's step",
        *(p.data for p in training.model.parameters()),
    )


def first_nonfinite(training, batches):
    """Train on `batches` again; in a sentence, where the first value appeared that is not finite."""
    for number, (x, target) in enumerate(batches, 1):
        for where, *arrays in _step(training, x, target):
            if not all(
                bool(namespace(a).all(namespace(a).isfinite(a))) for a in arrays
            ):
                return f"It began in batch {number} of the training images, {where}."
    return "It did not come back in a replay of the training images: it began with the test images, or by rounding."
