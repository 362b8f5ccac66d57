"""Files: checkpoints that survive anything, and weights that PyTorch can read.

A checkpoint is one file: a line with the format and its version, the SHA-256 of all that follows, the length of a JSON
header, the header, and the arrays' bytes one after another as the header lists them. Nothing in it can be executed, and
one flipped bit anywhere is noticed.

It is written beside its place and renamed over it when it is complete and on the disk, so at every moment a whole one is
there; the one before is kept as well, in case the newer is damaged later.
"""

import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path

from .backend import host

MAGIC = b"tinyae checkpoint 1\n"
DTYPES = ("float32", "float64", "int64")


class CheckpointError(ValueError):
    """The file is not a whole checkpoint (or weights file). The message says what is wrong with it."""


def _replace(path, data: bytes):
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, whole."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def previous(path):
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(path.name + ".previous")


def save(path, arrays, settings):
    """Write {name: NumPy array} and JSON-able `settings` to `path`; what was there becomes previous(path).

    Raises OSError, for example when the disk is full; then what was there is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    listing = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"settings": settings, "arrays": listing}).encode()
    body = b"".join([len(header).to_bytes(8, "little"), header, *(array.tobytes() for array in arrays.values())])
    if path.exists():
        _replace(previous(path), path.read_bytes())
    _replace(path, MAGIC + hashlib.sha256(body).digest() + body)


def load(path):
    """({name: NumPy array}, settings) from `path`. Raises CheckpointError if it is damaged or something else,
    FileNotFoundError if there is none."""
    data = Path(path).read_bytes()
    magic, digest, body = data[:len(MAGIC)], data[len(MAGIC):len(MAGIC) + 32], data[len(MAGIC) + 32:]
    if magic != MAGIC:
        raise CheckpointError(f"{path}: does not begin with {MAGIC!r}: not a tinyae checkpoint, or of another version")
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: its checksum does not match: it is damaged or cut short")
    try:
        end = 8 + int.from_bytes(body[:8], "little")
        header = json.loads(body[8:end])
        arrays = {}
        for name, dtype, shape in header["arrays"]:
            if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
                raise ValueError(f"array {name!r} of {dtype} {shape}")
            values = host.frombuffer(body, dtype, math.prod(shape), end)  # refuses to read past the end
            arrays[name] = values.reshape(shape).copy()
            end += values.nbytes
        if end != len(body):
            raise ValueError("bytes left over")
        return arrays, header["settings"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # a right checksum over a wrong content
        raise CheckpointError(f"{path}: its content makes no sense ({error})") from error


def load_latest(path, notice=print):
    """load(path), or the previous one if that is damaged, said through `notice`; None if there is no whole one."""
    for candidate in (Path(path), previous(Path(path))):
        try:
            return load(candidate)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            notice(f"Ignored: {error}")
    return None


def save_weights(path, model):
    """Save model.state_dict() as a NumPy .npz, under PyTorch's names."""
    buffer = io.BytesIO()
    host.savez(buffer, **model.state_dict())
    _replace(Path(path), buffer.getvalue())


def load_weights(path, model):
    """Load a .npz of state_dict names into `model`. Raises CheckpointError, and leaves the model as it was, if the file
    is damaged or its names or shapes are not the model's."""
    try:
        with host.load(path, allow_pickle=False) as file:
            model.load_state_dict({name: file[name] for name in file.files})
    except (ValueError, TypeError, AttributeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not the weights of this model ({error})") from error
