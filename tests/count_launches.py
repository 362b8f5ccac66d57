"""How many kernels one training step of the autoencoder would launch on a GPU, part by part.

    python tests/count_launches.py

A network this small is bound by launches: each takes some microseconds to start, more than its arithmetic needs. The
steps run on the library of counted.py, which says what counts as a launch.
"""

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy

if __name__ == "__main__":
    sys.path.insert(
        0, str(Path(__file__).resolve().parent.parent)
    )  # so that it runs from a clone, nothing installed

from counted import counting

from data_tools.corruptions import GaussianNoise, RandomErasing
from tinyae.training import Experiment, Training

PARTS = ("input", "forward", "loss", "backward", "Adam")
LIMIT = 400  # launches a step, whatever the corruption


def launches_of_a_step(batch_size=256, corruption=None):
    """{part: {what: how many launches}} of one step of training on Fashion-MNIST, from the images on the device as they
    were read (uint8) to the new weights. The input is all that makes a batch: picking, normalising, corrupting it.
    """
    training = Training(
        Experiment(
            backend="counted", corruption=corruption, batch_size=batch_size, seed=1
        )
    )
    pixels = training.backend.from_numpy(numpy.zeros((2 * batch_size, 28, 28), "uint8"))
    counts = {part: Counter() for part in PARTS}
    batches = training.train_batches(pixels, epoch=1)

    @contextmanager
    def part(name):
        with counting() as calls:
            yield
        counts[name] = (
            calls  # of the latest step: in the first, Adam also makes its averages
        )

    for _ in range(2):
        with part("input"):
            x, target = next(batches)
        with part("forward"):
            y = training.model.forward(x)
        with part("loss"):
            training.loss.forward(y, target)
            dy = training.loss.backward()
        with part("backward"):
            training.model.backward(dy, input_grad=False)
        with part("Adam"):
            training.optimizer.step()
    return counts


def totals(counts):
    """{part: launches}"""
    return {part: sum(calls.values()) for part, calls in counts.items()}


def main():
    for corruption in (None, GaussianNoise(0.5), RandomErasing()):
        parts = totals(launches_of_a_step(corruption=corruption))
        print(
            f"{corruption or 'no corruption'}\n    {sum(parts.values())} launches a step: "
            + ", ".join(f"{part} {n}" for part, n in parts.items())
        )
    print("\nwhat they are, without corruption:")
    for part, calls in launches_of_a_step().items():
        print(
            f"    {part}: "
            + ", ".join(f"{n} {what.strip('_')}" for what, n in calls.most_common())
        )


if __name__ == "__main__":
    main()
