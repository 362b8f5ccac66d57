"""Damaged .npz files, and some made to harm: what no reader here may fall for."""

import io
import pickle
import zipfile

from hypothesis import strategies as st


@st.composite
def mutated(draw, data):
    """`data` with a few bytes changed, then perhaps cut, or something put in."""
    data = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    i = draw(st.integers(0, len(data)))
    return draw(
        st.sampled_from(
            [
                bytes(data),
                bytes(data[:i]),
                bytes(data[:i]) + draw(st.binary()) + bytes(data[i:]),
            ]
        )
    )


def npy(shape, values=b"\0" * 24, descr="'<f4'"):
    """An .npy file whose header says `shape`, whatever it holds."""
    header = (
        f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    )
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + values


def archive(members, compression=zipfile.ZIP_DEFLATED):
    """An .npz of {name: bytes of an .npy}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in members.items():
            out.writestr(f"{name}.npy", data)
    return file.getvalue()


class Trap:
    sprung = False

    def __reduce__(self):
        return exec, ("import harmful; harmful.Trap.sprung = True",)


def pickled():
    return npy("(3, 2)", pickle.dumps(Trap()), "'|O'")


HARMFUL = {
    "huge": npy("(1000000000000,)"),
    "too huge": npy(f"({2**62}, {2**62})"),
    "nothing of it": npy("(0, 9)"),
    "another shape": npy("(2, 3)"),
    "fewer values": npy("(3, 2)", b"\0" * 20),
    "more values": npy("(3, 2)", b"\0" * 28),
    "integers": npy("(3, 2)", descr="'<i4'"),
    "strings": npy("(3, 2)", descr="'<U1'"),
    "fields": npy("(3, 2)", descr="[('a', '<f4')]"),
    "objects": pickled(),
    "no type": npy("(3, 2)", descr="'nonsense'"),
    "negative": npy("(-3, -2)"),
    "no header": b"\x93NUMPY\x01\0\xff\xff",
    "code": npy("__import__('os').abort()"),
    "deep": npy("(" * 3000),
    "version 2": npy("(3, 2)").replace(b"NUMPY\x01", b"NUMPY\x02"),
    "empty": b"",
}
