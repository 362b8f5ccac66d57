"""The data of the lessons: find, verify and read Fashion-MNIST, and the two corruptions of the report.

    load_fashion_mnist() -> FashionMNIST     images and labels, wherever they can be found     fashion_mnist.py
    load_sample() -> FashionMNIST            the tenth of them that is embedded here           make_sample.py
    GaussianNoise, RandomErasing             corrupt a batch of images                         corruptions.py
    read_idx, decompress, DataError          the file format, and the one error of them all    idx.py
    CLASS_NAMES                              what the labels 0 to 9 mean

Read idx.py first, then files.py (what the files must hold), download.py and fashion_mnist.py.
"""

from data_tools.corruptions import GaussianNoise, RandomErasing
from data_tools.fashion_mnist import (
    CLASS_NAMES,
    FashionMNIST,
    load_fashion_mnist,
    load_sample,
)
from data_tools.idx import DataError, decompress, read_idx

__all__ = [
    "CLASS_NAMES",
    "DataError",
    "FashionMNIST",
    "GaussianNoise",
    "RandomErasing",
    "decompress",
    "load_fashion_mnist",
    "load_sample",
    "read_idx",
]
