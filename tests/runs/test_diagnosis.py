"""A training that diverged is repeated, to say where the first infinity was."""

import itertools
from functools import partial

import numpy as np
import pytest

from data_tools import load_sample
from tinyae import SGD, AnelloAutoencoder, MSELoss
from tinyae.diagnosis import first_nonfinite
from tinyae.experiment import Experiment
from tinyae.training import Training

PIXELS = load_sample().train_images[:8]
factors = itertools.cycle((1, np.inf))


def poison_each_second(images, rng):
    return images * next(factors)


class Steep(MSELoss):
    def backward(self):
        return super().backward() * np.inf


PLACES = {
    "2 of the training images, in the images themselves, before the first layer": {
        "corruption": poison_each_second
    },
    "1 of the training images, in what encoder.encoder_cnn.3 (BatchNorm2d) saved for "
    "backward": {"pixel_range": (0, 3e38)},
    "1 of the training images, in the gradient of decoder.decoder_conv.6.bias": {
        "loss": Steep
    },
    "1 of the training images, in decoder.decoder_conv.6.bias after the step": {
        "optimizer": partial(SGD, lr=1e60)
    },
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("place, parts", PLACES.items())
def test_the_first_place_is_named(place, parts):
    model = partial(AnelloAutoencoder, 2, width=2)
    training = Training(Experiment(model, batch_size=4, **parts))
    assert first_nonfinite(training, PIXELS) == f"It began in batch {place}."


def test_where_no_place_is_found_it_was_in_the_test_images():
    found = first_nonfinite(Training(Experiment()), PIXELS)
    assert found.endswith("do not show it: it began in the test images.")
