"""What PyTorch computes, in a file, so that it can be compared without PyTorch.

    python tests/mathematics/make_golden.py        writes golden.npz; needs PyTorch

Weights and data are not stored. They come from `values`, which draws from
numpy.random.RandomState, whose streams never change. The file holds only results, and
64 entries of large arrays.
"""

import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("golden.npz")
STEPS, BATCH, LR, WEIGHT_DECAY = 10, 5, 1e-3, 1e-5

LAYERS = [  # (kind, arguments, size of x's image); batch 4, N first as in PyTorch
    ("Conv2d", (2, 3, 3, 2, 1), (7, 6)),
    ("Conv2d", (3, 2, (2, 5), (3, 1), (0, 2)), (9, 4)),
    ("Conv2d", (1, 5, (4, 1), (1, 3), (2, 0)), (5, 8)),
    ("ConvTranspose2d", (2, 3, 3, 2, 1, 1), (4, 5)),
    ("ConvTranspose2d", (3, 2, (2, 5), (3, 1), (0, 2), (2, 0)), (3, 6)),
    ("ConvTranspose2d", (5, 1, (4, 1), (1, 3), (2, 0), (0, 2)), (6, 3)),
    ("BatchNorm2d", (3,), (5, 4)),
]


def values(key, shape, low=-1.0, high=1.0):
    """Return numbers uniform in [low, high) that depend only on the text `key`."""
    return np.random.RandomState(zlib.crc32(key.encode())).uniform(low, high, shape)


def state(shapes):
    """Return values for a state_dict with these {name: shape}."""
    made = {}
    for name, shape in shapes.items():
        layer = name[: name.rfind(".") + 1]
        low, high = -1.0, 1.0
        if f"{layer}running_var" not in shapes:
            high = np.prod(shapes[f"{layer}weight"][1:]) ** -0.5
            low = -high
        elif name in (f"{layer}weight", f"{layer}running_var"):
            low, high = 0.5, 1.5
        made[name] = values(name, shape, low, high)
    return made


def sample(array):
    """Return 64 entries of a large array, flat, or the array itself."""
    flat = np.asarray(array).ravel()
    chosen = np.linspace(0, flat.size - 1, 64).astype(int)
    return flat if flat.size <= 200 else flat[chosen]


def anello(latent_dim):
    """Return Anello's model in PyTorch, with the names of tinyae."""
    from torch import nn

    def named(**modules):
        return nn.Sequential(OrderedDict(modules))

    up = {"stride": 2, "padding": 1, "output_padding": 1}
    return named(
        encoder=named(
            encoder_cnn=nn.Sequential(
                nn.Conv2d(1, 8, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(8, 16, 3, stride=2, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=0),
                nn.ReLU(),
            ),
            flatten=nn.Flatten(),
            encoder_lin=nn.Sequential(
                nn.Linear(288, 128), nn.ReLU(), nn.Linear(128, latent_dim)
            ),
        ),
        decoder=named(
            decoder_lin=nn.Sequential(
                nn.Linear(latent_dim, 128), nn.ReLU(), nn.Linear(128, 288), nn.ReLU()
            ),
            unflatten=nn.Unflatten(1, (32, 3, 3)),
            decoder_conv=nn.Sequential(
                nn.ConvTranspose2d(32, 16, 3, stride=2, output_padding=0),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.ConvTranspose2d(16, 8, 3, **up),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.ConvTranspose2d(8, 1, 3, **up),
            ),
            sigmoid=nn.Sigmoid(),
        ),
    )


def arrays(module):
    """Return {name: values} of a PyTorch module, without its counts of batches."""
    named = module.state_dict().items()
    return {name: v.numpy() for name, v in named if not name.endswith("tracked")}


def shapes(module):
    return {name: v.shape for name, v in arrays(module).items()}


def load(module, state):
    """Put NumPy arrays into a PyTorch module, in its dtype."""
    import torch

    tensors = {name: torch.tensor(v) for name, v in state.items()}
    counts = {n: v for n, v in module.state_dict().items() if n.endswith("tracked")}
    module.load_state_dict(tensors | counts)


def running(state):
    return {name: v for name, v in state.items() if "running" in name}


def main():
    import torch
    from torch.nn.functional import mse_loss

    torch.set_num_threads(1)
    golden = {"torch": np.array(torch.__version__)}

    def record(where, results):
        for name, value in results.items():
            golden[f"{where}.{name}"] = sample(torch.as_tensor(value).detach())

    def leaf(key, shape):
        x = torch.tensor(values(key, shape), dtype=torch.float32)
        return x.requires_grad_()

    def gradients(module):
        return {f"d{name}": p.grad for name, p in module.named_parameters()}

    for number, (kind, arguments, size) in enumerate(LAYERS):
        layer = getattr(torch.nn, kind)(*arguments)
        load(layer, state(shapes(layer)))
        x = leaf("x", (4, arguments[0], *size))
        y = layer(x)
        y.backward(leaf("dy", y.shape))
        results = {"y": y, "dx": x.grad} | gradients(layer) | running(arrays(layer))
        record(f"layer{number}", results)

    model = anello(4)
    load(model, state(shapes(model)))
    x = leaf("images", (BATCH, 1, 28, 28))
    codes = model.encoder(x)
    y = model.decoder(codes)
    loss = mse_loss(y, leaf("target", y.shape))
    loss.backward()
    record("step", {"codes": codes, "y": y, "loss": loss, "dx": x.grad})
    record("step", gradients(model) | running(arrays(model)))
    record("step", {"y evaluating": model.eval()(x)})

    model = anello(4).double()
    load(model, state(shapes(model)))
    adam = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    losses = []
    for t in range(STEPS):
        images = torch.tensor(values(f"images {t}", (BATCH, 1, 28, 28)))
        adam.zero_grad()
        loss = mse_loss(model(images), images)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    record("ten", {"losses": np.array(losses)} | arrays(model))
    np.savez_compressed(FILE, **golden)
    print(f"{FILE}: {len(golden)} arrays, from PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
