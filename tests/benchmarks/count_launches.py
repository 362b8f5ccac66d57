"""How many kernels one training step would launch on a GPU, part by part.

    python tests/benchmarks/count_launches.py

A network this small is limited by kernel launches: each costs a few microseconds,
however little it computes. counted.py says what counts as a launch.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from counted import counting

from data_tools.corruptions import GaussianNoise, RandomErasing
from tinyae.experiment import Experiment
from tinyae.training import Training

LIMIT = 380  # launches of a step, whatever the corruption


def launches_of_a_step(batch_size=256, corruption=None):
    """Return {part: {what: launches}} for one step on Fashion-MNIST.

    A step starts with uint8 images on the device and ends with the new weights. The
    part "input" makes a batch: choosing images, normalising and corrupting them.
    """
    experiment = Experiment(corruption, backend="counted", batch_size=batch_size)
    training = Training(experiment)
    pixels = np.zeros((2 * batch_size, 28, 28), "uint8")
    batches = training.train_batches(training.backend.from_numpy(pixels), epoch=1)
    counts = {}

    @contextmanager
    def part(name):
        with counting() as calls:
            yield
        counts[name] = calls

    for _ in range(2):  # the second counts: in the first, Adam's averages are still 0
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
    """Return {part: launches}."""
    return {part: sum(calls.values()) for part, calls in counts.items()}


def main():
    for corruption in (None, GaussianNoise(0.5), RandomErasing()):
        counts = launches_of_a_step(corruption=corruption)
        parts = totals(counts)
        print(f"{corruption or 'no corruption'}: {sum(parts.values())} launches a step")
        print("   ", ", ".join(f"{part} {n}" for part, n in parts.items()))
    print("\nThe last one in detail:")
    for part, calls in counts.items():
        found = (f"{n} {what.strip('_')}" for what, n in calls.most_common())
        print(f"    {part}: {', '.join(found)}")


if __name__ == "__main__":
    main()
