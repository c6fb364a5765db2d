#!/usr/bin/env python3
"""Write the gradients that `qdq sensitivity` needs: of KL(source || low), at the low-format weights, batches averaged.

The low-format weights come from `qdq roundtrip`. With --check, each tensor in turn gets its source weights back, and the
change of the divergence that follows is printed beside the one that the gradient predicts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

import corpus
from model import HERE, load, save

BATCH = 32


def round_trip(qdq, fmt, source):
    """Return the weights of the file `source` after quantization to `fmt` and back, float32."""
    with tempfile.TemporaryDirectory() as folder:
        low = Path(folder) / "low.safetensors"
        try:
            subprocess.run([qdq, "roundtrip", "-f", fmt, str(source), "-o", str(low)], check=True, stdout=sys.stderr)
        except FileNotFoundError:
            sys.exit(f"gradients: no command {qdq}: build the project, or name it with --qdq or the variable QDQ")
        except subprocess.CalledProcessError as error:
            sys.exit(f"gradients: {qdq} roundtrip failed with exit status {error.returncode}")
        return load_file(low)


def divergence(log_p, model, tokens):
    """KL(p || model) in nats, the mean over all positions of the batch."""
    return F.kl_div(F.log_softmax(model(tokens), dim=-1).flatten(0, 1), log_p, log_target=True, reduction="batchmean")


@torch.no_grad()
def reference_outputs(source, batches):
    return [F.log_softmax(source(tokens), dim=-1).flatten(0, 1) for tokens in batches]


@torch.no_grad()
def mean_divergence(references, model, batches):
    return sum(divergence(log_p, model, tokens).item() for log_p, tokens in zip(references, batches)) / len(batches)


def mean_gradients(references, model, batches):
    """Gradients of the mean divergence, by parameter name: summed over batches in float64, returned as float32."""
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for log_p, tokens in zip(references, batches):
        model.zero_grad()
        divergence(log_p, model, tokens).backward()
        for name, p in model.named_parameters():
            total[name] += p.grad
    return {name: (grad / len(batches)).float() for name, grad in total.items()}


@torch.no_grad()
def check(references, source, model, batches, gradients):
    """Print, per tensor, predicted and true gain of giving it back its source weights while the others stay low."""
    all_low = mean_divergence(references, model, batches)
    original = dict(source.named_parameters())
    print(f"KL with every eligible tensor low: {all_low:.6f} nats/byte\n")
    print(f"{'tensor':42} {'predicted':>10} {'true':>10}  predicted: sum(g * (W_low - W))")
    predicted_all = true_all = 0.0
    for name, p in model.named_parameters():
        low = p.clone()
        predicted = (gradients[name].double() * (low - original[name])).sum().item()
        if torch.equal(low, original[name]):
            continue
        p.copy_(original[name])
        true = all_low - mean_divergence(references, model, batches)
        p.copy_(low)
        print(f"{name:42} {predicted:10.6f} {true:10.6f}")
        predicted_all += predicted
        true_all += true
    print(f"{'sum':42} {predicted_all:10.6f} {true_all:10.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qdq", default=os.environ.get("QDQ", "qdq"), help="the command (default: $QDQ, else qdq)")
    parser.add_argument("-f", "--format", default="q4_0", help="the low format (default: %(default)s)")
    parser.add_argument("--model", default=HERE / "model.safetensors")
    parser.add_argument("--text", metavar="FILE", help="an ASCII text instead of Debian's `bible`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="compare predictions with true changes")
    parser.add_argument("-o", "--output", default=HERE / "gradients.safetensors")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    source, model = load(args.model), load(args.model)
    model.load_state_dict(round_trip(args.qdq, args.format, args.model))
    text = corpus.read_text(args.text)
    length = model.config.max_position_embeddings
    batches = corpus.windows(corpus.split(text)[1], length)[:, :-1].split(BATCH)
    batches = [tokens for tokens in batches if len(tokens) == BATCH]
    references = reference_outputs(source, batches)
    gradients = mean_gradients(references, model, batches)

    metadata = {
        "format": "pt",
        "loss": "KL(p_source || p_low) of the outputs, nats, mean over positions",
        "evaluated_at": f"W_low: every eligible weight after its {args.format} round trip",
        "batches": str(len(batches)),
        "batch_shape": f"{BATCH}x{length}",
        "reduction": "averaged over batches",
        "text_sha256": corpus.fingerprint(text),
    }
    save(gradients, args.output, metadata)
    print(
        f"{args.output}: {len(gradients)} gradients, averaged over {len(batches)} batches of {BATCH} x {length} bytes"
    )
    if args.check:
        check(references, source, model, batches, gradients)


if __name__ == "__main__":
    main()
