"""What PyTorch computes, written down, so that the tests compare with it where PyTorch is not installed.

    python tests/make_golden.py         writes tests/golden.npz; needs PyTorch, which nothing else here does

Weights and data are not stored. They come from `values`, which draws from numpy.random.RandomState: its streams are
frozen for good. The file holds results only, and of large arrays 64 entries.
"""

import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("golden.npz")
STEPS, BATCH, LR, WEIGHT_DECAY = 10, 5, 1e-3, 1e-5

LAYERS = [  # (kind, arguments, size of x's image); batch 4, N first as PyTorch has it
    ("Conv2d", (2, 3, 3, 2, 1), (7, 6)),
    ("Conv2d", (3, 2, (2, 5), (3, 1), (0, 2)), (9, 4)),
    ("Conv2d", (1, 5, (4, 1), (1, 3), (2, 0)), (5, 8)),
    ("ConvTranspose2d", (2, 3, 3, 2, 1, 1), (4, 5)),
    ("ConvTranspose2d", (3, 2, (2, 5), (3, 1), (0, 2), (2, 0)), (3, 6)),
    ("ConvTranspose2d", (5, 1, (4, 1), (1, 3), (2, 0), (0, 2)), (6, 3)),
    ("BatchNorm2d", (3,), (5, 4)),
]


def values(key, shape, low=-1.0, high=1.0):
    """Numbers uniform in [low, high) that depend on the text `key` only, float64."""
    return np.random.RandomState(zlib.crc32(key.encode())).uniform(low, high, shape)


def state(shapes):
    """Values for a state_dict with these {name: shape}: those of batch norms away from 0 and 1."""
    made = {}
    for name, shape in shapes.items():
        layer = name[: name.rfind(".") + 1]
        if layer + "running_var" in shapes:
            positive = name in (layer + "weight", layer + "running_var")
            made[name] = values(
                name, shape, 0.5 if positive else -1.0, 1.5 if positive else 1.0
            )
        else:
            bound = np.prod(shapes[layer + "weight"][1:]) ** -0.5
            made[name] = values(name, shape, -bound, bound)
    return made


def sample(array):
    """The array itself, or 64 of its entries if it is large, from the first to the last."""
    flat = np.asarray(array).ravel()
    return (
        flat
        if flat.size <= 200
        else flat[np.linspace(0, flat.size - 1, 64).astype(int)]
    )


def anello(latent_dim):
    """Anello's model in PyTorch, its state_dict named like tinyae's."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            encoder=nn.Sequential(
                OrderedDict(
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
                )
            ),
            decoder=nn.Sequential(
                OrderedDict(
                    decoder_lin=nn.Sequential(
                        nn.Linear(latent_dim, 128),
                        nn.ReLU(),
                        nn.Linear(128, 288),
                        nn.ReLU(),
                    ),
                    unflatten=nn.Unflatten(1, (32, 3, 3)),
                    decoder_conv=nn.Sequential(
                        nn.ConvTranspose2d(32, 16, 3, stride=2, output_padding=0),
                        nn.BatchNorm2d(16),
                        nn.ReLU(),
                        nn.ConvTranspose2d(
                            16, 8, 3, stride=2, padding=1, output_padding=1
                        ),
                        nn.BatchNorm2d(8),
                        nn.ReLU(),
                        nn.ConvTranspose2d(
                            8, 1, 3, stride=2, padding=1, output_padding=1
                        ),
                    ),
                    sigmoid=nn.Sigmoid(),
                )
            ),
        )
    )


def shapes(module):
    return {
        name: tuple(v.shape)
        for name, v in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def load(module, arrays):
    """Put NumPy arrays into a PyTorch module; num_batches_tracked is not among them."""
    import torch

    dtype = next(module.parameters()).dtype
    left = module.load_state_dict(
        {name: torch.tensor(v, dtype=dtype) for name, v in arrays.items()}, strict=False
    )
    assert not left.unexpected_keys and all(
        name.endswith("num_batches_tracked") for name in left.missing_keys
    )


def main():
    import torch

    torch.set_num_threads(1)
    golden = {"torch": np.array(torch.__version__)}

    for number, (kind, arguments, size) in enumerate(LAYERS):
        layer = getattr(torch.nn, kind)(*arguments)
        load(layer, state(shapes(layer)))
        x = torch.tensor(
            values("x", (4, arguments[0], *size)),
            dtype=torch.float32,
            requires_grad=True,
        )
        y = layer(x)
        y.backward(torch.tensor(values("dy", y.shape), dtype=torch.float32))
        results = {"y": y.detach(), "dx": x.grad} | {
            f"d{name}": p.grad for name, p in layer.named_parameters()
        }
        results |= {
            name: v
            for name, v in layer.state_dict().items()
            if name.startswith("running")
        }
        golden |= {
            f"layer{number}.{name}": np.asarray(v) for name, v in results.items()
        }

    model = anello(4)
    load(model, state(shapes(model)))
    x = torch.tensor(
        values("images", (BATCH, 1, 28, 28)), dtype=torch.float32, requires_grad=True
    )
    codes = model.encoder(x)
    y = model.decoder(codes)
    loss = torch.nn.functional.mse_loss(
        y, torch.tensor(values("target", y.shape), dtype=torch.float32)
    )
    loss.backward()
    golden |= {
        "step.codes": codes.detach().numpy(),
        "step.y": sample(y.detach()),
        "step.loss": loss.detach().numpy(),
        "step.dx": sample(x.grad),
    }
    golden |= {f"step.d{name}": sample(p.grad) for name, p in model.named_parameters()}
    golden |= {
        f"step.{name}": v.numpy()
        for name, v in model.state_dict().items()
        if "running" in name
    }
    with torch.no_grad():
        golden["step.y evaluating"] = sample(model.eval()(x))

    model = anello(4).double()
    load(model, state(shapes(model)))
    adam = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    losses = []
    for t in range(STEPS):
        images = torch.tensor(values(f"images {t}", (BATCH, 1, 28, 28)))
        adam.zero_grad()
        loss = torch.nn.functional.mse_loss(model(images), images)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    golden["ten.losses"] = np.array(losses)
    golden |= {
        f"ten.{name}": sample(v)
        for name, v in model.state_dict().items()
        if not name.endswith("tracked")
    }
    np.savez_compressed(FILE, **golden)
    print(
        f"{FILE}: {len(golden)} arrays, {FILE.stat().st_size / 1e3:.0f} kB, from PyTorch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
