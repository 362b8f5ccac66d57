"""Files: checkpoints that survive anything, and weights that PyTorch can read.

A checkpoint is one file: a line with the format and its version, the SHA-256 of all that follows, the length of a JSON
header, the header, and the arrays' bytes one after another as the header lists them. Nothing in it can be executed, and
one flipped bit anywhere is noticed.

It is written beside its place and renamed when it is complete and on the disk, so at every moment a whole one is there;
the one before is kept as well, in case the newer is damaged later.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import secrets
import time
import zipfile
from pathlib import Path

from .backend import host

MAGIC = b"tinyae checkpoint 1\n"
DTYPES = ("float32", "float64", "int64")


class CheckpointError(ValueError):
    """The file is not a whole checkpoint (or weights file). The message says what is wrong with it."""


def write(path, data: bytes, keep=None):
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, whole; with `keep`, what
    was at `path` is moved there. Raises OSError, for example when the disk is full; then what was there is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("*.tinyae-part"):  # of a process killed in here; after an hour none is still at it
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tinyae-part")  # two that write the same share no part
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
    with contextlib.suppress(OSError):  # the new name, too, must reach the disk; some systems cannot be asked for that
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def previous(path):
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(path.name + ".previous")


def save(path, arrays, settings):
    """Write {name: NumPy array} and a JSON-able dict `settings` to `path`; what was there becomes previous(path), if it
    is whole. Raises OSError, for example when the disk is full; then what was there is still there.
    """
    path = Path(path)
    listing = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    for name, dtype, _ in listing:
        if dtype not in DTYPES:
            raise TypeError(f"arrays[{name!r}]: got dtype {dtype}, expected one of {', '.join(DTYPES)}")
    header = json.dumps({"settings": settings, "arrays": listing}).encode()
    body = b"".join([len(header).to_bytes(8, "little"), header, *(array.tobytes() for array in arrays.values())])
    try:
        keep = load(path) and previous(path)
    except (FileNotFoundError, CheckpointError):  # a damaged one must not take the place of a good previous one
        keep = None
    write(path, MAGIC + hashlib.sha256(body).digest() + body, keep)


def load(path):
    """({name: NumPy array}, settings) from `path`. Raises CheckpointError if it is damaged or something else,
    FileNotFoundError if there is none."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CheckpointError(f"{path}: does not begin with {MAGIC!r}: no tinyae checkpoint, or of another version")
        digest, body = file.read(32), file.read()
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path}: its checksum does not match: it is damaged or cut short")
    try:
        end = 8 + int.from_bytes(body[:8], "little")
        header = json.loads(body[8:end])
        arrays = {}
        for name, dtype, shape in header["arrays"]:
            if type(name) is not str or name in arrays or dtype not in DTYPES or any(type(n) is not int for n in shape):
                raise ValueError(f"array {name!r} of {dtype} {shape}")
            size = math.prod(shape) * host.dtype(dtype).itemsize
            if min(shape, default=0) < 0 or size > len(body) - end:  # before anything of that size is asked for
                raise ValueError(f"array {name!r} of {dtype} {shape} is longer than the file")
            arrays[name] = host.frombuffer(body[end:end + size], dtype).reshape(shape).copy()
            end += size
        if end != len(body) or type(header["settings"]) is not dict:
            raise ValueError("bytes left over, or no settings")
        return arrays, header["settings"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # a right checksum over a wrong content
        raise CheckpointError(f"{path}: its content makes no sense ({error})") from error


def load_latest(path, notice=print):
    """load(path), or the previous one if that is damaged, said through `notice`; None if there is no whole one."""
    for candidate, instead in ((Path(path), "trying the one before it"), (previous(Path(path)), "beginning anew")):
        try:
            return load(candidate)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            notice(f"{error}; {instead}.")
    return None


def save_weights(path, model):
    """Save model.state_dict() as a NumPy .npz, under PyTorch's names."""
    buffer = io.BytesIO()
    host.savez(buffer, **model.state_dict())
    write(path, buffer.getvalue())


def _read_npy(archive, name, most):
    """The array `name` of an open .npz, of at most `most` values. Its header may lie, and what is packed may unpack to
    more than memory holds, so no more is unpacked than such an array needs."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name}: packed in a way that NumPy does not use")
    with archive.open(info) as packed:
        file = io.BytesIO(packed.read(most * 8 + 10_000))
    if host.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name}: expected version 1.0 of the .npy format")
    shape, fortran, dtype = host.lib.format.read_array_header_1_0(file)
    return host.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def load_weights(path, model):
    """Load a .npz of state_dict names into `model`. Raises CheckpointError, and leaves the model as it was, if the file
    is damaged or its names or shapes are not the model's."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                names = {name.removesuffix(".npy") for name in archive.namelist()}
                names = {name for name in names if not name.endswith("num_batches_tracked")}
                sizes = {name: math.prod(p.data.shape) for name, p in model.named_parameters()}
                if names != sizes.keys():
                    raise ValueError(f"missing {sorted(sizes.keys() - names)}, unknown {sorted(names - sizes.keys())}")
                model.load_state_dict({name: _read_npy(archive, name, size) for name, size in sizes.items()})
        except Exception as error:  # of many kinds: zipfile, zlib and numpy each object to damage in their own ways
            raise CheckpointError(f"{path}: not the weights of this model ({error})") from error
