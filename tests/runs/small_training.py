"""A small lesson with its own model and corruption, to be killed and interrupted.

Every batch adds its process to the file `log` in TINYAE_CACHE.
At the end it prints a hash of each training's state.
"""

import os
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "lessons"))

import common
import joblib
from sweep import CACHE

import data_tools
import tinyae
from tinyae.experiment import Experiment


def logged(images, rng):
    """Change nothing, take a while and write to the log."""
    time.sleep(0.004)
    with open(CACHE / "log", "a") as log:
        log.write(f"{os.getpid()}\n")
    return images


class Model(tinyae.AnelloAutoencoder):
    def __init__(self, seed):
        super().__init__(2, width=2, seed=seed)


if __name__ == "__main__":
    args = common.options("small_training", __doc__)
    data = data_tools.load_sample()
    train_images, test_images = data.train_images[:256], data.test_images[:64]
    data = data._replace(train_images=train_images, test_images=test_images)
    experiments = {
        seed: Experiment(Model, corruption=logged, batch_size=32, epochs=6, seed=seed)
        for seed in (1, 2)
    }
    for name, training in common.train(experiments, data, args):
        print(name, joblib.hash(training.state()))
