"""Two small trainings in a process of their own, to be killed, interrupted, or left without room on the disk.

    python tests/small_training.py FOLDER [--lesson] [--epochs N] [--lr X] [--full-after BATCHES]

Every batch adds a line to FOLDER/log: the training, the process. Prints a hash of each training's weights and history
at the end. --lesson: through lessons/common.py, as a lesson does it, with a table, and with a lesson's options.
"""

import argparse
import hashlib
import os
import resource
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES, EPOCHS, BATCHES = (
    ("Normal", "RandomErasing"),
    6,
    10,
)  # 8 batches to train and 2 to test make an epoch


class Logged:
    """A corruption that changes nothing, but tells that a batch has begun, and takes its time."""

    def __init__(self, name, folder):
        self.name, self.log = name, Path(folder) / "log"

    def __repr__(self):
        return f"Logged({self.name!r})"

    def __call__(self, images, rng):
        time.sleep(0.004)
        with open(self.log, "a") as log:
            log.write(f"{self.name} {os.getpid()}\n")
        return images


def limit(log, full_after):
    """Once `log` tells of that many batches, let no file of this process, which saves, grow to a checkpoint's size."""
    while not log.exists() or len(log.read_text().splitlines()) < full_after:
        time.sleep(0.002)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def digest(training):
    state = training.state()
    return hashlib.sha256(
        b"".join(name.encode() + a.tobytes() for name, a in state.items())
    ).hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--full-after", type=int, default=0)
    parser.add_argument("--lesson", action="store_true")
    own, rest = parser.parse_known_args()
    if own.lesson:
        sys.path.insert(0, str(HERE.parent / "lessons"))
        import common

        sys.argv[1:] = [
            "--quick",
            "--backend",
            "numpy",
            "--epochs",
            str(own.epochs),
            *rest,
        ]
        chosen = common.options("small_training", __doc__)
    else:
        sys.path[:0] = [str(HERE.parent), str(HERE.parent / "lessons")]
    from sweep import source_hash, train_all

    import data_tools
    from tinyae.training import Experiment

    data = data_tools.load_sample()
    data = data._replace(
        train_images=data.train_images[:256], test_images=data.test_images[:64]
    )
    experiments = {
        name: Experiment(
            Logged(name, own.folder),
            batch_size=32,
            epochs=own.epochs,
            lr=own.lr,
            seed=seed,
        )
        for seed, name in enumerate(NAMES)
    }
    if own.full_after:
        threading.Thread(
            target=limit, args=(own.folder / "log", own.full_after), daemon=True
        ).start()
    print("begins", flush=True)
    if own.lesson:
        found = dict(common.train(experiments, data, chosen))
        common.loss_table({name: found[name] for name in experiments}, data, chosen, 1)
    else:
        images = data.train_images, data.test_images
        found = dict(
            train_all(
                experiments, *images, own.folder / "trainings", source_hash(), n_jobs=2
            )
        )
    for name in experiments:
        print(name, digest(found[name]))


if __name__ == "__main__":
    main()
