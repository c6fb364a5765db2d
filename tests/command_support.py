"""Model files, written and read as simply as can be, and the command under test."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

QDQ = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "qdq"
ENVIRONMENT = dict(os.environ, TERM="xterm", LC_ALL="C")
ENVIRONMENT.pop("NO_COLOR", None)
ENVIRONMENT.pop("QDQ_CPU_MASK", None)

# The system that the command is for; wine, where it is another than the tests', sees the tests' files.
WINDOWS = os.environ.get("QDQ_SYSTEM") == "Windows"
posix = unittest.skipIf(WINDOWS, "of POSIX: signals, pipes with names, modes, limits, terminals")


def run(*arguments, cwd=None, env=None, **options):
    return subprocess.run(
        [QDQ, *map(str, arguments)], cwd=cwd, env=env or ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=1800, **options)


# ---- Values ------------------------------------------------------------------------------------------------------


def f32(values):
    return struct.pack("<%df" % len(values), *values)


def f16(values):
    return struct.pack("<%de" % len(values), *values)


def bf16(values):
    """By truncation: any bf16 will do."""
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def floats(dtype, data):
    if dtype == "F32":
        return list(struct.unpack("<%df" % (len(data) // 4), data))
    if dtype == "F16":
        return list(struct.unpack("<%de" % (len(data) // 2), data))
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def gauss(seed, n, scale=1.0):
    generator = random.Random(seed)
    return [generator.gauss(0, scale) for _ in range(n)]


HIGH = bytes((b & 0x80) | 0x3C | (b & 1) for b in range(256))  # the byte that has most of a bf16's exponent


def random_bf16(seed, n):
    """Many weights, soon: bytes."""
    data = bytearray(random.Random(seed).randbytes(2 * n))
    data[1::2] = data[1::2].translate(HIGH)
    return bytes(data)


def count(shape):
    n = 1
    for extent in shape:
        n *= extent
    return n


# ---- Safetensors -------------------------------------------------------------------------------------------------


def safetensors_bytes(tensors, metadata=None):
    """tensors: name -> (dtype, shape, data)"""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return header_bytes(json.dumps(header)) + data


def header_bytes(text):
    text = text.encode()
    return struct.pack("<Q", len(text)) + text


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def read_safetensors(path):
    data = read(path)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", None)
    begin = 8 + length
    return {
        name: (t["dtype"], t["shape"], data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]])
        for name, t in header.items()
    }, metadata


# ---- GGUF --------------------------------------------------------------------------------------------------------

GGML_ID = {"F32": 0, "F16": 1, "BF16": 30, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8}
BLOCK = {0: (1, 4), 1: (1, 2), 27: (1, 8), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)}
U32, STRING, ARRAY, U64, U16, I32, FLOAT = 4, 8, 9, 10, 2, 5, 6


def gguf_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(gguf_value(element, v) for v in items)
    return struct.pack({U32: "<I", U64: "<Q", U16: "<H", I32: "<i", FLOAT: "<f"}[kind], value)


def gguf_bytes(tensors, metadata):
    """tensors: as above; metadata: [(key, kind, value)]"""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, value in metadata:
        head += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    data, offset = [], 0
    for name, (dtype, shape, raw) in tensors.items():
        head += gguf_string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", extent) for extent in reversed(shape))
        head += struct.pack("<IQ", GGML_ID[dtype], offset)
        data += [raw, b"\0" * (-len(raw) % 32)]
        offset += len(raw) + -len(raw) % 32
    return b"".join([head, b"\0" * (-len(head) % 32), *data])


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.number("I"), self.number("Q")
            return [self.value(element) for _ in range(n)]
        return self.number("BbHhIif?  Qqd"[kind] if kind < 8 else {10: "Q", 11: "q", 12: "d"}[kind])


def read_gguf(path):
    """-> name -> (ggml id, shape, data), key -> value"""
    r = Reader(read(path))
    assert r.data[:4] == b"GGUF"
    r.at = 4
    assert r.number("I") == 3
    n_tensors, n_metadata = r.number("Q"), r.number("Q")
    metadata, infos = {}, []
    for _ in range(n_metadata):
        key = r.string()
        metadata[key] = r.value(r.number("I"))
    for _ in range(n_tensors):
        name, n = r.string(), r.number("I")
        shape = [r.number("Q") for _ in range(n)][::-1]
        infos.append((name, shape, r.number("I"), r.number("Q")))
    begin = r.at + -r.at % metadata.get("general.alignment", 32)
    tensors = {}
    for name, shape, kind, offset in infos:
        block, size = BLOCK[kind]
        end = begin + offset + count(shape) // block * size
        tensors[name] = (kind, shape, r.data[begin + offset:end])
    return tensors, metadata


# ---- Formats, as ggml's dequantize_row_* defines them ------------------------------------------------------------


def dequantize(kind, data):
    """Products of an f16 and a small integer are exact in a float, and so in Python's."""
    out = []
    size = BLOCK[kind][1]
    for at in range(0, len(data), size):
        (d,) = struct.unpack_from("<e", data, at)
        if kind == GGML_ID["Q8_0"]:
            out += [q * d for q in struct.unpack_from("<32b", data, at + 2)]
        elif kind == GGML_ID["Q4_0"]:
            nibbles = data[at + 2:at + 18]
            out += [((b & 15) - 8) * d for b in nibbles] + [((b >> 4) - 8) * d for b in nibbles]
        else:
            raise ValueError(kind)
    return out


