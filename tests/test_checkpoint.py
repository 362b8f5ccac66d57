"""Checkpoint files: whatever they hold, load returns what was saved or raises CheckpointError, in little memory."""

import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinyae import checkpoint
from tinyae.checkpoint import MAGIC, CheckpointError

ARRAYS = {"weight": np.arange(6, dtype="float32").reshape(2, 3), "t": np.array(7), "none": np.zeros((0, 2))}
SETTINGS = {"experiment": "small", "σ": [0.1, None]}


@pytest.fixture
def path(tmp_path):
    """A saved checkpoint."""
    checkpoint.save(tmp_path / "one.checkpoint", ARRAYS, SETTINGS)
    return tmp_path / "one.checkpoint"


def same(loaded):
    """Whether `loaded` is what was saved, bit by bit."""
    arrays, settings = loaded
    return settings == SETTINGS and list(arrays) == list(ARRAYS) and all(
        a.dtype == ARRAYS[name].dtype and a.shape == ARRAYS[name].shape and a.tobytes() == ARRAYS[name].tobytes()
        for name, a in arrays.items())


def signed(body):
    """A file with a right beginning and a right checksum over `body`."""
    return MAGIC + hashlib.sha256(body).digest() + body


def crafted(header, values=b"", length=None):
    """A file with a right checksum over this header, a str or something for JSON."""
    header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return signed((len(header) if length is None else length).to_bytes(8, "little") + header + values)


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
        assert peak < 2**20 + 100 * len(data), f"{peak:,} bytes of memory for a file of {len(data):,}"


def test_saved_and_loaded(path):
    assert same(checkpoint.load(path))
    checkpoint.load(path)[0]["weight"][0, 0] = 1.0  # the arrays are the caller's to write into
    assert [file.name for file in path.parent.iterdir()] == [path.name], "something was left beside it"


def test_nothing_but_numbers_is_saved(path):
    for values in (np.array([{}]), np.ones(2, bool), np.ones(2, ">f4")):
        with pytest.raises(TypeError, match=r"arrays\['a'\]: got dtype .*, expected one of float32"):
            checkpoint.save(path, {"a": values}, {})
    assert same(checkpoint.load(path))


def test_every_byte_flipped(path):
    whole = path.read_bytes()
    for i in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            assert load_bytes(path, whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1:]) is None, (i, flip)
    assert same(load_bytes(path, whole))


def test_every_length(path):
    whole = path.read_bytes()
    for data in [whole[:i] for i in range(len(whole))] + [whole + b"\0", whole + whole]:
        assert load_bytes(path, data) is None, len(data)


FOREIGN = {"npy": b"\x93NUMPY\x01\0", "zip": b"PK\x03\x04", "pickle": b"\x80\x04]\x94.", "text": "σ".encode() * 99,
           "the first line": MAGIC, "version 2": MAGIC.replace(b"1", b"2") + b"x" * 99}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_files(path, data):
    assert load_bytes(path, data) is None


HUGE = 2**62
WELL = [["a", "float32", [2]]]
NONSENSE = {
    "no JSON": "{", "deep": "[" * 100_000, "long number": "9" * 5000, "a list": [], "no arrays": {"settings": {}},
    "no settings": {"arrays": WELL}, "settings a list": {"arrays": WELL, "settings": []},
    "arrays a number": {"arrays": 3, "settings": {}}, "too short a row": {"arrays": [["a", "float32"]], "settings": {}},
    "nothing listed": {"arrays": [], "settings": {}}, "twice": {"arrays": [["a", "float32", [1]]] * 2, "settings": {}}}
NONSENSE |= {f"{row}": {"arrays": [row], "settings": {}} for row in (
    [3, "float32", [2]], [["a"], "float32", [2]], [None, "float32", [2]], ["a", "object", [2]], ["a", "|O", [1]],
    ["a", "complex64", [1]], ["a", ["float32"], [2]], ["a", "float32", [-2]], ["a", "float32", [-1, -2]],
    ["a", "float32", [True, 2]], ["a", "float32", [2.0]], ["a", "float32", "2"], ["a", "float32", 2],
    ["a", "float32", [HUGE]], ["a", "float32", [HUGE, HUGE]], ["a", "float64", [2**61]], ["a", "float32", [10**30]],
    ["a", "float32", [0, HUGE, HUGE]], ["a", "float32", [10**9]], ["a", "float32", [1]], ["a", "float32", [3]])}
