"""Fashion-MNIST is searched in a fixed order, and wrong data are never used."""

import gzip
import os

import data_server
import numpy as np
import pytest
from data_server import assert_cache_holds, cache_of, fill, words

from data_tools import DataError, fashion_mnist, load_fashion_mnist
from data_tools.files import FULL
from data_tools.make_sample import write_idx

TEST_LABELS = list(FULL)[3]
files, serve = data_server.files, data_server.serve  # the fixtures


def test_each_source_in_its_turn(files, serve, tmp_path, monkeypatch, capsys):
    server = serve()

    def source():
        data = load_fashion_mnist(mirrors=[server.url])
        assert data.complete and data.test_labels.shape == (20,)
        return data.source

    cache = cache_of(tmp_path)
    assert source() == f"a download, now in our cache, {cache}"
    assert server.requests == list(FULL)
    debian = fill(tmp_path / "debian", files)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", debian)
    assert source() == f"our cache, {cache}"
    for path in cache.iterdir():
        path.unlink()
    assert source() == f"Debian's package dataset-fashion-mnist, {debian}"
    named = fill(tmp_path / "named", files)
    monkeypatch.setenv("TINYAE_DATA", str(named))
    assert source() == f"the folder {named}"
    given = fill(tmp_path / "given", files)
    assert load_fashion_mnist(given).source == f"the folder {given}"
    assert load_fashion_mnist(str(given)).source == f"the folder {given}"
    assert len(server.requests) == 4  # after the first time, no request
    assert "!!" not in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["TINYAE_DATA", "TINYAE_CACHE"])
def test_variables_expand_the_home_folder(files, tmp_path, monkeypatch, variable):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(variable, "~/here")
    folder = tmp_path / "here"
    if variable == "TINYAE_CACHE":
        folder = folder / "fashion-mnist"
    fill(folder, files)
    assert load_fashion_mnist(mirrors=[]).source.endswith(f" {folder}")


def test_an_empty_variable_counts_as_unset(files, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "user" / name)
    monkeypatch.setenv("TINYAE_CACHE", "")
    monkeypatch.setenv("TINYAE_DATA", "")
    folder = fill(tmp_path / "user" / "tinyae" / "fashion-mnist", files)
    assert load_fashion_mnist(mirrors=[]).source == f"our cache, {folder}"


def test_plain_files_and_their_content(files, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(gzip.decompress(data))
    data = load_fashion_mnist(folder)
    for name, array in zip(FULL, data[:4], strict=True):
        assert array.dtype == np.uint8
        assert write_idx(array) == gzip.decompress(files[name])


DAMAGE = ["missing", "not gzip", "truncated", "empty", "one bit", "too long"]


def damage(folder, how):
    """Spoil one of the four files; return the path that the error must name."""
    path = folder / f"{TEST_LABELS}.gz"
    data = path.read_bytes()
    content = bytearray(gzip.decompress(data))
    content[-1] ^= 1
    damaged = {
        "not gzip": b"\0\0\x08\x01<html>",
        "truncated": data[:-9],
        "empty": b"",
        "one bit": gzip.compress(content),
        "too long": gzip.compress(gzip.decompress(data) + b"\0"),
    }
    path.unlink()
    if how in damaged:
        path.write_bytes(damaged[how])
        return str(path)
    if how == "a folder":
        path.mkdir()
    return str(folder)


@pytest.mark.parametrize("how", [*DAMAGE, "a folder"])
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_a_named_folder_is_right_or_an_error(
    files, serve, tmp_path, monkeypatch, how, through
):
    server = serve()
    fill(cache_of(tmp_path), files)  # right data elsewhere, which must not be used
    folder = fill(tmp_path / "named", files)
    where = damage(folder, how)
    if through == "variable":
        monkeypatch.setenv("TINYAE_DATA", str(folder))
        folder = None
    with pytest.raises(DataError, match="expected|damaged|more than") as caught:
        load_fashion_mnist(folder, mirrors=[server.url])
    assert str(caught.value).startswith(f"{where}: ")
    assert not server.requests


@pytest.mark.parametrize("folder", ["nowhere", "file", "~no-such-user/data"])
def test_a_named_folder_that_does_not_exist(files, tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="no such folder"):
        load_fashion_mnist(os.path.join(tmp_path, folder))


@pytest.mark.parametrize("value", [7, 1.5, ["a"], b"bytes"])
def test_a_folder_that_is_no_path(files, value):
    with pytest.raises(TypeError, match="^folder: got .* expected a path"):
        load_fashion_mnist(value)


@pytest.mark.parametrize("how", DAMAGE)
def test_a_wrong_file_in_the_cache(files, serve, tmp_path, capsys, how):
    server = serve()
    where = damage(fill(cache_of(tmp_path), files), how)
    assert not load_fashion_mnist(mirrors=[]).complete  # it is not used ...
    assert f"{where}: " in words(capsys)
    data = load_fashion_mnist(mirrors=[server.url])
    assert data.complete and server.requests == [TEST_LABELS]  # ... but replaced
    assert write_idx(data.test_labels) == gzip.decompress(files[TEST_LABELS])
    assert_cache_holds(tmp_path, files)
