"""Compares qdq quantize with llama-quantize, byte for byte, and their rates.

    python3 bench/llama_quantize.py --llama DIRECTORY [--qdq build/qdq] [--formats q4_K,q6_K] [--rate q4_K --mib 512]

DIRECTORY holds libllama.so and the libraries that it needs, of a build for x86-64 with GGML_NATIVE=OFF; what runs is its
llama_model_quantize(), with the importances that llama-quantize would read. Models are made up: dense ones in F32, F16 and
BF16, with rows that fall back, and mixtures of experts, one of which was never used. Each format is made of each model,
with and without an importance matrix. The parameters' layout is that of llama.cpp of August 2026.
"""

import argparse
import array
import ctypes
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
import command_support as support

# general.file_type of the presets that have each format for their base. mxfp4 and nvfp4 come as --tensor-type instead:
# the one preset is a mixture, the other has none.
PRESETS = {"f32": 0, "f16": 1, "bf16": 32, "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7, "q2_K": 10, "q3_K": 11,
           "q4_K": 14, "q5_K": 16, "q6_K": 18, "iq4_nl": 25, "iq4_xs": 30, "iq3_s": 26, "iq3_xxs": 23, "iq2_xxs": 19,
           "iq2_xs": 20, "iq2_s": 29, "iq1_s": 24, "iq1_m": 31, "tq1_0": 36, "tq2_0": 37, "q1_0": 40, "q2_0": 41}
NEED_IMATRIX = {"iq3_xxs", "iq2_xxs", "iq2_xs", "iq2_s", "iq1_s", "iq1_m"}
FLOATS = {"f32": 0, "f16": 1, "bf16": 30}


# ---- The library -------------------------------------------------------------------------------------------------


class Parameters(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
                ("token_embedding_type", ctypes.c_int)] + [
                    (name, ctypes.c_bool) for name in ["allow_requantize", "quantize_output_tensor", "only_copy", "pure",
                                                       "keep_split", "dry_run"]] + [
                    (name, ctypes.c_void_p) for name in ["imatrix", "kv_overrides", "tt_overrides", "prune_layers"]] + [
                    ("max_buf_size", ctypes.c_size_t)]


class Importance(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("type", ctypes.c_int)]


class Llama:
    def __init__(self, directory):
        for name in ["libggml-base.so", "libggml-cpu.so", "libggml.so"]:
            ctypes.CDLL(os.path.join(directory, name), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(os.path.join(directory, "libllama.so"))
        self.library.llama_model_quantize_default_params.restype = Parameters
        self.library.llama_model_quantize.restype = ctypes.c_uint32
        self.messages = []
        self.keep = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda level, text, data: self.messages.append(text.decode(errors="replace")))
        self.library.llama_log_set(self.keep, None)
        self.library.llama_backend_init()
        p = self.library.llama_model_quantize_default_params()
        if p.output_tensor_type != p.token_embedding_type or not p.quantize_output_tensor or p.imatrix or p.tt_overrides:
            sys.exit("%s: its parameters have another layout" % directory)

    def quantize(self, source, target, file_type, threads, importance=(), overrides=()):
        p = self.library.llama_model_quantize_default_params()
        p.nthread, p.ftype, p.pure = threads, file_type, True
        entries = (Importance * (len(importance) + 1))()
        for entry, (name, values) in zip(entries, importance):
            data = (ctypes.c_float * len(values)).from_buffer(values)
            entry.name, entry.data, entry.size = name.encode(), ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), len(values)
        types = (Override * (len(overrides) + 1))()
        for override, (pattern, kind) in zip(types, overrides):
            override.pattern, override.type = pattern.encode(), kind
        p.imatrix = ctypes.addressof(entries) if importance else None
        p.tt_overrides = ctypes.addressof(types) if overrides else None
        self.messages.clear()
        if self.library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(p)) != 0:
            sys.exit("llama_model_quantize failed: " + "".join(self.messages[-5:]))


# ---- Models ------------------------------------------------------------------------------------------------------

PERIOD = 65521


