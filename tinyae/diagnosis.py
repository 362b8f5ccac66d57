"""Where a training went wrong: the first layer that made an infinite value or one that is not a number."""

from .backend import namespace
from .models import batch_first, batch_last


def _finite(*arrays):
    return all(bool(namespace(x).all(namespace(x).isfinite(x))) for x in arrays)


def first_nonfinite(training, x, target):
    """Take one training step, layer by layer; where the first non-finite value appeared, in words, or None."""
    if not _finite(x, target):
        return "in the images themselves, before the first layer"
    chain = [(f"{name} ({type(layer).__name__})", layer) for name, layer in training.model.leaves()]
    y = batch_last(x)
    for what, layer in chain:
        y = layer.forward(y)
        if not _finite(y):
            return f"in the output of {what}"
    if not _finite(training.loss.forward(batch_first(y), target)):
        return "in the loss"
    dy = batch_last(training.loss.backward())
    for what, layer in reversed(chain):
        dy = layer.backward(dy)
        if not _finite(dy, *(p.grad for p in layer.parameters())):
            return f"in a gradient that {what} computed"
    training.optimizer.step()
    if not _finite(*(p.data for p in training.model.parameters())):
        return "in the weights after Adam's step"
    return None
