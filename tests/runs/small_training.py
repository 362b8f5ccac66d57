"""A small lesson with its own model and corruption, to be killed and interrupted.

    python tests/runs/small_training.py [--lr X] [--full-after BATCHES] [OPTIONS]

Every batch adds a line to the file `log` in TINYAE_CACHE: the training and the process.
At the end it prints a hash of each training's state.
"""

import argparse
import os
import resource
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "lessons"))

import common
import joblib
from processes import NAMES
from sweep import CACHE

import data_tools
import tinyae
from tinyae.experiment import Experiment

LOG = CACHE / "log"


class Logged:
    """A corruption that changes nothing, takes a while and writes to the log."""

    def __init__(self, name):
        self.name = name

    def __call__(self, images, rng):
        time.sleep(0.004)
        with open(LOG, "a") as log:
            log.write(f"{self.name} {os.getpid()}\n")
        return images


class Model(tinyae.AnelloAutoencoder):
    def __init__(self, seed):
        super().__init__(2, width=2, seed=seed)


def limit(batches):
    """After that many batches, let no file grow to the size of a checkpoint."""
    while not LOG.exists() or len(LOG.read_text().splitlines()) < batches:
        time.sleep(0.002)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--full-after", type=int)
    own, sys.argv[1:] = parser.parse_known_args()
    args = common.options("small_training", __doc__)
    data = data_tools.load_sample()
    train_images, test_images = data.train_images[:256], data.test_images[:64]
    data = data._replace(train_images=train_images, test_images=test_images)
    how = {"model": Model, "batch_size": 32, "epochs": args.epochs, "lr": own.lr}
    experiments = {name: Experiment(Logged(name), **how) for name in NAMES}
    if own.full_after:
        threading.Thread(target=limit, args=[own.full_after], daemon=True).start()
    found = dict(common.train(experiments, data, args))
    common.loss_table({name: found[name] for name in NAMES}, data, args, 1)
    for name in NAMES:
        print(name, joblib.hash(found[name].state()))


if __name__ == "__main__":
    main()
