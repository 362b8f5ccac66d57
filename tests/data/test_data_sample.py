"""The sample is balanced, small, undamaged, and rebuilt exactly from the full data."""

import bz2

import data_server
import numpy as np
import pytest
from data_server import cache_of, fill

from data_tools import (
    CLASS_NAMES,
    DataError,
    fashion_mnist,
    load_fashion_mnist,
    load_sample,
    make_sample,
)
from data_tools.files import FULL, SAMPLE

REAL_FOLDER = fashion_mnist.DEBIAN_FOLDER
needs_real_data = pytest.mark.skipif(
    not all((REAL_FOLDER / f"{name}.gz").is_file() for name in FULL),
    reason="needs the full data: apt-get install dataset-fashion-mnist",
)
files = data_server.files  # the fixture


@pytest.mark.parametrize("through", ["argument", "variable"])
def test_the_sample_can_be_chosen(files, tmp_path, monkeypatch, capsys, through):
    fill(cache_of(tmp_path), files)
    argument = "sample" if through == "argument" else None
    monkeypatch.setenv("TINYAE_DATA", str(tmp_path) if argument else "sample")
    data = load_fashion_mnist(argument)
    assert not data.complete and "sample" in data.source
    assert capsys.readouterr().err == ""


def test_the_sample_is_balanced():
    data = load_sample()
    assert data.train_images.shape == (6000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [600] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    assert {array.dtype for array in data[:4]} == {np.dtype("uint8")}
    assert len(CLASS_NAMES) == 10 and list(SAMPLE) == list(FULL)
    pixels = data.train_images.reshape(6000, -1)
    assert len(np.unique(pixels, axis=0)) > 5990  # hardly a picture twice


def test_the_sample_is_small_and_its_licence_beside_it():
    path = fashion_mnist.SAMPLE_FILE
    assert path.stat().st_size < 3_500_000
    licence = path.with_name("LICENSE-fashion-mnist.txt").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in licence and "The MIT License" in licence


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "foreign", "one bit"])
def test_a_damaged_sample_is_an_error(tmp_path, monkeypatch, how):
    data, path = fashion_mnist.SAMPLE_FILE.read_bytes(), tmp_path / "sample.bz2"
    if how == "truncated":
        data = data[:-1000]
    if how == "one bit":
        content = bytearray(bz2.decompress(data))
        content[-1] ^= 1
        data = bz2.compress(content)
    if how != "missing":
        path.write_bytes({"empty": b"", "foreign": b"not bzip2"}.get(how, data))
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", path)
    with pytest.raises(DataError, match="sample.bz2"):
        load_sample()


def test_the_notice_is_hard_to_miss(files, capsys):
    assert not load_fashion_mnist(mirrors=[]).complete
    lines = capsys.readouterr().err.strip().splitlines()
    box = [line for line in lines if line.startswith("!!")]
    assert len(box) > 10 and min(len(line) for line in box) == 88
    assert all(line.endswith("!!") for line in box)
    assert set(box[0]) == set(box[-1]) == {"!"}
    text = " ".join(" ".join(line.strip("! ") for line in box).split())
    for says in (
        "NOT THE WHOLE DATA SET",
        "6,000 training and 1,000 test",
        "cannot be compared",
        "no-debian",
        "there is no address to download from",
        "apt-get install dataset-fashion-mnist",
        "TINYAE_DATA",
        *(f"{name}.gz" for name in FULL),
    ):
        assert says in text


@needs_real_data
def test_the_sample_is_rebuilt_bit_for_bit(tmp_path, monkeypatch, capsys):
    whole, new = fashion_mnist.SAMPLE_FILE.read_bytes(), tmp_path / "sample.bz2"
    data, real = load_fashion_mnist(REAL_FOLDER), ["--data", str(REAL_FOLDER)]
    assert data.complete and data.train_images.shape == (60_000, 28, 28)
    assert CLASS_NAMES[data.train_labels[0]] == "Ankle boot"
    assert CLASS_NAMES[data.test_labels[1]] == "Pullover"
    assert make_sample.main(["--check", *real]) == 0
    monkeypatch.setattr(make_sample, "SAMPLE_FILE", new)
    assert make_sample.main(["--check", *real]) == 1  # there is none yet
    assert "NOT the same" in capsys.readouterr().out
    assert make_sample.main(real) == 0
    assert new.read_bytes() == whole


@pytest.mark.parametrize("folder", ["sample", "nowhere"])
def test_the_sample_needs_the_full_data(capsys, folder):
    with pytest.raises(SystemExit) as caught:
        make_sample.main(["--data", folder])
    assert caught.value.code == 2
    says = "needs the full data" if folder == "sample" else "no such folder"
    assert says in capsys.readouterr().err
