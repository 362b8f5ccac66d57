"""Every backward against measured derivatives of its forward, on drawn configurations."""

import numpy as np
from cases import convolutions, distinct, seeds, transposed_convolutions
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinyae
from tinyae.gradcheck import LossLayer, check_layer

# The bounds are those of the project: 1e-8 where the output is linear (or, the loss, quadratic) in each tensor, 1e-6
# where it is curved, 1e-5 through many layers.
EXACT, CURVED, DEEP = 1e-8, 1e-6, 1e-5


@given(distinct(3), seeds)
def test_linear(within, sizes, seed):
    i, o, N = sizes
    within(
        "Linear",
        check_layer(tinyae.Linear(i, o, dtype="float64", seed=seed), (i, N), seed),
        EXACT,
    )


@given(convolutions())
def test_conv2d(within, case):
    arguments, shape, seed = case
    layer = tinyae.Conv2d(*arguments, dtype="float64", seed=seed)
    within("Conv2d", check_layer(layer, shape, seed, entries=60), EXACT)


@given(transposed_convolutions())
def test_conv_transpose2d(within, case):
    arguments, shape, seed = case
    layer = tinyae.ConvTranspose2d(*arguments, dtype="float64", seed=seed)
    within("ConvTranspose2d", check_layer(layer, shape, seed, entries=60), EXACT)


@given(distinct(4, high=6), seeds, st.sampled_from([1e-5, 0.1]))
def test_batch_norm_training(within, shape, seed, eps):
    assume(np.prod(shape[1:]) >= 4)
    layer = tinyae.BatchNorm2d(shape[0], eps, dtype="float64")
    within("BatchNorm2d, training", check_layer(layer, shape, seed, entries=60), CURVED)


@given(distinct(4, high=6), seeds)
def test_batch_norm_evaluating(within, shape, seed):
    layer, rng = (
        tinyae.BatchNorm2d(shape[0], dtype="float64").eval(),
        np.random.default_rng(seed),
    )
    layer.running_mean.data, layer.running_var.data = (
        rng.normal(size=shape[0]),
        rng.uniform(0.2, 4, shape[0]),
    )
    within(
        "BatchNorm2d, evaluating", check_layer(layer, shape, seed, entries=60), CURVED
    )


@given(
    st.sampled_from([tinyae.ReLU, tinyae.Sigmoid, tinyae.Flatten]),
    distinct(4, high=5),
    seeds,
)
def test_layers_without_parameters(within, kind, shape, seed):
    within(kind.__name__, check_layer(kind(), shape, seed, entries=60), CURVED)


@given(distinct(4, high=5), seeds)
def test_unflatten(within, shape, seed):
    *size, N = shape
    within(
        "Unflatten",
        check_layer(tinyae.Unflatten(size), (int(np.prod(size)), N), seed, entries=60),
        CURVED,
    )


@given(st.integers(1, 4).flatmap(lambda rank: distinct(rank)), seeds)
def test_mse_loss(within, shape, seed):
    within(
        "MSELoss",
        check_layer(
            LossLayer(tinyae.MSELoss(), shape, seed + 1), shape, seed, entries=60
        ),
        EXACT,
    )


@settings(max_examples=max(1, settings.default.max_examples // 2))
@given(distinct(5, 2, 7), st.booleans(), seeds)
def test_sequential(within, sizes, training, seed):
    C, O, H, W, N = sizes
    OH, OW = (H + 1) // 2, (W + 1) // 2
    how = {"dtype": "float64", "seed": seed}
    net = tinyae.Sequential(
        tinyae.Conv2d(C, O, 3, 2, 1, **how),
        tinyae.BatchNorm2d(O, dtype="float64"),
        tinyae.ReLU(),
        tinyae.Flatten(),
        tinyae.Linear(O * OH * OW, 6, **how),
        tinyae.Sigmoid(),
        tinyae.Unflatten((1, 2, 3)),
        tinyae.ConvTranspose2d(1, C, (3, 2), (2, 1), (1, 0), (1, 0), **how),
    )
    within(
        "Sequential",
        check_layer(net.train(training), (C, H, W, N), seed, entries=20),
        DEEP,
    )


@settings(max_examples=max(1, settings.default.max_examples // 5))
@given(distinct(3, high=5), st.booleans(), seeds)
def test_autoencoder(within, sizes, training, seed):
    latent, width, N = sizes
    model = tinyae.AnelloAutoencoder(
        latent, width=width, dtype="float64", seed=seed
    ).train(training)
    try:
        errors = check_layer(model, (N, 1, 28, 28), seed, step=3e-6, entries=4)
    except ValueError as error:  # with thousands of ReLUs a small tensor may lie on a kink: draw another
        assume("forward is not smooth" not in str(error))
        raise
    within("AnelloAutoencoder", errors, DEEP)
