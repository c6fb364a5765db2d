#!/usr/bin/env python3
"""Compares `qdq quantize` with llama-quantize, preset by preset, and records which types llama-quantize chooses.

    bench/llama_presets.py LLAMA_QUANTIZE --record VERSION     writes tests/data/presets.txt
    bench/llama_presets.py LLAMA_QUANTIZE QDQ [MODEL...]       whole files, by SHA-256

The models are those of tests/preset_models.py; the files are compared with and without importance matrix, and for some
of llama-quantize's options. VERSION says which llama.cpp it is. LLAMA_QUANTIZE must be built without contraction (for
x86-64 without FMA), as docs/exactness.md has it."""

import argparse
import hashlib
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from preset_models import ARRAY, BOOL, FLOAT, I32, MODELS, PRESETS, STRING, U16, U32  # noqa: E402

DATA = os.path.join(ROOT, "tests", "data", "presets.txt")


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_bytes(kind, value):
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(value_bytes(element, item) for item in items)
    return struct.pack({U16: "<H", U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def elements(shape):
    n = 1
    for extent in shape:
        n *= extent
    return n


def write_model(path, metadata, tensors, data=None, dtype=0):
    """data: name, elements -> bytes of the type; None leaves holes. Tensors of one dimension are F32."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, kind, value in metadata:
        head += text(key) + struct.pack("<I", kind) + value_bytes(kind, value)
    at, places = 0, []
    for name, shape in tensors.items():
        kind = dtype if len(shape) > 1 else 0
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", kind, at)
        places.append((name, elements(shape), kind, at))
        at += -(-elements(shape) * (4 if kind == 0 else 2) // 32) * 32
    start = -(-len(head) // 32) * 32
    with open(path, "wb") as file:
        file.write(head)
        for name, n, kind, offset in places if data else []:
            file.seek(start + offset)
            file.write(data(name, n, kind))
        file.truncate(start + at)


def write_imatrix(path, entries, chunks=7):
    """llama-imatrix's legacy layout."""
    with open(path, "wb") as file:
        file.write(struct.pack("<i", len(entries)))
        for name, weights in entries.items():
            raw = name.encode()
            file.write(struct.pack("<i", len(raw)) + raw + struct.pack("<ii", chunks, len(weights)))
            file.write(struct.pack("<%df" % len(weights), *(w * chunks for w in weights)))
        raw = b"words.txt"
        file.write(struct.pack("<ii", chunks, len(raw)) + raw)


def llama(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, errors="replace")


# ---- Types ---------------------------------------------------------------------------------------------------------


def planned_types(program, model, preset, *options):
    """name -> type ("-": as it was), or the error, by --dry-run"""
    done = llama(program, *options, "--dry-run", model, preset)
    if done.returncode != 0:
        found = re.search(r"failed to quantize: (.*)", done.stderr)
        return "stops: " + (found.group(1) if found else "exit status %d" % done.returncode)
    types = {}
    for name, rest in re.findall(r"\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = +\S+, (?:.*?)(size = .*)", done.stderr):
        found = re.search(r"-> .*\((\S+)\)", rest)
        types[name] = found.group(1) if found else "-"
    return types


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def runs(letters):
    """aaab -> a3b"""
    return re.sub(r"(.)\1+", lambda m: m.group(1) + str(len(m.group(0))), letters)


def in_order(names):
    """As llama-quantize writes them: those of no layer first, then layer by layer, by name."""
    def key(name):
        layer = re.match(r"blk\.(\d+)\.", name)
        return (int(layer.group(1)) if layer else -1, name.encode())
    return sorted(names, key=key)


def record(program, version):
    codes = {"-": "-"}
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        matrix = os.path.join(directory, "i.dat")
        write_imatrix(matrix, {"none": [1.0]})
        for name, make in MODELS.items():
            metadata, tensors = make()
            path = os.path.join(directory, name + ".gguf")
            write_model(path, metadata, tensors)
            lines.append("model " + name)
            for preset in PRESETS:
                rows = []
                for options in ((), ("--imatrix", matrix)):
                    types = planned_types(program, path, preset, *options)
                    if isinstance(types, dict):
                        assert list(types) == in_order(tensors), (name, preset)
                        types = runs("".join(codes.setdefault(t, LETTERS[len(codes) - 1]) for t in types.values()))
                    rows.append(types)
                if rows[0] == rows[1]:
                    lines.append("%s both %s" % (preset, rows[0]))
                else:
                    lines += ["%s plain %s" % (preset, rows[0]), "%s matrix %s" % (preset, rows[1])]
    head = ["# The types that llama-quantize (%s) gives the tensors of tests/preset_models.py," % version,
            "# without importance matrix, with one, or both. Written by bench/llama_presets.py. A letter for each tensor in",
            "# llama-quantize's order; - stays as it is; a number repeats the letter before it.",
            "types " + " ".join("%s=%s" % (letter, name) for name, letter in codes.items() if name != "-")]
    with open(DATA, "w") as file:
        file.write("\n".join(head + lines) + "\n")


# ---- Files ---------------------------------------------------------------------------------------------------------


def weights(name, n, kind):
    """Gaussian, with a few far out."""
    generator = random.Random(name)
    values = [generator.gauss(0, 0.03) * (8 if generator.random() < 0.002 else 1) for _ in range(min(n, 1 << 16))]
    values = (values * (n // len(values) + 1))[:n]
    raw = struct.pack("<%df" % n, *values)
    return raw if kind == 0 else b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))


def importance(tensors):
    entries = {}
    for name, shape in tensors.items():
        if len(shape) < 2:
            continue
        generator = random.Random("importance of " + name)
        n = shape[-1] * (shape[0] if len(shape) == 3 else 1)
        entries[name] = [generator.uniform(0.01, 4) for _ in range(n)]
    return entries


def thinned(tensors):
    """Eight rows of each matrix, of stacks all matrices: neither a rule nor a row's bytes depend on how many there are, and
    llama-quantize takes minutes for some types."""
    return {name: shape if len(shape) < 2 else [*shape[:-2], min(shape[-2], 8), shape[-1]]
            for name, shape in tensors.items()}


def digest(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def option_lines(matrix):
    """Command lines beyond presets: (options, type)."""
    weighted = ["--imatrix", matrix]
    for preset in ("Q4_K_M", "IQ3_M", "F16"):
        yield ["--pure"], preset
        yield ["--leave-output-tensor"], preset
        yield ["--output-tensor-type", "Q5_K"], preset
        yield ["--token-embedding-type", "q8_0"], preset
        yield ["--output-tensor-type", "f16", "--token-embedding-type", "IQ4_NL"], preset
        yield ["--prune-layers", "1,3,4"], preset
        yield ["--prune-layers", "3,1", *weighted], preset
        yield ["--override-kv", "general.name=str:other", "--override-kv", "general.file_type=int:-7", "--override-kv",
               "x.y=float:0.1", "--override-kv", "x.z=bool:true"], preset
    for preset in ("Q4_K_M", "q4_k", "15", "IQ2_M"):
        yield ["--tensor-type", "attn_v=q5_K", "--tensor-type", "FFN_down=q6_k", *weighted], preset
        yield ["--tensor-type", "blk\\.(1|2)\\.=q8_0", "--pure", *weighted], preset
        yield [*weighted, "--include-weights", "ffn_", "--include-weights", "attn_"], preset
        yield [*weighted, "--exclude-weights", "token_embd", "--exclude-weights", "output.weight"], preset
        yield ["--override-kv", "ARCHITECTURE.expert_count=int:8", "--override-kv",
               "ARCHITECTURE.expert_used_count=int:2", *weighted], preset
        yield ["--override-kv", "ARCHITECTURE.attention.head_count_kv=int:1", *weighted], preset


def compare(program, qdq, directory, name, path, options, preset):
    """"equal", "refused" by both, "differs", which is told, or "aborted", where an assertion of llama.cpp fails."""
    ours, theirs = os.path.join(directory, "q.gguf"), os.path.join(directory, "l.gguf")
    for file in (ours, theirs):
        if os.path.exists(file):
            os.remove(file)
    there = llama(program, *options, path, theirs, preset, 2)
    if there.returncode < 0:
        return "aborted"
    here = llama(qdq, "quantize", *options, "--quiet", "-d", "cpu", path, ours, preset, 2)
    # llama-quantize leaves a part of the file where it stops
    expected = digest(theirs) if there.returncode == 0 else None
    if expected == digest(ours):
        return "refused" if expected is None else "equal"
    why = re.search(r"failed to quantize: (.*)", there.stderr)
    print("%s %s %s: %s" % (name, preset, " ".join(options),
                            "files differ" if expected and digest(ours) else
                            "llama-quantize stops (%s), qdq does not" % (why and why.group(1)) if digest(ours) else
                            here.stderr.strip()), flush=True)
    return "differs"


def compare_shards(program, qdq, directory, name, metadata, tensors):
    """A split set of three, each file of it."""
    names = list(tensors)
    parts = [names[i::3] for i in range(3)]
    for i, part in enumerate(parts):
        split = [("split.no", U16, i), ("split.count", U16, 3), ("split.tensors.count", I32, len(names))]
        write_model(os.path.join(directory, "s-0000%d-of-00003.gguf" % (i + 1)), (metadata if i == 0 else []) + split,
                    {tensor: tensors[tensor] for tensor in part}, weights, dtype=30)
    results = []
    for options in ([], ["--prune-layers", "1,3"]):
        source, type_ = os.path.join(directory, "s-00001-of-00003.gguf"), "Q4_K_M"
        llama(program, "--keep-split", *options, source, os.path.join(directory, "l.gguf"), type_, 2)
        llama(qdq, "quantize", "--keep-split", *options, "-d", "cpu", source, os.path.join(directory, "q.gguf"), type_, 2)
        for i in range(3):
            ours, theirs = (digest(os.path.join(directory, "%s-0000%d-of-00003.gguf" % (who, i + 1))) for who in "ql")
            results.append("equal" if ours and ours == theirs else "differs")
            if results[-1] == "differs":
                print("%s --keep-split %s: file %d differs" % (name, " ".join(options), i + 1), flush=True)
    for file in os.listdir(directory):
        if file[1:3] == "-0":
            os.remove(os.path.join(directory, file))
    return results


def compare_files(program, qdq, names):
    differ = 0
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            metadata, tensors = MODELS[name](9) if MODELS[name].__defaults__ else MODELS[name]()
            tensors = thinned(tensors)
            path, matrix = os.path.join(directory, name + ".gguf"), os.path.join(directory, name + ".dat")
            write_model(path, metadata, tensors, weights, dtype=30)
            write_imatrix(matrix, importance(tensors))
            lines = [(options, preset) for options in ([], ["--imatrix", matrix]) for preset in PRESETS + ["COPY"]]
            lines += [([option.replace("ARCHITECTURE", metadata[0][2]) for option in options], preset)
                      for options, preset in option_lines(matrix)]
            results = [compare(program, qdq, directory, name, path, *line) for line in lines]
            results += compare_shards(program, qdq, directory, name, metadata, tensors)
            print("%s: %d files equal, %d refused by both, %d differ, %d where llama-quantize aborts" %
                  (name, *map(results.count, ("equal", "refused", "differs", "aborted"))), flush=True)
            differ += results.count("differs")
            os.remove(path)
    return differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_quantize")
    parser.add_argument("qdq", nargs="?")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--record", metavar="VERSION")
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.llama_quantize, arguments.record)
        return 0
    if not arguments.qdq:
        parser.error("which qdq?")
    return min(compare_files(arguments.llama_quantize, arguments.qdq, arguments.models or list(MODELS)), 1)


if __name__ == "__main__":
    sys.exit(main())