NONSENSE["many axes"] = {"arrays": [["a", "float32", [1] * 65 + [2]]], "settings": {}}


@pytest.mark.parametrize("header", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_right_checksum_over_nonsense(path, header):
    assert load_bytes(path, crafted(header, b"\0" * 8)) is None


@pytest.mark.parametrize("length", [0, 1, 10**6, HUGE])
def test_a_header_of_a_wrong_length(path, length):
    assert load_bytes(path, crafted({"arrays": WELL, "settings": {}}, b"\0" * 8, length)) is None


def test_what_is_crafted_well_is_loaded(path):
    """Or the tests above could fail to load for another reason than theirs."""
    arrays, settings = load_bytes(path, crafted({"arrays": WELL, "settings": {}}, b"\0" * 8))
    assert arrays["a"].tolist() == [0, 0] and settings == {}


@st.composite
def mutated(draw, data):
    """`data` with a few bytes changed, then perhaps cut, or something put in."""
    data = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    i = draw(st.integers(0, len(data)))
    return draw(st.sampled_from([bytes(data), bytes(data[:i]), bytes(data[:i]) + draw(st.binary()) + bytes(data[i:])]))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
ROWS = st.tuples(st.text() | JSON, st.sampled_from(checkpoint.DTYPES) | JSON,
                 st.lists(st.integers(0, 3) | st.integers() | JSON, max_size=4) | JSON)
HEADERS = st.fixed_dictionaries({"arrays": st.lists(ROWS | JSON, max_size=3) | JSON,
                                 "settings": st.dictionaries(st.text(), JSON, max_size=2) | JSON})


@given(data=st.data())
def test_any_bytes(tmp_path_factory, data):
    """Real files changed, with their checksum or with a new one over the changes; lying headers; bytes at random."""
    path = tmp_path_factory.getbasetemp() / "any.checkpoint"
    checkpoint.save(path, ARRAYS, SETTINGS)
    real = path.read_bytes()
    body = real[len(MAGIC) + 32:]
    drawn = data.draw(mutated(real) | mutated(body).map(signed) | st.binary() | st.binary().map(signed)
                      | st.builds(crafted, HEADERS, st.binary(max_size=40)))
    loaded = load_bytes(path, drawn)
    if loaded is None:
        return
    if drawn[len(MAGIC):len(MAGIC) + 32] == real[len(MAGIC):len(MAGIC) + 32]:
        assert same(loaded)
    arrays, settings = loaded  # the file says so, with a right checksum
    assert type(settings) is dict and all(type(name) is str for name in arrays)
    assert all(str(a.dtype) in checkpoint.DTYPES for a in arrays.values())
    assert sum(a.nbytes for a in arrays.values()) < len(drawn)


# -- the file before --

def test_the_one_before_is_kept_and_used(path, capsys):
    before = path.read_bytes()
    checkpoint.save(path, {"a": np.ones(1)}, {})
    assert checkpoint.previous(path).read_bytes() == before and checkpoint.load_latest(path)[1] == {}
    path.write_bytes(path.read_bytes()[:-1])
    assert same(checkpoint.load_latest(path))
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith(f"{path}: its checksum") and "trying the one before it" in said
    path.unlink()
    assert same(checkpoint.load_latest(path)) and capsys.readouterr().out == ""


def test_a_damaged_one_does_not_replace_the_one_before(path):
    checkpoint.save(path, {"a": np.ones(1)}, {})
    before = checkpoint.previous(path).read_bytes()
    path.write_bytes(b"damaged")
    checkpoint.save(path, {"a": np.ones(1)}, {})
    assert checkpoint.previous(path).read_bytes() == before and checkpoint.load(path)[1] == {}


def test_nothing_whole_is_there(path, capsys):
    checkpoint.previous(path).write_bytes(b"")
    path.write_bytes(b"foreign")
    assert checkpoint.load_latest(path) is None and capsys.readouterr().out.count("\n") == 2
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
