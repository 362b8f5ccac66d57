"""Where Fashion-MNIST is found, in which order, and that neither a folder nor our cache can pass off wrong data."""

import errno
import gzip
import os

import data_server
import numpy
import pytest
from data_server import assert_cache_is_right, cache_of, fill

from data_tools import DataError, fashion_mnist, load_fashion_mnist
from data_tools.files import FULL
from data_tools.make_sample import write_idx

TEST_LABELS = list(FULL)[3]
files, serve = data_server.files, data_server.serve  # the fixtures


# ---- the order -----------------------------------------------------------------------------------------------------


def test_each_source_in_its_turn(files, serve, tmp_path, monkeypatch, capsys):
    server = serve()

    def source():
        data = load_fashion_mnist(mirrors=[server.url])
        assert (
            data.complete
            and data.train_images.shape == (40, 28, 28)
            and data.test_labels.shape == (20,)
        )
        return data.source

    assert source().startswith("a download") and sorted(server.requests) == sorted(FULL)
    debian = fill(tmp_path / "debian", files)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", debian)
    assert source() == f"our cache, {cache_of(tmp_path)}"
    for path in cache_of(tmp_path).iterdir():
        path.unlink()
    assert source() == f"Debian's package dataset-fashion-mnist, {debian}"
    named = fill(tmp_path / "named", files)
    monkeypatch.setenv("TINYAE_DATA", str(named))
    assert source() == f"the folder {named}"
    given = fill(tmp_path / "given", files)
    assert (
        load_fashion_mnist(given).source
        == load_fashion_mnist(str(given)).source
        == f"the folder {given}"
    )
    assert len(server.requests) == 4  # after the first time, no request
    assert "!!" not in capsys.readouterr().err


def test_the_cache_argument_comes_before_the_variable(files, tmp_path):
    folder = fill(tmp_path / "mine" / "fashion-mnist", files)
    assert load_fashion_mnist(cache=tmp_path / "mine").source == f"our cache, {folder}"


def test_plain_files_and_what_is_in_them(files, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(gzip.decompress(data))
    data = load_fashion_mnist(folder)
    for name, array in zip(FULL, data[:4]):
        assert array.dtype == numpy.uint8 and write_idx(array) == gzip.decompress(
            files[name]
        )


def damage(folder, how):
    """Spoil one of the four files; returns what the error must say."""
    path = folder / f"{TEST_LABELS}.gz"
    if how == "missing":
        path.unlink()
        return [str(folder), TEST_LABELS]
    content = bytearray(gzip.decompress(path.read_bytes()))
    if how == "not gzip":
        path.write_bytes(b"\0\0\x08\x01<html>")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "one bit":
        content[-1] ^= 1
        path.write_bytes(gzip.compress(content))
    elif how == "too long":
        path.write_bytes(gzip.compress(content + b"\0"))
    elif how == "a folder":
        path.unlink()
        path.mkdir()
        return [str(folder), TEST_LABELS]
    return [str(path)]


@pytest.mark.parametrize(
    "how",
    ["missing", "not gzip", "truncated", "empty", "one bit", "too long", "a folder"],
)
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_a_named_folder_is_right_or_an_error(
    files, serve, tmp_path, monkeypatch, how, through
):
    server = serve()
    fill(
        cache_of(tmp_path), files
    )  # the data are elsewhere too, and must not be taken from there
    folder = fill(tmp_path / "named", files)
    says = damage(folder, how)
    if through == "variable":
        monkeypatch.setenv("TINYAE_DATA", str(folder))
    with pytest.raises(DataError, match="expected|cut short|holds more") as caught:
        load_fashion_mnist(
            folder if through == "argument" else None, mirrors=[server.url]
        )
    assert all(text in str(caught.value) for text in says)
    assert not server.requests


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_named_folder_that_is_none(files, tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="no such folder"):
        load_fashion_mnist(tmp_path / folder)


@pytest.mark.parametrize("name", ["folder", "cache"])
@pytest.mark.parametrize("value", [7, 1.5, ["a"], b"bytes"])
def test_what_is_no_path_is_named(files, name, value):
    with pytest.raises(TypeError, match=f"^{name}: got .* expected a path"):
        load_fashion_mnist(**{name: value})


# ---- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", ["missing", "not gzip", "truncated", "empty", "one bit", "too long"]
)
def test_a_wrong_file_in_the_cache_is_replaced(files, serve, tmp_path, capsys, how):
    server = serve()
    damage(fill(cache_of(tmp_path), files), how)
    data = load_fashion_mnist(mirrors=[server.url])
    assert data.complete and server.requests == [
        TEST_LABELS
    ]  # the other three were right
    assert write_idx(data.test_labels) == gzip.decompress(files[TEST_LABELS])
    assert_cache_is_right(tmp_path, files)
    assert ("removed from the cache" in capsys.readouterr().err) == (how != "missing")


def test_a_wrong_file_in_the_cache_goes_even_when_no_other_can_be_had(files, tmp_path):
    damage(fill(cache_of(tmp_path), files), "one bit")
    assert not load_fashion_mnist(mirrors=[]).complete
    assert not (cache_of(tmp_path) / f"{TEST_LABELS}.gz").exists()
    assert_cache_is_right(tmp_path, files, complete=False)


def test_a_cache_that_cannot_be_written(files, serve, tmp_path, capsys):
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and data.train_images.shape == (40, 28, 28)
    assert "cannot keep" in capsys.readouterr().err


def test_a_disk_that_is_full_costs_the_cache_not_the_data(
    files, serve, tmp_path, monkeypatch, capsys
):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    data = load_fashion_mnist(mirrors=[serve().url])
    assert data.complete and list(cache_of(tmp_path).iterdir()) == []
    assert capsys.readouterr().err.count(os.strerror(errno.ENOSPC)) == 4


def test_what_a_killed_process_left_is_removed(files, serve, tmp_path):
    cache = cache_of(tmp_path)
    cache.mkdir(parents=True)
    old, new = cache / "old.part", cache / "new.part"
    for path in (old, new):
        path.write_bytes(b"half a file")
    os.utime(old, (0, 0))
    assert load_fashion_mnist(mirrors=[serve().url]).complete
    assert (
        not old.exists() and new.exists()
    )  # the new one may belong to a process at work
