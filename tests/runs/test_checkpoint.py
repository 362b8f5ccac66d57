"""A checkpoint is what was saved, or it is refused."""

import io
import os
import random

import numpy as np
import pytest

from tinyae import checkpoint

ARRAYS = {"weight": np.ones((2, 3), "float32"), "t": np.array(7)}


@pytest.fixture
def path(tmp_path):
    """Return the path of a saved checkpoint, in a folder that did not exist."""
    checkpoint.save(tmp_path / "a" / "b" / "one.checkpoint", ARRAYS)
    return tmp_path / "a" / "b" / "one.checkpoint"


def assert_unchanged(path):
    np.testing.assert_equal(checkpoint.load(path), ARRAYS)
    assert list(path.parent.iterdir()) == [path]


def test_what_is_saved_is_loaded(path, capsys):
    assert_unchanged(path)
    assert checkpoint.load_or_none(path.with_name("absent")) is None
    checkpoint.save(path, {"t": np.array(8)})
    assert checkpoint.load_or_none(path) == {"t": 8}
    assert capsys.readouterr().out == ""


def test_flipped_bits_and_cut_ends_never_load(path, capsys):
    whole, rng = path.read_bytes(), random.Random(1)
    damaged = [b"", whole[:-1]]
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        damaged.append(flipped)
    for data in damaged:
        path.write_bytes(data)
        assert checkpoint.load_or_none(path) is None
        said = f"{path}: damaged, or not a checkpoint of this version; starting over.\n"
        assert capsys.readouterr().out == said


def test_a_folder_in_its_place_is_an_error_that_names_it(path):
    with pytest.raises(OSError, match="a.+b'$"):
        checkpoint.load_or_none(path.parent)


def test_objects_are_neither_saved_nor_loaded(path):
    """To load a pickled object may run any code."""
    objects = {"t": np.array([{}])}
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.save(path, objects)
    file = io.BytesIO()
    np.savez(file, **objects)
    path.write_bytes(checkpoint._signed(file.getvalue()))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_old_file(path):
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_unchanged(path)


def test_all_is_on_the_disk_before_the_old_file_is_replaced(path, monkeypatch):
    def fsync(number):
        assert os.fstat(number).st_size == 99
        raise InterruptedError("a crash")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InterruptedError):
        checkpoint.write(path, b"x" * 99)
    assert_unchanged(path)
