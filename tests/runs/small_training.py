"""A small lesson with its own corruption, to be killed and interrupted.

Every batch adds its process to the file `log` in TINYAE_CACHE.
At the end it prints a hash of each training's state.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "lessons"))

import common
import joblib
from sweep import CACHE, train_all

import data_tools
import tinyae
from tinyae.experiment import Experiment


def logged(images, rng):
    """Change nothing, take a while and write to the log."""
    time.sleep(0.004)
    with open(CACHE / "log", "a") as log:
        log.write(f"{os.getpid()}\n")
    return images


if __name__ == "__main__":
    common.end_in_a_sentence()  # as for a lesson
    common.options("small_training", __doc__)
    data = data_tools.load_sample()
    images = data.train_images[:256], data.test_images[:64]
    model = partial(tinyae.AnelloAutoencoder, 2, width=2)
    experiments = {
        seed: Experiment(model, corruption=logged, batch_size=32, epochs=6, seed=seed)
        for seed in (1, 2)
    }
    for name, training in train_all(experiments, images):
        print(name, joblib.hash(training.state()))
