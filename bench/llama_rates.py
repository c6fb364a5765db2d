#!/usr/bin/env python3
"""Times the whole command beside llama-quantize's, which must make the same file.

    bench/llama_rates.py LLAMA_QUANTIZE QDQ [--model dense|experts|fp8] [--layers N] [--types Q4_K_M,IQ3_M] [--runs 3]

The model is made up, in BF16, with layers of real shapes: `dense` has 61 million weights a layer and 131 of embeddings,
`experts` 64 small experts and 308 million a layer. `fp8` is a checkpoint of E4M3 with scales of 128 x 128: llama-quantize
cannot read that, so qdq is set beside `cat` of the same files. Both commands run in turn, with so many threads each; what
counts is the least processor time, user and system, and the least wall time, of each. TMPDIR should be in memory."""

import argparse
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]
from llama_presets import digest, elements, write_model  # noqa: E402
from preset_models import RMS, Builder  # noqa: E402


def dense(layers):
    m = Builder("llama", layers, 2048, 16, 4, 8192, **RMS)
    for i in range(layers):
        m.attention(i)
        m.dense(i)
    m.add("token_embd.weight", 32000, 2048)
    m.add("output.weight", 32000, 2048)
    m.add("output_norm.weight", 2048)
    return m.done()


def experts(layers):
    m = Builder("qwen3moe", layers, 2048, 16, 4, 768, expert_count=64, expert_used_count=8,
                expert_feed_forward_length=768, **RMS)
    for i in range(layers):
        m.attention(i)
        m.experts(i, 64)
    m.add("token_embd.weight", 8192, 2048)
    m.add("output.weight", 8192, 2048)
    m.add("output_norm.weight", 2048)
    return m.done()


def floats():
    """A million BF16, Gaussian, with a few far out."""
    generator = random.Random(1)
    values = [generator.gauss(0, 0.03) * (8 if generator.random() < 0.002 else 1) for _ in range(1 << 20)]
    raw = struct.pack("<%df" % len(values), *values)
    return b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))


def filled(block, size):
    return block * (size // len(block)) + block[:size % len(block)]


def write_fp8(directory, tensors):
    """A checkpoint of E4M3: those tensors, with scales."""
    generator = random.Random(2)
    codes = bytes(c + (c % 128 == 127) for c in (generator.randrange(255) for _ in range(1 << 20)))
    header, data, at = {}, [], 0

    def put(name, dtype, shape, raw):
        nonlocal at
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    for name, shape in tensors.items():
        if len(shape) == 2:
            blocks = [-(-n // 128) for n in shape]
            put(name + "_scale_inv", "F32", blocks, filled(struct.pack("<2f", 1e-3, 2e-3), 4 * elements(blocks)))
            put(name, "F8_E4M3", shape, filled(codes, elements(shape)))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(data)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, file)


def timed(*command):
    """Seconds on the clock, and of processors."""
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    wall, cpu = time.monotonic(), used()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        sys.exit("%s: %s" % (" ".join(map(str, command)), done.stderr.strip()[-500:]))
    return time.monotonic() - wall, used() - cpu


def least(runs, *commands):
    """Of each command, the least of both times."""
    times = [[] for _ in commands]
    for _ in range(runs):
        for command, of in zip(commands, times):
            of.append(timed(*command))
    return [tuple(min(t[i] for t in of) for i in (0, 1)) for of in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_quantize")
    parser.add_argument("qdq")
    parser.add_argument("--model", choices=("dense", "experts", "fp8"), default="dense")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--types", default="Q4_K_M")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    metadata, tensors = experts(a.layers) if a.model == "experts" else dense(a.layers)
    with tempfile.TemporaryDirectory() as directory:
        source, theirs, ours = (os.path.join(directory, name) for name in ("m.gguf", "l.gguf", "q.gguf"))
        weights = sum(elements(shape) for shape in tensors.values() if len(shape) > 1) / 1e6
        if a.model == "fp8":
            write_fp8(directory, tensors)
            checkpoint = os.path.join(directory, "model.safetensors")
            for type_ in a.types.split(","):
                cat, qdq = least(a.runs, ("cat", checkpoint), (a.qdq, "quantize", "-d", "cpu", "--threads", a.threads, "--quiet",
                                                               "-f", type_, directory, "-o", ours))
                print("fp8, %.0f million weights, %s: qdq %.2f s (%.2f of processors), cat %.2f s" % (weights, type_, *qdq, cat[0]))
            return
        block = floats()
        write_model(source, metadata, tensors, lambda name, n, kind: filled(block, 2 * n) if kind else b"\0\0\x80\x3f" * n, dtype=30)
        for type_ in a.types.split(","):
            llama, qdq = least(a.runs, (a.llama_quantize, source, theirs, type_, a.threads),
                               (a.qdq, "quantize", "-d", "cpu", "--quiet", source, ours, type_, a.threads))
            print("%s, %.0f million weights, %s: %s; llama-quantize %.2f s (%.2f of processors), qdq %.2f s (%.2f); %.1f x (%.1f x)" %
                  (a.model, weights, type_, "equal files" if digest(ours) == digest(theirs) else "the files DIFFER", *llama, *qdq,
                   llama[0] / qdq[0], llama[1] / qdq[1]), flush=True)


if __name__ == "__main__":
    main()
