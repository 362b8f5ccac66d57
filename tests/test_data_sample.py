"""The sample: balanced, small, undamaged, said to be one, and rebuilt bit for bit from the full data."""

import bz2

import data_server
import numpy
import pytest
from data_server import cache_of, fill

from data_tools import (
    CLASS_NAMES,
    DataError,
    fashion_mnist,
    load_fashion_mnist,
    load_sample,
)
from data_tools.files import FULL, SAMPLE
from data_tools.make_sample import build, main

TEST_LABELS = list(FULL)[3]
REAL_FOLDER = fashion_mnist.DEBIAN_FOLDER
needs_real_data = pytest.mark.skipif(
    not all((REAL_FOLDER / f"{name}.gz").is_file() for name in FULL),
    reason="needs the full data: apt-get install dataset-fashion-mnist",
)
files = data_server.files  # the fixture


# ---- the sample ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["argument", "variable"])
def test_the_sample_can_be_asked_for(files, tmp_path, monkeypatch, capsys, through):
    fill(cache_of(tmp_path), files)
    monkeypatch.setenv(
        "TINYAE_DATA", "sample" if through == "variable" else str(tmp_path)
    )
    data = load_fashion_mnist("sample" if through == "argument" else None)
    assert not data.complete and "sample" in data.source
    assert capsys.readouterr().err == ""


def test_the_sample_is_balanced():
    data = load_sample()
    assert data.train_images.shape == (6000, 28, 28) and data.test_images.shape == (
        1000,
        28,
        28,
    )
    assert numpy.bincount(data.train_labels).tolist() == [600] * 10
    assert numpy.bincount(data.test_labels).tolist() == [100] * 10
    assert (
        all(array.dtype == numpy.uint8 for array in data[:4]) and len(CLASS_NAMES) == 10
    )
    assert (
        len(numpy.unique(data.train_images.reshape(6000, -1), axis=0)) > 5990
    )  # garments, not one again and again


def test_the_sample_is_small_and_its_licence_beside_it():
    assert fashion_mnist.SAMPLE_FILE.stat().st_size < 3_500_000
    licence = fashion_mnist.SAMPLE_FILE.with_name(
        "LICENSE-fashion-mnist.txt"
    ).read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in licence and "The MIT License" in licence


@pytest.mark.parametrize(
    "how", ["missing", "empty", "truncated", "foreign", "one byte"]
)
def test_a_damaged_sample_is_an_error(tmp_path, monkeypatch, how):
    whole, path = fashion_mnist.SAMPLE_FILE.read_bytes(), tmp_path / "sample.bz2"
    content = bytearray(bz2.decompress(whole)) if how == "one byte" else bytearray(1)
    content[-1] ^= 1
    damaged = {
        "empty": b"",
        "truncated": whole[:-1000],
        "foreign": b"not bzip2 at all",
        "one byte": bz2.compress(bytes(content)),
    }
    if how != "missing":
        path.write_bytes(damaged[how])
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", path)
    with pytest.raises(DataError, match="sample.bz2"):
        load_sample()


def test_the_notice_cannot_be_missed(files, capsys):
    assert not load_fashion_mnist(mirrors=[]).complete
    lines = capsys.readouterr().err.strip().splitlines()
    box = [line for line in lines if line.startswith("!!")]
    assert len(box) > 10 and {len(line) for line in box} == {100}
    assert all(line.endswith("!!") for line in box) and set(box[0]) == set(box[-1]) == {
        "!"
    }
    text = " ".join(" ".join(line.strip("! ") for line in box).split())
    for says in (
        "NOT THE WHOLE DATA SET",
        "6,000 training and 1,000 test",
        "cannot be compared",
        "no-debian",
        "apt-get install dataset-fashion-mnist",
        "TINYAE_DATA",
        f"{TEST_LABELS}.gz",
    ):
        assert says in text


# ---- with the real data --------------------------------------------------------------------------------------------


@needs_real_data
def test_the_real_data():
    data = load_fashion_mnist(REAL_FOLDER)
    assert (
        data.complete
        and data.train_images.shape == (60_000, 28, 28)
        and data.test_images.shape == (10_000, 28, 28)
    )
    assert numpy.bincount(data.train_labels).tolist() == [6000] * 10
    assert numpy.bincount(data.test_labels).tolist() == [1000] * 10
    assert (
        CLASS_NAMES[data.train_labels[0]] == "Ankle boot"
        and CLASS_NAMES[data.test_labels[1]] == "Pullover"
    )


@needs_real_data
def test_the_sample_is_rebuilt_bit_for_bit(tmp_path, monkeypatch, capsys):
    assert (
        build(load_fashion_mnist(REAL_FOLDER)) == fashion_mnist.SAMPLE_FILE.read_bytes()
    )
    assert main(["--check", "--data", str(REAL_FOLDER)]) == 0
    monkeypatch.setattr(fashion_mnist, "SAMPLE_FILE", tmp_path / "sample.bz2")
    monkeypatch.setattr("data_tools.make_sample.SAMPLE_FILE", tmp_path / "sample.bz2")
    assert main(["--check", "--data", str(REAL_FOLDER)]) == 1  # there is none
    assert main(["--data", str(REAL_FOLDER)]) == 0
    assert load_sample().test_labels.shape == (1000,)
    assert "NOT the same" in capsys.readouterr().out


def test_the_sample_is_not_built_from_the_sample(capsys):
    assert main(["--data", "sample"]) == 2 and main(["--data", "nowhere"]) == 2
    assert "needs the full data" in capsys.readouterr().err


def test_the_table_of_the_sample_fits_the_table_of_the_data():
    assert list(SAMPLE) == list(FULL)
