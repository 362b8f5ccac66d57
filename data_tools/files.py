"""Read the four files of Fashion-MNIST, or of another data set, and recognise them.

The SHA-256 of the *uncompressed* bytes decides whether a file is Fashion-MNIST's,
whatever its source. The checksums published for the .gz files do not help: Debian
compresses the files again, so its .gz files differ although their content is the same.
"""

import hashlib
import os

from data_tools.idx import MOST_BYTES, DataError, decompress, read_idx
from tinyae import checks

# In the order of FashionMNIST's fields: training images and labels, then test ones.
FULL = {
    "train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
LARGEST = 2**26  # bytes, more than any file of Fashion-MNIST (47 MB)
GZIP_MAGIC = b"\x1f\x8b"
LAYOUTS = ("", "FashionMNIST/raw", "MNIST/raw", "KMNIST/raw", "raw")  # torchvision's


def unpack(data, where, sha256=None):
    """Return the array in `data`, an IDX file, plain or gzipped, and its SHA-256.

    sha256: what the SHA-256 must be; None allows any.
    Raises DataError, which begins with `where`: the path or address of the data.
    """
    most = LARGEST if sha256 else MOST_BYTES
    try:
        content = decompress(data, most) if data[:2] == GZIP_MAGIC else data
        array = read_idx(content)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    right = sha256 in (None, found)
    checks.expect(right, DataError, where, f"SHA-256 {found}", sha256)
    return array, found


def find(folder, name):
    """Return the path of the file `name` in `folder`, None if it is missing.

    It may be gzipped. Kaggle's copies have a dot before "idx", and a file of images
    with channels may have a 4 after it.
    """
    pattern = name.partition("-idx")[0] + "[-.]idx?-ubyte"
    paths = [*sorted(folder.glob(f"{pattern}.gz")), *sorted(folder.glob(pattern))]
    return next(filter(os.path.isfile, paths), None)


def read_file(folder, name, sha256=None):
    """Return the path of the file `name` in `folder`, its array and its SHA-256.

    sha256: what the SHA-256 must be; None allows any.
    Raises DataError if the file is missing, unreadable, damaged, or not as expected.
    """
    path = find(folder, name)
    if path is None:
        raise DataError(f"{folder}: expected {name}.gz or {name}, found neither")
    try:
        small = path.stat().st_size <= MOST_BYTES
        most = f"at most {MOST_BYTES:,} bytes"
        checks.expect(small, DataError, path, "a larger file", most)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return path, *unpack(data, path, sha256)


def read_folder(folder):
    """Return the verified arrays of the four files in `folder`, in FULL's order.

    Raises DataError as read_file does.
    """
    return [read_file(folder, *item)[1] for item in FULL.items()]


def read_any(folder):
    """Return the folder of four IDX files, their arrays, and whether they are genuine.

    They are in `folder` itself or, in torchvision's layout, in a folder inside it.
    Genuine: Fashion-MNIST's. Raises DataError as read_file does, and if there is no
    such folder, if images are not (M, H, W) or (M, C, H, W), all of one size, or if
    there are not as many labels as images.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder, expected one with four IDX files")
    places = [folder / layout for layout in LAYOUTS]
    place = next((p for p in places if find(p, next(iter(FULL)))), folder)
    files = [read_file(place, name) for name in FULL]
    paths, arrays, hashes = zip(*files, strict=True)
    sides = arrays[0].shape[1:]
    for i in (0, 2):
        shape, labels = arrays[i].shape, arrays[i + 1].shape
        right = len(shape) in (3, 4) and 0 not in shape and shape[1:] == sides
        form = "(M, H, W) or (M, C, H, W), none of them 0, all images of one size"
        checks.expect(right, DataError, paths[i], f"shape {shape}", form)
        right, form = labels == shape[:1], f"{shape[:1]}, one label for each image"
        checks.expect(right, DataError, paths[i + 1], f"shape {labels}", form)
    return place, arrays, list(hashes) == list(FULL.values())
