"""Load Fashion-MNIST, the data of the lessons, or other images, and corrupt them.

    load_fashion_mnist() -> FashionMNIST     images and labels        fashion_mnist.py
    load_fashion_mnist(folder)               any four IDX files       fashion_mnist.py
    load_sample() -> FashionMNIST            the embedded tenth       fashion_mnist.py
    CLASS_NAMES                              what labels 0 to 9 mean  fashion_mnist.py
    GaussianNoise, SaltAndPepper, Masking    change single pixels     corruptions.py
    RandomErasing                            paints a box             corruptions.py
    Mixture                                  one of several           corruptions.py
    read_idx, decompress, DataError          the file format          idx.py

Read idx.py first, then files.py (which files are the right ones), download.py and
fashion_mnist.py.
"""

from data_tools.corruptions import (
    GaussianNoise,
    Masking,
    Mixture,
    RandomErasing,
    SaltAndPepper,
)
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
    "Masking",
    "Mixture",
    "RandomErasing",
    "SaltAndPepper",
    "decompress",
    "load_fashion_mnist",
    "load_sample",
    "read_idx",
]
