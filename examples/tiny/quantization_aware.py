#!/usr/bin/env python3
"""Train the example for a format, and show what that is worth: the KL divergence from the source's outputs on held-out
text, after plain quantization and after quantization-aware training, and that the trained bytes are the shipped ones.

The student computes with the exact round trips (qdq.torch.prepare) and learns the source's output distribution. Its
float32 weights are then quantized by `qdq quantize`, and every packed byte is compared with what training had.
"""

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import qdq
import qdq.torch as qt
import torch
from torch.nn import functional as F

import corpus
from model import HERE, load, save

BATCH = 8


def log_probabilities(model, tokens):
    return F.log_softmax(model(tokens), dim=-1).flatten(0, 1)


def divergence(source, model, tokens):
    """KL(source || model) in nats, the mean over all positions."""
    with torch.no_grad():
        target = log_probabilities(source, tokens)
    return F.kl_div(log_probabilities(model, tokens), target, log_target=True, reduction="batchmean")


@torch.no_grad()
def measure(source, model, held_out):
    """Divergence and loss on the held-out windows, nats per byte."""
    parts = held_out.split(16)
    kl = sum(divergence(source, model, part[:, :-1]).item() * len(part) for part in parts)
    loss = sum(
        F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten()).item() * len(part) for part in parts
    )
    return kl / len(held_out), loss / len(held_out)


def train(source, model, tokens, steps, rate):
    """Distillation on random windows of the training text."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    window = torch.arange(model.config.max_position_embeddings)
    start = time.monotonic()
    for step in range(1, steps + 1):
        first = torch.randint(len(tokens) - len(window), (BATCH, 1))
        loss = divergence(source, model, tokens[first + window])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step == 1 or step % 50 == 0:
            print(
                f"step {step:4}  KL {loss.item():.5f}  {time.monotonic() - start:4.0f} s", file=sys.stderr, flush=True
            )


def compare_bytes(command, model, formats):
    """Quantizes the trained float32 weights with the command; how many tensors have the bytes that training had."""
    with tempfile.TemporaryDirectory() as folder:
        trained, out = Path(folder) / "trained.safetensors", Path(folder) / "trained.gguf"
        save({n: p.detach().contiguous() for n, p in model.named_parameters()}, trained, {"format": "pt"})
        (only,) = set(formats.values())
        subprocess.run([command, "quantize", "-f", only, "--quiet", str(trained), "-o", str(out)], check=True)
        with qdq.Model(out) as made:
            shipped = {t.name: t.data() for t in made.tensors}
    equal = 0
    for name, f in formats.items():
        had = qdq.quantize(model.get_parameter(name).detach(), f).numpy().tobytes()
        equal += shipped[name] == had
    return equal


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--format", default="q4_0", help="the format (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--windows", type=int, default=64, help="held-out windows of 256 bytes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1611)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--qdq", default="qdq", help="the command (default: %(default)s)")
    parser.add_argument("--text", metavar="FILE", help="an ASCII text instead of Debian's `bible`")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokens, rest = corpus.split(corpus.read_text(args.text))
    source = load(HERE / "model.safetensors")
    held_out = corpus.windows(rest, source.config.max_position_embeddings)[: args.windows]

    model = copy.deepcopy(source)
    done = qt.prepare(model, args.format)
    print(done, file=sys.stderr)
    rows = [("source", *measure(source, source, held_out)), (args.format, *measure(source, model, held_out))]
    train(source, model, tokens, args.steps, args.rate)
    rows.append((f"{args.format}, trained for it", *measure(source, model, held_out)))
    equal = compare_bytes(args.qdq, model, done.formats)
    qt.convert(model)
    assert measure(source, model, held_out) == rows[-1][1:], "the converted model is another"

    print("| weights | KL from the source, nats/byte | loss, nats/byte |")
    print("|---|---:|---:|")
    for name, kl, loss in rows:
        print(f"| {name} | {kl:.5f} | {loss:.4f} |")
    print(f"\n{equal} of {len(done.formats)} tensors: the bytes of `qdq quantize` are those that training had")
    if equal < len(done.formats):
        sys.exit(1)


if __name__ == "__main__":
    main()
