"""Files: checkpoints that survive anything, and weights that PyTorch can read.

A checkpoint is one file: a line with the format and its version, the SHA-256 of all that follows, and the arrays with
their settings as NumPy's .npz. Nothing in it can be executed, and one flipped bit anywhere is noticed.

It is written beside its place and renamed when it is complete and on the disk, and the one before is kept as well, in
case the newer is damaged later: at every moment a whole one is there, under its name or its predecessor's.
"""

import contextlib
import hashlib
import io
import json
import os
import secrets
import time
import zipfile
from pathlib import Path

from .backend import host

MAGIC = b"tinyae checkpoint 2\n"
DTYPES = ("float32", "float64", "int64")


class CheckpointError(ValueError):
    """The file is not a whole checkpoint (or weights file). The message says what is wrong with it."""


def write(path, data: bytes, keep=None):
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, whole; with `keep`, what
    was at `path` is moved there. Raises OSError, say when the disk is full; what was there is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(
        "*.tinyae-part"
    ):  # of a process killed in here; after an hour none is still at it
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    part = path.with_name(
        f"{path.name}.{secrets.token_hex(8)}.tinyae-part"
    )  # two that write the same share no part
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, keep)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    with contextlib.suppress(
        OSError
    ):  # the new name, too, must reach the disk; some systems cannot be asked for that
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def previous(path):
    """Where the checkpoint before the one at `path` is kept."""
    return Path(f"{path}.previous")


def _npz(arrays):
    """{name: array} as the bytes of an .npz."""
    buffer = io.BytesIO()
    host.savez(buffer, **arrays)
    return buffer.getvalue()


def _read_npz(file, most):
    """{name: array} from an .npz. Its headers may lie, and what is packed may unpack to more than memory holds, so no more
    than `most` bytes are unpacked. What is wrong with it raises exceptions of many kinds.
    """
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    f"{info.filename}: packed in a way that NumPy does not use"
                )
            with archive.open(info) as packed:
                npy = io.BytesIO(packed.read(most))
            most -= len(npy.getbuffer())
            if host.lib.format.read_magic(npy) != (1, 0):
                raise ValueError(
                    f"{info.filename}: expected version 1.0 of the .npy format"
                )
            shape, fortran, dtype = host.lib.format.read_array_header_1_0(npy)
            values = host.frombuffer(npy.read(), dtype).reshape(
                shape, order="F" if fortran else "C"
            )
            arrays[info.filename.removesuffix(".npy")] = values.copy()
    return arrays


def save(path, arrays, settings):
    """Write {name: NumPy array} and a JSON-able dict `settings` to `path`; what was there becomes previous(path), if it
    is whole. Raises OSError as write does.
    """
    for name, array in arrays.items():
        if str(array.dtype) not in DTYPES:
            raise TypeError(
                f"arrays[{name!r}]: got dtype {array.dtype}, expected one of {', '.join(DTYPES)}"
            )
    body = _npz(
        arrays | {"settings": host.frombuffer(json.dumps(settings).encode(), "uint8")}
    )
    try:
        keep = load(path) and previous(path)
    except (
        FileNotFoundError,
        CheckpointError,
    ):  # a damaged one must not take the place of a good previous one
        keep = None
    write(path, MAGIC + hashlib.sha256(body).digest() + body, keep)


def load(path):
    """({name: NumPy array}, settings) from `path`. Raises CheckpointError if it is damaged or something else,
    FileNotFoundError if there is none.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CheckpointError(
                f"{path}: does not begin with {MAGIC!r}: no tinyae checkpoint, or of another version"
            )
        digest, body = file.read(32), file.read()
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(
            f"{path}: its checksum does not match: it is damaged or cut short"
        )
    try:  # a right checksum says only that the content is as it was written, by whomever
        arrays = _read_npz(io.BytesIO(body), len(body))
        settings = json.loads(arrays.pop("settings").tobytes())
        if type(settings) is not dict or any(
            str(array.dtype) not in DTYPES for array in arrays.values()
        ):
            raise ValueError(f"expected settings, and arrays of {', '.join(DTYPES)}")
    except Exception as error:
        raise CheckpointError(
            f"{path}: its content makes no sense ({' '.join(str(error).split())})"
        ) from error
    return arrays, settings


def load_latest(path, notice=print):
    """load(path), or the previous one if that is damaged, said through `notice`; None if there is no whole one."""
    for candidate, instead in (
        (path, "trying the one before it"),
        (previous(path), "beginning anew"),
    ):
        try:
            return load(candidate)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            notice(f"{error}; {instead}.")
    return None


def save_weights(path, model):
    """Save model.state_dict() as a NumPy .npz, under PyTorch's names."""
    write(path, _npz(model.state_dict()))


def load_weights(path, model):
    """Load a .npz of state_dict names into `model`. Raises CheckpointError, and leaves the model as it was, if the file
    is damaged or its names or shapes are not the model's.
    """
    most = sum(
        8 * a.size + 10_000 for a in model.state_dict().values()
    )  # float64s, and their headers
    with open(path, "rb") as file:
        try:
            model.load_state_dict(_read_npz(file, most))
        except (
            Exception
        ) as error:  # zipfile, zlib and numpy each object to damage in their own ways
            raise CheckpointError(
                f"{path}: not the weights of this model ({error})"
            ) from error
