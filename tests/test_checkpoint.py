"""Checkpoint files: whatever they hold, load returns what was saved or raises CheckpointError, in little memory."""

import hashlib
import os
import tracemalloc

import numpy as np
import pytest
from harmful import HARMFUL, Trap, archive, mutated, npy
from hypothesis import given
from hypothesis import strategies as st

from tinyae import checkpoint
from tinyae.checkpoint import MAGIC, CheckpointError

ARRAYS = {
    "weight": np.arange(6, dtype="float32").reshape(2, 3),
    "t": np.array(7),
    "none": np.zeros((0, 2)),
}
SETTINGS = {"experiment": "small", "σ": [0.1, None]}


@pytest.fixture
def path(tmp_path):
    """A saved checkpoint."""
    checkpoint.save(tmp_path / "one.checkpoint", ARRAYS, SETTINGS)
    return tmp_path / "one.checkpoint"


def same(loaded):
    """Whether `loaded` is what was saved, bit by bit."""
    arrays, settings = loaded
    return (
        settings == SETTINGS
        and list(arrays) == list(ARRAYS)
        and all(
            a.dtype == ARRAYS[name].dtype
            and a.shape == ARRAYS[name].shape
            and a.tobytes() == ARRAYS[name].tobytes()
            for name, a in arrays.items()
        )
    )


def signed(body):
    """A file with a right beginning and a right checksum over `body`."""
    return MAGIC + hashlib.sha256(body).digest() + body


def load_bytes(path, data):
    """load() of a file of these bytes, None for CheckpointError; fails if that takes more memory than they explain."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        return checkpoint.load(path)
    except CheckpointError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20 + 100 * len(data), (
            f"{peak:,} bytes of memory for a file of {len(data):,}"
        )


def test_saved_and_loaded(path):
    assert same(checkpoint.load(path))
    checkpoint.load(path)[0]["weight"][0, 0] = (
        1.0  # the arrays are the caller's to write into
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name], (
        "something was left beside it"
    )


def test_nothing_but_numbers_is_saved(path):
    for values in (np.array([{}]), np.ones(2, bool), np.ones(2, ">f4")):
        with pytest.raises(
            TypeError, match=r"arrays\['a'\]: got dtype .*, expected one of float32"
        ):
            checkpoint.save(path, {"a": values}, {})
    assert same(checkpoint.load(path))


def test_every_byte_flipped(path):
    whole = path.read_bytes()
    for i in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            assert (
                load_bytes(path, whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
                is None
            ), (i, flip)
    assert same(load_bytes(path, whole))


def test_every_length(path):
    whole = path.read_bytes()
    for data in [whole[:i] for i in range(len(whole))] + [whole + b"\0", whole + whole]:
        assert load_bytes(path, data) is None, len(data)


FOREIGN = {
    "npy": b"\x93NUMPY\x01\0",
    "zip": b"PK\x03\x04",
    "pickle": b"\x80\x04]\x94.",
    "text": "σ".encode() * 99,
    "the first line": MAGIC,
    "version 1": MAGIC.replace(b"2", b"1") + b"x" * 99,
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_files(path, data):
    assert load_bytes(path, data) is None


SETTINGS_NPY = npy("(2,)", b"{}", "'|u1'")


def crafted(weight, settings=SETTINGS_NPY, **others):
    """A file with a right checksum over these .npy's."""
    return signed(archive({"weight": weight, "settings": settings} | others))


# What harms by its kind or size does so here; that a shape is not the model's, load cannot know.
NONSENSE = {
    name: crafted(weight)
    for name, weight in HARMFUL.items()
    if name not in ("another shape", "nothing of it")
}
NONSENSE |= {
    f"settings {text[:9]}": crafted(
        npy("(3, 2)"), npy(f"({len(text)},)", text.encode(), "'|u1'")
    )
    for text in ("[]", "3", "{", "\xff", "[" * 100_000, "9" * 5000)
}
NONSENSE |= {
    "no archive": signed(b"PK"),
    "nothing": signed(b""),
    "no settings": signed(archive({"weight": npy("(3, 2)")})),
    "much": crafted(npy("(10000000,)", bytes(4 * 10**7))),
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_right_checksum_over_nonsense(path, data):
    assert load_bytes(path, data) is None
    assert not Trap.sprung


def test_what_is_crafted_well_is_loaded(path):
    """Or the tests above could fail to load for another reason than theirs."""
    arrays, settings = load_bytes(path, crafted(npy("(3, 2)")))
    assert arrays["weight"].tolist() == [[0, 0]] * 3 and settings == {}


@given(data=st.data())
def test_any_bytes(tmp_path_factory, data):
    """Real files changed, with their checksum or with a new one over the changes; bytes at random."""
    path = tmp_path_factory.getbasetemp() / "any.checkpoint"
    checkpoint.save(path, ARRAYS, SETTINGS)
    real = path.read_bytes()
    body = real[len(MAGIC) + 32 :]
    drawn = data.draw(
        mutated(real)
        | mutated(body).map(signed)
        | st.binary()
        | st.binary().map(signed)
        | st.builds(
            crafted,
            st.binary(max_size=200) | mutated(npy("(3, 2)")),
            mutated(SETTINGS_NPY),
        )
    )
    loaded = load_bytes(path, drawn)
    if loaded is None:
        return
    if drawn[len(MAGIC) : len(MAGIC) + 32] == real[len(MAGIC) : len(MAGIC) + 32]:
        assert same(loaded)
    arrays, settings = loaded  # the file says so, with a right checksum
    assert type(settings) is dict and all(type(name) is str for name in arrays)
    assert all(str(a.dtype) in checkpoint.DTYPES for a in arrays.values())
    assert sum(a.nbytes for a in arrays.values()) < len(drawn)


# -- the file before --


def test_the_one_before_is_kept_and_used(path, capsys):
    before = path.read_bytes()
    checkpoint.save(path, {"a": np.ones(1)}, {})
    assert (
        checkpoint.previous(path).read_bytes() == before
        and checkpoint.load_latest(path)[1] == {}
    )
    path.write_bytes(path.read_bytes()[:-1])
    assert same(checkpoint.load_latest(path))
    said = capsys.readouterr().out
    assert (
        said.count("\n") == 1
        and said.startswith(f"{path}: its checksum")
        and "trying the one before it" in said
    )
    path.unlink()
    assert same(checkpoint.load_latest(path)) and capsys.readouterr().out == ""


def test_a_damaged_one_does_not_replace_the_one_before(path):
    checkpoint.save(path, {"a": np.ones(1)}, {})
    before = checkpoint.previous(path).read_bytes()
    path.write_bytes(b"damaged")
    checkpoint.save(path, {"a": np.ones(1)}, {})
    assert (
        checkpoint.previous(path).read_bytes() == before
        and checkpoint.load(path)[1] == {}
    )


def test_nothing_whole_is_there(path, capsys):
    checkpoint.previous(path).write_bytes(b"")
    path.write_bytes(b"foreign")
    assert (
        checkpoint.load_latest(path) is None
        and capsys.readouterr().out.count("\n") == 2
    )
    assert checkpoint.load_latest(path.with_name("absent")) is None
    with pytest.raises(FileNotFoundError):
        checkpoint.load(path.with_name("absent"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_changes_nothing(path, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "No space left on device")

    checkpoint.save(path, ARRAYS, SETTINGS)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {}, {})
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_what_a_killed_process_left_is_removed_in_time(path):
    old, new = (path.with_name(f"{name}.tinyae-part") for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    checkpoint.save(path, ARRAYS, SETTINGS)
    assert not old.exists() and new.exists(), "new may belong to a process at work"
