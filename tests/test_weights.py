"""Weights as .npz: to PyTorch and back, and from files that are damaged or made to harm."""

import io
import tracemalloc
import zipfile

import make_golden
import numpy as np
import pytest
from harmful import HARMFUL, Trap, archive, mutated, npy
from hypothesis import given
from hypothesis import strategies as st

from tinyae import AnelloAutoencoder, Linear
from tinyae.checkpoint import CheckpointError, load_weights, save_weights


def filled(model, seed):
    """The model with all its values drawn anew, running statistics too."""
    rng = np.random.default_rng(seed)
    model.load_state_dict(
        {name: rng.uniform(0.1, 0.5, a.shape) for name, a in model.state_dict().items()}
    )
    return model


def same(model, other):
    return all(
        np.array_equal(values, other.state_dict()[name])
        for name, values in model.state_dict().items()
    )


# -- with PyTorch --


def test_to_pytorch_and_back(tmp_path, monkeypatch):
    """The lines in README, with Anello's two modules."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    model, theirs = filled(AnelloAutoencoder(4), 1).eval(), make_golden.anello(4).eval()
    encoder, decoder = theirs.encoder, theirs.decoder
    images = np.random.default_rng(2).uniform(-1, 1, (5, 1, 28, 28)).astype("float32")

    def outputs():
        with torch.no_grad():
            return decoder(encoder(torch.from_numpy(images))).numpy()

    assert np.abs(outputs() - model.forward(images)).max() > 1e-3, (
        "they agree before anything was moved"
    )

    save_weights("weights.npz", model)
    with np.load("weights.npz") as file:
        for prefix, module in (("encoder.", encoder), ("decoder.", decoder)):
            module.load_state_dict(
                {
                    name.removeprefix(prefix): torch.from_numpy(file[name])
                    for name in file
                    if name.startswith(prefix)
                }
            )
    np.testing.assert_allclose(outputs(), model.forward(images), rtol=0, atol=2e-6)

    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.rand_like(p) * 0.1)
    np.savez(
        "weights.npz",
        **{
            prefix + name: values.cpu().numpy()
            for prefix, module in (("encoder.", encoder), ("decoder.", decoder))
            for name, values in module.state_dict().items()
        },
    )
    load_weights("weights.npz", model)
    np.testing.assert_allclose(model.forward(images), outputs(), rtol=0, atol=2e-6)


# -- without --


def test_a_round_trip_changes_no_bit(tmp_path):
    model, again = filled(AnelloAutoencoder(4), 1), filled(AnelloAutoencoder(4), 2)
    save_weights(tmp_path / "w.npz", model)
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        assert file.files == list(model.state_dict()) and len(file.files) == 32
    load_weights(tmp_path / "w.npz", again)
    assert same(model, again)


def test_what_numpy_writes_is_read(tmp_path):
    """Compressed, in float64, in Fortran's order, the other byte order, with PyTorch's counts of batches."""
    model, again = filled(Linear(2, 3), 1), filled(Linear(2, 3), 2)
    state = {
        name: np.asfortranarray(a).astype(">f8")
        for name, a in model.state_dict().items()
    }
    np.savez_compressed(tmp_path / "w.npz", num_batches_tracked=np.array(3), **state)
    load_weights(tmp_path / "w.npz", again)
    assert same(model, again)


def layer(weight, compression=zipfile.ZIP_DEFLATED, **others):
    """An .npz with these bytes as its weight.npy, and a good bias."""
    return archive(
        {"weight": weight, "bias": npy("(3,)", b"\0" * 12)} | others, compression
    )


def load_bytes(path, data):
    """load_weights of a file of these bytes into a small model: the model, or None for CheckpointError. Fails if that
    takes much memory, or if an error leaves the model changed.
    """
    path.write_bytes(data)
    model, untouched = filled(Linear(2, 3), 2), filled(Linear(2, 3), 2)
    tracemalloc.start()
    try:
        load_weights(path, model)
        return model
    except CheckpointError as error:
        assert str(path) in str(error) and same(model, untouched)
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * 2**20 + 100 * len(data), (
            f"{peak:,} bytes of memory for a file of {len(data):,}"
        )


MODEL = filled(Linear(2, 3), 1)


def real():
    file = io.BytesIO()
    np.savez(file, **MODEL.state_dict())
    return file.getvalue()


REAL = real()


def test_every_byte_flipped(tmp_path):
    """What a flip changes is either seen, or no matter (the time in the archive, say)."""
    refused = 0
    for i in range(len(REAL)):
        for flip in (0x01, 0xFF):
            model = load_bytes(
                tmp_path / "w.npz", REAL[:i] + bytes([REAL[i] ^ flip]) + REAL[i + 1 :]
            )
            assert model is None or same(model, MODEL), (i, flip)
            refused += model is None
    assert refused > len(REAL)


def test_every_length(tmp_path):
    assert not any(load_bytes(tmp_path / "w.npz", REAL[:i]) for i in range(len(REAL)))
    assert same(load_bytes(tmp_path / "w.npz", REAL), MODEL)


@given(data=st.data())
def test_any_bytes(tmp_path_factory, data):
    drawn = data.draw(mutated(REAL) | st.binary() | st.binary(max_size=200).map(layer))
    model = load_bytes(tmp_path_factory.getbasetemp() / "any.npz", drawn)
    assert model is None or same(model, MODEL)


@pytest.mark.parametrize("weight", HARMFUL.values(), ids=HARMFUL.keys())
def test_harmful_arrays(tmp_path, weight):
    assert load_bytes(tmp_path / "w.npz", layer(weight)) is None
    assert not Trap.sprung


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_bomb(tmp_path, compression):
    """100 MB of zeros in 100 kB or less: not more of them is unpacked than the model has room for."""
    assert (
        load_bytes(tmp_path / "w.npz", layer(npy("(3, 2)", bytes(10**8)), compression))
        is None
    )


def test_other_names(tmp_path):
    assert (
        load_bytes(tmp_path / "w.npz", layer(npy("(3, 2)"), scale=npy("(3,)"))) is None
    )
    with pytest.raises(
        CheckpointError,
        match=r"missing \['bias'\], not known to this Linear \['scale'\]",
    ):
        np.savez(tmp_path / "w.npz", weight=np.ones((3, 2)), scale=np.ones(3))
        load_weights(tmp_path / "w.npz", Linear(2, 3))
    assert load_bytes(tmp_path / "w.npz", layer(npy("(3, 2)"))) is not None, (
        "what is good must load"
    )
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "absent.npz", Linear(2, 3))