def weights(dtype, shape, shift):
    """Bell-shaped, a few far out, a few zeros; rows begin elsewhere in the period."""
    n = support.count(shape)
    size = len(PATTERN[dtype]) // PERIOD
    start = shift * 7919 % PERIOD * size
    return (PATTERN[dtype] * (n // PERIOD + 2))[start:start + n * size]


def make_pattern():
    generator = random.Random(1)
    values = [generator.gauss(0, 0.02) * (30 if generator.random() < 0.002 else 1) for _ in range(PERIOD)]
    for i in range(0, PERIOD, 997):
        values[i] = 0.0
    return {"F32": support.f32(values), "F16": support.f16(values), "BF16": support.bf16(values)}


def shapes_of(width, hidden, vocabulary, layers, experts, odd_rows):
    shapes = {"token_embd.weight": [vocabulary, width], "output_norm.weight": [width], "output.weight": [vocabulary, width]}
    for i in range(layers):
        block = "blk.%d." % i
        shapes[block + "attn_norm.weight"] = [width]
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            shapes[block + name + ".weight"] = [width, width]
        if experts > 0:
            shapes[block + "ffn_gate_inp.weight"] = [experts, width]
        for name, shape in [("gate", [hidden, width]), ("up", [hidden, width]), ("down", [width, hidden])]:
            shapes[block + "ffn_%s%s.weight" % (name, "_exps" if experts else "")] = ([experts] if experts else []) + shape
    if odd_rows:
        shapes.update({"blk.0.attn_a.weight": [64, 288], "blk.0.attn_b.weight": [64, 96]})
    return shapes


def write_model(path, dtype, shapes, width, hidden, layers, experts):
    tensors = {}
    for i, (name, shape) in enumerate(shapes.items()):
        own = dtype if len(shape) > 1 else "F32"
        tensors[name] = (own, shape, weights(own, shape, i))
    u32 = lambda key, value: ("llama." + key, support.U32, value)
    metadata = [("general.architecture", support.STRING, "llama"), u32("context_length", 512), u32("block_count", layers),
                u32("embedding_length", width), u32("feed_forward_length", hidden), u32("attention.head_count", 8),
                ("llama.attention.layer_norm_rms_epsilon", support.FLOAT, 1e-5)]
    if experts > 0:
        metadata += [u32("expert_count", experts), u32("expert_used_count", 2)]
    support.write(path, support.gguf_bytes(tensors, metadata))


def write_importance(path, shapes):
    """-> [(name, weights)], as llama-quantize computes them"""
    generator, tensors, result = random.Random(2), {}, []
    for name, shape in shapes.items():
        if len(shape) < 2 or not name.startswith("blk."):
            continue
        matrices = shape[0] if len(shape) > 2 else 1
        sums = array.array("f", [generator.expovariate(1) * 10 ** generator.uniform(-2, 4) for _ in range(matrices * shape[-1])])
        counts = array.array("f", [float(generator.randrange(1, 400)) for _ in range(matrices)])
        if matrices > 1:
            counts[1] = 0.0
        tensors[name + ".in_sum2"] = ("F32", [matrices, shape[-1]], sums.tobytes())
        tensors[name + ".counts"] = ("F32", [matrices, 1], counts.tobytes())
        # The quotient of two floats, rounded to double and then to float, is rounded as at once.
        result.append((name, array.array("f", [s / counts[i // shape[-1]] if counts[i // shape[-1]] > 0 else 1.0
                                               for i, s in enumerate(sums)])))
    support.write(path, support.gguf_bytes(tensors, [
        ("general.type", support.STRING, "imatrix"), ("imatrix.datasets", support.ARRAY, (support.STRING, ["none"])),
        ("imatrix.chunk_count", support.U32, 1), ("imatrix.chunk_size", support.U32, 512)]))
    return result


# ---- Comparing ---------------------------------------------------------------------------------------------------


def qdq(program, base, overrides, threads, source, target, imatrix=None):
    words = [program, "quantize", "-f", base, "-d", "cpu", "--threads", str(threads), "--quiet", source, "-o", target]
    for pattern, name in overrides:
        words += ["--tensor-type", "%s=%s" % (pattern, name)]
    subprocess.run(words + (["--imatrix", imatrix] if imatrix else []), check=True)


def arguments_of(name):
    """The base, and overrides where llama-quantize cannot make the format, or cannot make it of these tensors."""
    overrides = []
    if name in ["iq2_xxs", "iq2_xs", "iq1_s"]:
        overrides.append(("^token_embd|^output", "q4_K"))  # in no importance matrix
    if name in ["q1_0", "nvfp4"]:
        overrides.append(("attn_[ab]", "q8_0"))  # no fallback
    if name in ["mxfp4", "nvfp4"]:
        return "q8_0", overrides + [(".", name)]
    return name, overrides


def differences(one, other):
    a, b = support.read_gguf(one), support.read_gguf(other)
    result = [name for name in sorted(set(a[0]) | set(b[0])) if a[0].get(name) != b[0].get(name)]
    return result + [k for k in ["general.file_type", "general.quantization_version"] if a[1].get(k) != b[1].get(k)]


def compare(llama, program, names, types, directory):
    path = lambda name: os.path.join(directory, name)
    models = []
    for dtype, experts in [("F32", 0), ("F16", 0), ("BF16", 0), ("F32", 4), ("BF16", 4)]:
        shapes = shapes_of(512, 1024 if experts == 0 else 256, 256, 2, experts, experts == 0)
        model = path("%s-%d.gguf" % (dtype, experts))
        write_model(model, dtype, shapes, 512, 1024, 2, experts)
        models.append((model, model + ".imatrix", write_importance(model + ".imatrix", shapes)))
    failed = 0
    for name in names:
        base, overrides = arguments_of(name)
        different, made = [], 0
        for model, imatrix, importance in models:
            for weighted in [False, True]:
                if (weighted and name in FLOATS) or (not weighted and name in NEED_IMATRIX):
                    continue
                llama.quantize(model, path("llama.gguf"), PRESETS[base], 2, importance if weighted else (),
                               [(pattern, types[kind]) for pattern, kind in overrides])
                qdq(program, base, overrides, 2, model, path("qdq.gguf"), imatrix if weighted else None)
                found = differences(path("llama.gguf"), path("qdq.gguf"))
                made += 1
                if found:
                    different.append("%s%s: %s" % (os.path.basename(model), ", imatrix" if weighted else "", found[0]))
        failed += len(different)
        print("%-8s %d of %d files equal%s" % (name, made - len(different), made, "".join("\n    " + d for d in different)))
    return failed


def processor_seconds():
    """Of this process and those that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN])


def measure(llama, program, name, mib, threads, runs, directory):
    path = lambda file: os.path.join(directory, file)
    width, hidden = 2048, 5632
    layers = max(1, mib * 2**20 // (2 * (4 * width * width + 3 * width * hidden)))
    write_model(path("large.gguf"), "BF16", shapes_of(width, hidden, 4096, layers, 0, False), width, hidden, layers, 0)
    ratios = []
    for _ in range(runs):
        began, spent = time.monotonic(), processor_seconds()
        llama.quantize(path("large.gguf"), path("llama.gguf"), PRESETS[name], threads)
        theirs, their_processor = time.monotonic() - began, processor_seconds() - spent
        began, spent = time.monotonic(), processor_seconds()
        qdq(program, name, [], threads, path("large.gguf"), path("qdq.gguf"))
        ours, our_processor = time.monotonic() - began, processor_seconds() - spent
        ratios.append(theirs / ours)
        print("%s, %d MiB of BF16, %d threads: llama-quantize %.2f s (processor %.2f s), qdq %.2f s (%.2f s): %.1f x" % (
            name, os.path.getsize(path("large.gguf")) >> 20, threads, theirs, their_processor, ours, our_processor,
            theirs / ours))
    print("median %.1f x; the files are %s" % (
        statistics.median(ratios), "equal" if not differences(path("llama.gguf"), path("qdq.gguf")) else "different"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--qdq", default="build/qdq")
    parser.add_argument("--formats")
    parser.add_argument("--rate", metavar="FORMAT")
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    program = os.path.abspath(options.qdq)
    rows = json.loads(subprocess.run([program, "formats", "--json", "-"], check=True, capture_output=True).stdout)["formats"]
    types = dict({row["name"]: row["ggml_type"] for row in rows}, **FLOATS)
    support.BLOCK.update({row["ggml_type"]: (row["block_elements"], row["block_bytes"]) for row in rows})
    llama = Llama(os.path.abspath(options.llama))
    with tempfile.TemporaryDirectory() as directory:
        if options.rate:
            measure(llama, program, options.rate, options.mib, options.threads, options.runs, directory)
            return 0
        names = options.formats.split(",") if options.formats else list(types)
        return 1 if compare(llama, program, names, types, directory) else 0


PATTERN = make_pattern()
if __name__ == "__main__":
    sys.exit(main())