# ---- imatrix, the legacy layout ----------------------------------------------------------------------------------


def imatrix_bytes(entries):
    """entries: name -> (calls, weights); a file holds weight times calls."""
    data = struct.pack("<i", len(entries))
    for name, (calls, weights) in entries.items():
        raw = name.encode()
        data += struct.pack("<i", len(raw)) + raw + struct.pack("<ii", calls, len(weights)) + f32([w * calls for w in weights])
    return data + struct.pack("<ii", 7, 5) + b"words"


def imatrix_gguf_bytes(entries, chunk_size=512, datasets=("words",)):
    """Today's layout, as llama-imatrix writes it. entries: name -> (sums of each matrix, counts)"""
    most = max(max(counts) for _, counts in entries.values())
    keys = [("general.type", STRING, "imatrix"), ("imatrix.datasets", ARRAY, (STRING, list(datasets))),
            ("imatrix.chunk_count", U32, min(int(most) // chunk_size, 2 ** 32 - 1)), ("imatrix.chunk_size", U32, chunk_size)]
    tensors = {}
    for name, (sums, counts) in sorted(entries.items()):
        n = len(counts)
        assert len(sums) == n
        tensors[name + ".in_sum2"] = ("F32", [n, len(sums[0])] if n > 1 else [len(sums[0])], f32(sum(sums, [])))
        tensors[name + ".counts"] = ("F32", [n, 1] if n > 1 else [1], f32(counts))
    return gguf_bytes(tensors, keys)


# ---- Tests --------------------------------------------------------------------------------------------------------

N = 64 * 96


class CommandTest(unittest.TestCase):
    """Each test in a directory of its own, with model.safetensors and gradients.safetensors."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="qdq-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.tensors = {
            "a.weight": ("F32", [64, 96], f32(gauss(1, N))),
            "b.weight": ("F16", [32, 64], f16(gauss(2, 2048))),
            "c.weight": ("BF16", [2, 8, 128], bf16(gauss(3, 2048))),
            "norm.weight": ("F32", [64], f32(gauss(4, 64))),
            "odd.weight": ("F32", [4, 33], f32(gauss(5, 132))),
            "steps": ("I64", [2, 32], struct.pack("<64q", *range(64))),
            "empty": ("F32", [0, 32], b""),
        }
        self.metadata = {"format": "pt", "note": "ünï"}
        self.model = self.put("model.safetensors", safetensors_bytes(self.tensors, self.metadata))
        self.gradients = self.put("gradients.safetensors", safetensors_bytes({
            "a.weight": ("F32", [64, 96], f32(gauss(11, N, 0.01))),
            "c.weight": ("F16", [2, 8, 128], f16(gauss(13, 2048, 0.01))),
        }))
        self.skipped = ["norm.weight", "odd.weight", "steps", "empty"]

    def put(self, name, data):
        return write(os.path.join(self.directory, name), data)

    def path(self, name):
        return os.path.join(self.directory, name)

    def files(self):
        return sorted(os.listdir(self.directory))

    def qdq(self, *arguments, **options):
        return run(*arguments, cwd=self.directory, **options)

    def done(self, *arguments, **options):
        result = self.qdq(*arguments, **options)
        self.assertEqual((result.returncode, result.stderr), (0, ""), arguments)
        return result.stdout

    def json(self, *arguments, **options):
        def refuse(constant):
            raise AssertionError(constant)
        return json.loads(self.done(*arguments, "--json", "-", **options), parse_constant=refuse)

    def fails(self, status, patterns, *arguments, **options):
        """The exit status; each pattern in the message; nothing on standard output, no file more than before."""
        before = {name: read(self.path(name)) for name in self.files() if os.path.isfile(self.path(name))}
        names = self.files()
        result = self.qdq(*arguments, **options)
        self.assertEqual(result.returncode, status, (arguments, result.stderr))
        self.assertEqual(result.stdout, "", arguments)
        self.assertTrue(result.stderr.startswith("qdq: "), result.stderr)
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            self.assertRegex(result.stderr, pattern)
        self.assertEqual(self.files(), names, arguments)
        for name, data in before.items():
            self.assertEqual(read(self.path(name)), data, name)
