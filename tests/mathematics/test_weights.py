"""Weights as .npz files: bit for bit, and only undamaged ones that fit."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyae import AnelloAutoencoder, Linear, ReLU, Sequential
from tinyae.checkpoint import CheckpointError, load_weights, save_weights


def equal(layer, other):
    theirs = other.state_dict()
    return all((theirs[name] == a).all() for name, a in layer.state_dict().items())


def test_a_round_trip_changes_no_bit(tmp_path):
    model, again = AnelloAutoencoder(4, seed=1), AnelloAutoencoder(4, seed=2)
    save_weights(tmp_path / "w.npz", model)
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        assert file.files == list(model.state_dict())
    load_weights(tmp_path / "w.npz", again)
    assert equal(model, again)


def test_what_numpy_writes_is_read(tmp_path):
    """Compressed, float64, Fortran's order, the other byte order, PyTorch's counts."""
    layer, again = Linear(2, 3, seed=1), Linear(2, 3, seed=2)
    state = {n: np.asfortranarray(a, ">f8") for n, a in layer.state_dict().items()}
    state["num_batches_tracked"] = np.array(3)
    np.savez_compressed(tmp_path / "w.npz", **state)
    load_weights(tmp_path / "w.npz", again)
    assert equal(layer, again)


def make(seed):
    return Sequential(Linear(4, 3, seed=seed), ReLU(), Linear(3, 2, seed=seed))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"2.bias": None}, "missing ['2.bias']"),
        ({"extra": np.ones(3)}, "unknown to this Sequential ['extra']"),
        ({"2.weight": np.ones((3, 2))}, "(3, 2) and dtype float64, expected floats of"),
        ({"2.bias": np.ones(1)}, "state['2.bias']: got shape (1,)"),
        ({"2.bias": np.ones(2, int)}, "dtype int64, expected floats of shape (2,)"),
        ({"2.bias": np.array([1, "a"], object)}, "allow_pickle=False"),
        ({"2.bias": np.array(["a", "b"])}, "dtype <U1, expected floats"),
    ],
)
def test_what_does_not_fit_changes_nothing(tmp_path, changes, words):
    layer = make(1)
    state = {name: a + 1 for name, a in layer.state_dict().items()} | changes
    state = {name: a for name, a in state.items() if a is not None}
    np.savez(tmp_path / "w.npz", **state)
    with pytest.raises(CheckpointError) as caught:
        load_weights(tmp_path / "w.npz", layer)
    assert f"{tmp_path / 'w.npz'}: not the weights of this model" in str(caught.value)
    assert words in str(caught.value)
    assert equal(layer, make(1))


BUFFER = io.BytesIO()
np.savez(BUFFER, **make(2).state_dict())
FILE = BUFFER.getvalue()
places = st.integers(0, len(FILE) - 1)


@given(places, st.integers(1, 255), st.sampled_from([None, *range(0, len(FILE), 97)]))
def test_a_damaged_file_is_refused_or_harmless(tmp_path_factory, place, flip, length):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    data = bytearray(FILE)
    data[place] ^= flip
    path.write_bytes(data[:length])
    layer = make(1)
    try:
        load_weights(path, layer)
    except CheckpointError:
        assert equal(layer, make(1))
    else:  # a flip that does not matter, such as in the time of an entry
        assert length is None
        assert equal(layer, make(2))
