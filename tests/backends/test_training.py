"""Training is what was asked for: its parts, its modes, its images, its end."""

from functools import partial

import numpy as np
import pytest
from cases import arrays
from test_backend_training import IMAGES, training

import tinyae
from tinyae.experiment import Experiment, batches, to_range
from tinyae.layer import Layer, Parameter
from tinyae.optim import SGD, Adam, Optimizer
from tinyae.training import Training

(BATCH,) = arrays(1, (8, 1, 28, 28), dtype="float32")


class RMSProp(Optimizer):
    """A reader's own."""

    memory = ("v",)

    def change(self, g):
        self.v = 0.9 * self.v + 0.1 * g * g
        return self.lr * g / (self.v**0.5 + 1e-8)


OPTIMIZERS = [
    RMSProp,
    partial(SGD, lr=0.1, momentum=0.9),
    partial(Adam, betas=(0, 0.9)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimiser_trains_at_its_own_lr_and_is_resumed_bit_for_bit(optimizer):
    make = partial(training, "numpy", 3, optimizer=optimizer, lr_decay=0.5)
    whole = make().run(*IMAGES)
    assigned = training("numpy", 3, lr_decay=0.5)
    assigned.optimizer = optimizer(assigned.model.parameters())
    resumed = make().restore(make().run(*IMAGES, epochs=1).state())
    for other in assigned, resumed:
        np.testing.assert_equal(other.run(*IMAGES).state(), whole.state())
    lr = optimizer(whole.model.parameters()).lr
    assert whole.optimizer.lr == whole.state()["lr"] == lr / 8
    assert whole.history != training("numpy", 3, lr_decay=0.5).run(*IMAGES).history


def test_the_mean_loss_counts_images_not_batches():
    one = training("numpy", epochs=1, optimizer=partial(Adam, lr=0))
    one.model.eval()
    ((_, test),) = one.run(*IMAGES).history
    x = to_range(IMAGES[1], (-1, 1))
    want = np.mean((one.reconstruct(x) - x) ** 2)
    assert test == pytest.approx(float(want), rel=1e-6)


def test_a_step_trains_in_training_mode_and_the_others_restore_each_layers_mode():
    one = training("numpy")
    norm = one.model.encoder["encoder_cnn"]["3"].eval()
    modes = [layer.training for _, layer in one.model.named_layers()]
    for other in one.encode, one.reconstruct, lambda x: one.test_step(x, x):
        before = norm.running_mean.data
        other(BATCH)
        assert norm.running_mean.data is before
        assert modes == [layer.training for _, layer in one.model.named_layers()]
    one.train_step(BATCH, BATCH)
    assert norm.training and norm.running_mean.data is not before


def test_encoding_is_done_in_parts_and_equals_the_whole():
    one, (images,) = training("numpy"), arrays(1, (300, 1, 28, 28), dtype="float32")
    codes = one.encode(images)
    assert codes.shape == (300, 3)
    np.testing.assert_allclose(codes, one.model.eval().encode(images), atol=1e-6)


def destroy(images, rng):
    """Change the argument itself."""
    images += 1
    return images


ranges = []
destroy.check_range = ranges.append


@pytest.mark.parametrize("clean_target", [True, False])
def test_the_clean_image_stays_clean_whatever_a_corruption_does(clean_target):
    experiment = Experiment(corruption=destroy, clean_target=clean_target, batch_size=8)
    pixels = IMAGES[0][:, :4, :5]
    clean = to_range(pixels, (-1, 1))
    assert ranges[-1] == (-1, 1)  # it could have refused
    found = [*batches(pixels, experiment, None)]
    assert [len(x) for x, _ in found] == [8, 8, 4]
    x, target = (np.concatenate(part) for part in zip(*found, strict=True))
    np.testing.assert_array_equal(x, clean + 1)
    np.testing.assert_array_equal(target, clean if clean_target else x)


class Pixelwise(Layer):
    """y = weight x, for images of any size."""

    def __init__(self, seed):
        self.weight = Parameter(np.full(1, 0.5, "float32"))

    def forward(self, x):
        return self.save_for_backward(self.weight.data * x, x)

    def backward(self, dy, input_grad=True):
        (x,) = self.saved(dy)
        self.weight.grad = np.sum(dy * x)[None]
        return self.weight.data * dy


def test_images_in_colour_and_of_any_size_are_trained_on():
    images = np.random.default_rng(1).integers(0, 256, (9, 3, 32, 32), dtype="uint8")
    one = Training(Experiment(Pixelwise, optimizer=partial(SGD, lr=0.5), epochs=9))
    (_, first), *_, (_, last) = one.run(images, images).history
    assert last < first
    x = to_range(images, (0, 1))
    assert x.shape == one.reconstruct(x).shape == images.shape
    np.testing.assert_allclose(x, images / 255, atol=1e-6)
    grey = to_range(images[:, 0], (-1, 1))
    assert grey.shape == (9, 1, 32, 32) and grey.dtype == "float32"
    np.testing.assert_allclose(grey[:, 0], images[:, 0] / 127.5 - 1, atol=1e-6)


def test_the_defaults_are_the_reports():
    same = Experiment()
    assert {same} == {Experiment()}  # equal, and nothing can be changed
    one = Training(same)
    assert type(one.model) is tinyae.AnelloAutoencoder
    assert (type(one.loss), type(one.optimizer)) == (tinyae.MSELoss, Adam)
    assert (one.optimizer.lr, one.optimizer.weight_decay) == (1e-3, 1e-5)
    assert (same.epochs, same.batch_size, same.seed) == (20, 256, 1)
    assert (same.pixel_range, same.lr_decay) == ((-1, 1), 1)


def test_a_run_ends_at_its_epochs_however_often_it_is_called():
    one = training("numpy", 3)
    for epochs, finished in (0, 0), (1, 1), (1, 2), (5, 3), (None, 3):
        assert len(one.run(*IMAGES, epochs=epochs).history) == finished
