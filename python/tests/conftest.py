"""What the tests share: inputs that find differences, and the C library called plainly."""

import pytest

import qdq
from qdq import _command, _formats
from qdq._library import check, lib

np = pytest.importorskip("numpy")

BLOCK_OF_ALL = 256
NAMES = [f.name for f in qdq.formats()]
WITHOUT_IMPORTANCE = [f.name for f in qdq.formats() if f.importance != "needed"]


def command():
    try:
        return _command.path()
    except OSError:
        return None


needs_command = pytest.mark.skipif(command() is None, reason="the command qdq is not there")


def weights(rows, columns, seed=0):
    """Normal weights of very different scales, with zeros, ties, subnormals and equal blocks among them; float32."""
    generator = np.random.default_rng(seed)
    w = generator.standard_normal((rows, columns)) * 10.0 ** generator.integers(-6, 3, (rows, 1))
    w = w.astype("float32")
    w[0, :32] = 0
    w[-1, -32:] = np.float32(1e-41)
    w[rows // 2, 32:48] = 0.5
    w[rows // 2, 48:64] = -0.5
    return w


def importance_of(columns, seed=1):
    return np.random.default_rng(seed).gamma(0.5, 2.0, columns).astype("float32") + np.float32(1e-3)


def bits(array):
    """The bits of an array of numpy, for comparison."""
    return np.ascontiguousarray(array).view("uint8")


def plainly(name, w, call=None):
    """Quantized blocks and round trip of float32 rows without importance, by the C library's plain calls a row."""
    number, columns = _formats.number_of(name), w.shape[-1]
    rows = np.ascontiguousarray(w, dtype="float32").reshape(-1, columns)
    blocks = np.zeros((len(rows), qdq.format(name).row_bytes(columns)), "uint8")
    values = np.zeros_like(rows)
    for k in range(len(rows)):
        check(lib.qdq_quantize(number, rows[k].ctypes.data, blocks[k].ctypes.data, columns))
        check(lib.qdq_roundtrip(number, rows[k].ctypes.data, values[k].ctypes.data, columns))
    return blocks.reshape(*w.shape[:-1], -1), values.reshape(w.shape)


def to_bf16(w):
    """Rounded to bfloat16, as uint16 bits: to nearest, ties to even; finite values only."""
    bits32 = np.ascontiguousarray(w, "float32").view("uint32").astype("uint64")
    return ((bits32 + 0x7FFF + ((bits32 >> 16) & 1)) >> 16).astype("uint16")


def from_bf16(b):
    return (b.astype("uint32") << 16).view("float32")
