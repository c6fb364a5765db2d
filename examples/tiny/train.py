#!/usr/bin/env python3
"""Train the example model from scratch on the CPU and write model.safetensors (bf16)."""

import argparse
import math
import time

import torch
from torch.nn import functional as F

import corpus
from model import HERE, Llama, load, load_config, save

BATCH = 8
PEAK_RATE = 4e-3
WARM_UP = 100


def loss_of(model, chunk):
    """Mean cross-entropy in nats per byte; chunk holds windows of length + 1."""
    return F.cross_entropy(model(chunk[:, :-1]).flatten(0, 1), chunk[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model, held_out):
    chunks = corpus.windows(held_out, model.config.max_position_embeddings).split(64)
    total = sum(loss_of(model, chunk).item() * len(chunk) for chunk in chunks)
    return total / sum(map(len, chunks))


def rate_at(step, steps):
    """Linear warm-up, then half a cosine down to zero."""
    return min(step / WARM_UP, 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(model, tokens, held_out, steps):
    """AdamW on random windows; prints both losses as it goes."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step + 1, steps))
    window = torch.arange(model.config.max_position_embeddings + 1)
    start, recent = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        first = torch.randint(len(tokens) - len(window), (BATCH, 1))
        loss = loss_of(model, tokens[first + window])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = loss.item() if step == 1 else 0.95 * recent + 0.05 * loss.item()
        if step == 1 or step % 250 == 0 or step == steps:
            held = held_out_loss(model, held_out)
            print(
                f"step {step:5}  train {recent:.4f}  held-out {held:.4f} nats/byte  {time.monotonic() - start:4.0f} s",
                flush=True,
            )


@torch.no_grad()
def sample(model, prompt, length):
    """Continue the prompt, at temperature 0.8."""
    tokens = torch.tensor([list(prompt.encode("ascii"))])
    for _ in range(length):
        logits = model(tokens[:, -model.config.max_position_embeddings :])[:, -1]
        tokens = torch.cat((tokens, torch.multinomial(F.softmax(logits / 0.8, dim=-1), 1)), dim=1)
    return bytes(tokens[0].tolist()).decode("ascii")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1611)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", metavar="FILE", help="an ASCII text instead of Debian's `bible`")
    parser.add_argument("-o", "--output", default=HERE / "model.safetensors")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    text = corpus.read_text(args.text)
    tokens, held_out = corpus.split(text)
    model = Llama(load_config())
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    print(
        f"{sum(p.numel() for p in model.parameters())} parameters; {len(tokens)} bytes to learn, {len(held_out)} held out"
    )
    train(model, tokens, held_out, args.steps)

    metadata = {
        "format": "pt",
        "text_sha256": corpus.fingerprint(text),
        "seed": str(args.seed),
        "steps": str(args.steps),
    }
    save({name: p.to(torch.bfloat16).contiguous() for name, p in model.state_dict().items()}, args.output, metadata)
    stored = load(args.output)
    loss = held_out_loss(stored, held_out)
    print(f"stored as bf16: held-out {loss:.4f} nats/byte = {loss / math.log(2):.4f} bits/byte\n")
    print(sample(stored, "And the LORD said unto ", 400))


if __name__ == "__main__":
    main()
