"""Where a training went wrong: the first layer that made an infinite value or one that is not a number."""

from .backend import namespace


class _Found(Exception):
    """The search is over; its text says where."""


def leaves(layer, name=""):
    """(dotted name, layer) of the layers that hold no others, in the order of forward."""
    inner = [(child_name, child) for child_name, child in layer.children() if hasattr(child, "forward")]
    for child_name, child in inner:
        yield from leaves(child, f"{name}.{child_name}".lstrip("."))
    if not inner:
        yield name, layer


def _finite(x):
    return bool(namespace(x).all(namespace(x).isfinite(x)))


def _watch(what, layer):
    """Make this one layer check what it returns and the gradients it stores."""
    forward, backward = layer.forward, layer.backward

    def watched_forward(x):
        y = forward(x)
        if not _finite(y):
            weights = all(_finite(p.data) for p in layer.parameters())
            raise _Found(f"in the output of {what}" + ("" if weights else ", whose weights are no longer finite"))
        return y

    def watched_backward(dy, **how):
        dx = backward(dy, **how)
        if not all(_finite(made) for made in (dx, *(p.grad for p in layer.parameters())) if made is not None):
            raise _Found(f"in a gradient that {what} computed")
        return dx

    layer.forward, layer.backward = watched_forward, watched_backward


def first_nonfinite(training, x, target):
    """Take one training step with every layer watched; where the first non-finite value appeared, or None."""
    if not (_finite(x) and _finite(target)):
        return "in the images themselves, before the first layer"
    watched = list(leaves(training.model))
    for name, layer in watched:
        _watch(f"{name} ({type(layer).__name__})", layer)
    try:
        return None if _finite(training.train_step(x, target)) else "in the loss"
    except _Found as found:
        return str(found)
    finally:
        for _, layer in watched:
            del layer.forward, layer.backward  # the class's own methods show again
