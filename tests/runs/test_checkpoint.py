"""Whatever a checkpoint file holds, load returns what was saved or says why not."""

import hashlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from tinyae import Linear, checkpoint
from tinyae.checkpoint import MAGIC, CheckpointError

WEIGHT = np.arange(6, dtype="float32").reshape(2, 3)
ARRAYS = {"weight": WEIGHT, "bias": np.ones(2, "float32"), "t": np.array(7)}


@pytest.fixture
def path(tmp_path):
    """Return the path of a saved checkpoint."""
    checkpoint.save(tmp_path / "one.checkpoint", ARRAYS)
    return tmp_path / "one.checkpoint"


def assert_same(arrays):
    assert list(arrays) == list(ARRAYS)
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, ARRAYS[name], strict=True)


def signed(body):
    """Return a file with a correct beginning and checksum."""
    return MAGIC + hashlib.sha256(body).digest() + body


def loads(path, data):
    """Return load() of a file of these bytes, or None for CheckpointError."""
    path.write_bytes(data)
    try:
        return checkpoint.load(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


def test_saved_and_loaded(path):
    assert_same(checkpoint.load(path))
    checkpoint.load(path)["weight"][0, 0] = 1.0  # the caller owns the arrays
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_every_byte_changed(path):
    """Damage is noticed; a new checksum over it never gives another error."""
    whole = path.read_bytes()
    start = len(MAGIC) + 32
    for i in range(len(whole)):
        for flip in (0x01, 0x80):
            data = whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :]
            assert loads(path, data) is None, (i, flip)
        loads(path, signed(data[start:]))
    assert_same(loads(path, whole))


def test_every_length(path):
    whole = path.read_bytes()
    for data in [*(whole[:i] for i in range(len(whole))), whole + b"\0", whole * 2]:
        assert loads(path, data) is None, len(data)


def npy(shape, values=b"\0" * 24, descr="'<f4'"):
    """Return an .npy file whose header claims `shape`."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    size = len(header).to_bytes(2, "little")
    return b"\x93NUMPY\x01\0" + size + header.encode() + values


def archive(**members):
    """Return an .npz of {name: the bytes of an .npy}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in members.items():
            out.writestr(f"{name}.npy", data)
    return file.getvalue()


class Trap:
    sprung = []

    def __reduce__(self):
        return exec, ("import test_checkpoint; test_checkpoint.Trap.sprung.append(1)",)


WEIGHTS = {  # that are no array of shape (2, 3)
    "huge": npy("(1000000000000,)"),
    "too huge": npy(f"({2**62}, {2**62})"),
    "fewer values": npy("(2, 3)", b"\0" * 20),
    "objects": npy("(2, 3)", pickle.dumps(Trap()), "'|O'"),
    "no type": npy("(2, 3)", descr="'nonsense'"),
    "negative": npy("(-2, -3)"),
    "no header": b"\x93NUMPY\x01\0\xff\xff",
    "code": npy("__import__('os').abort()"),
    "deep": npy("(" * 3000),
}
FOREIGN = {
    "nothing": b"",
    "npy": npy("(2, 3)"),
    "zip": b"PK\x03\x04",
    "pickle": pickle.dumps(Trap()),
    "text": "σ".encode() * 99,
    "only the first line": MAGIC,
    "another version": MAGIC.replace(b"4", b"3") + b"x" * 99,
    "no archive": signed(b"PK"),
    "nothing signed": signed(b""),
}
for name, values in WEIGHTS.items():
    FOREIGN[name] = signed(archive(weight=values))


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_one_notice(path, data, capsys):
    assert loads(path, data) is None
    assert checkpoint.load_or_none(path) is None and not Trap.sprung
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and str(path) in said
    assert said.endswith("starting over.\n")


def test_a_file_made_by_hand_is_loaded(path):
    """So the files above are refused for their own reasons."""
    arrays = loads(path, signed(archive(weight=npy("(2, 3)"))))
    assert arrays["weight"].tolist() == [[0] * 3] * 2


def test_no_file(path, capsys):
    assert checkpoint.load_or_none(path.with_name("absent")) is None
    assert capsys.readouterr().out == ""
    with pytest.raises(FileNotFoundError):
        checkpoint.load(path.with_name("absent"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_changes_nothing(path, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


OTHERS = {"another shape": npy("(3, 2)"), "integers": npy("(2, 3)", descr="'<i4'")}
OTHERS |= {"strings": npy("(2, 3)", descr="'<U1'")} | WEIGHTS
OTHERS["empty"] = b""


@pytest.mark.parametrize("weight", OTHERS.values(), ids=OTHERS)
def test_weights_that_do_not_fit_change_nothing(path, weight):
    layer = Linear(3, 2, seed=1)
    before = layer.state_dict()
    path.write_bytes(archive(weight=weight, bias=npy("(2,)", b"\0" * 8)))
    with pytest.raises(CheckpointError, match="not the weights of this model"):
        checkpoint.load_weights(path, layer)
    for name, values in layer.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    assert not Trap.sprung
