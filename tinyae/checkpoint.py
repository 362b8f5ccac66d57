"""Checkpoints: a crash leaves the old file or the new one, nothing between.

A checkpoint is one file: a line with the format and its version, the SHA-256 of the
rest, and a NumPy .npz with the arrays. Nothing in it is ever executed, and a flipped
bit is noticed. A new checkpoint is written beside the old one and then renamed, so a
crash at any moment leaves either the old file or the new one.
"""

import hashlib
import io
import os
import secrets
from pathlib import Path

import numpy as np

MAGIC = b"tinyae checkpoint 5\n"


class CheckpointError(ValueError):
    """The file is not an undamaged checkpoint."""


def write(path, data: bytes):
    """Write `data` to `path`: all of it or, on any failure, nothing.

    Raises OSError, for example when the disk is full; the old file is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _signed(body):
    return MAGIC + hashlib.sha256(body).digest() + body


def save(path, arrays):
    """Write {name: NumPy array}, as write() does.

    Raises ValueError if an array holds Python objects: load would refuse it.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write(path, _signed(buffer.getvalue()))


def load(path):
    """Return {name: NumPy array} from `path`.

    Raises CheckpointError if it is damaged or not a checkpoint, FileNotFoundError if it
    does not exist.
    """
    data = Path(path).read_bytes()
    body = data[len(MAGIC) + 32 :]
    if data != _signed(body):
        raise CheckpointError(f"{path}: damaged, or not a checkpoint of this version")
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        return dict(file)


def load_or_none(path):
    """Return load(path), or None if the file is missing or (with a message) damaged."""
    try:
        return load(path)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        print(f"{error}; starting over.")
        return None
