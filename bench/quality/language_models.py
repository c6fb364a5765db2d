#!/usr/bin/env python3
"""Measure on real language models what kinds of tensors cost, and what plans are worth beside llama-quantize's presets.

MODEL is a llama-like GGUF. One that is quantized already is no fair source, since the formats of its own lattice are
free: its weights are moved off it by noise of half a step, healed by some training steps towards its own outputs, and
rounded to bf16. Then, on that model:

  shares   one tensor at a time in q4_0: KL divergence over relative squared error, added up by kind (src/plan/kinds.c)
  plans    KL of llama-quantize's presets and of uniform formats, and of `qdq plan` at their very bytes, by score,
           without and with an importance matrix

Calibration and evaluation text are two files, which should come from different places. Wants torch, transformers, gguf
and safetensors; takes a GPU if there is one.
"""

import argparse
import copy
import json
import math
import os
import re
import struct
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from compare import FALLBACK, write_imatrix

LENGTH = 512  # tokens a window
UNIFORM = "q4_0 q4_1 iq4_nl q5_0 q5_1 q4_K q5_K q6_K q8_0".split()
PRESETS = "Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_0 Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K".split()
FITTED_PRESETS = "IQ3_M IQ3_XXS IQ2_M IQ4_XS".split()  # these only with an importance matrix
SCORES = {"auto": None, "sized": None, "squared": "rms.safetensors"}
PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


# ---- The presets' types ------------------------------------------------------------------------------------------


def in_hugging_face(name):
    """A llama-like model's GGUF name there; None: no matrix of these kinds."""
    outside = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if found and found[2] in PARTS:
        return f"model.layers.{found[1]}.{PARTS[found[2]]}.weight"
    return outside.get(name)


def skeleton(source, target):
    """The GGUF's metadata with the same tensors in F16, of zeros that take no room: what presets are chosen by."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    with open(source, "rb") as file:
        data = file.read(1 << 26)
    tensors, keys = struct.unpack_from("<QQ", data, 8)

    def text(at):
        (length,) = struct.unpack_from("<Q", data, at)
        return data[at + 8 : at + 8 + length], at + 8 + length

    def skip(kind, at):
        if kind == 8:
            return text(at)[1]
        if kind != 9:
            return at + sizes[kind]
        kind, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if kind in sizes:
            return at + sizes[kind] * count
        for _ in range(count):
            at = skip(kind, at)
        return at

    at = 24
    for _ in range(keys):
        at = text(at)[1]
        (kind,) = struct.unpack_from("<I", data, at)
        at = skip(kind, at + 4)
    head, offset = bytearray(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + data[24:at]), 0
    columns = {}
    for _ in range(tensors):
        name, at = text(at)
        (dims,) = struct.unpack_from("<I", data, at)
        shape = struct.unpack_from(f"<{dims}Q", data, at + 4)
        at += 4 + 8 * dims + 12
        kind, size = (1, 2) if dims > 1 else (0, 4)
        head += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{dims}QIQ", dims, *shape, kind, offset)
        offset += (math.prod(shape) * size + 31) // 32 * 32
        if dims > 1 and name != b"token_embd.weight":
            columns[name.decode()] = shape[0]
    head += bytes(-len(head) % 32)
    with open(target, "wb") as file:
        file.write(head)
        file.truncate(len(head) + offset)
    return columns


# ---- The model ---------------------------------------------------------------------------------------------------


class Model:
    def __init__(self, args):
        self.args, self.folder = args, Path(args.folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        folder, file = os.path.split(os.path.abspath(args.model))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).to(self.device)
        self.model.eval()
        self.model.config.use_cache = False
        self.parameters = dict(self.model.named_parameters())
        self.matrices = [name for name, p in self.parameters.items() if p.dim() == 2]
        self.held = self.windows(args.evaluate, args.windows)
        calibration = self.windows(args.calibrate, args.samples + 8 * args.steps)
        self.healing, self.calibration = calibration[: -args.samples], calibration[-args.samples :]
        self.trips = {}

    def windows(self, path, count):
        """Spread over the text."""
        text = Path(path).read_text(errors="ignore")[: 12 * LENGTH * count]
        ids = torch.tensor(self.tokenizer(text, add_special_tokens=False).input_ids)
        rows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
        return rows[:: max(1, len(rows) // count)][:count].to(self.device)

    def run(self, *arguments):
        done = subprocess.run([self.args.qdq, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"qdq {arguments[0]}: {done.stderr.strip()}", file=sys.stderr)
            return None
        return done.stdout

    def leave_the_lattice(self):
        teacher = copy.deepcopy(self.model)
        generator = torch.Generator(device=self.device).manual_seed(3)
        with torch.no_grad():
            for name in self.matrices:
                blocks = self.parameters[name].view(-1, 32)
                steps = blocks.sort(-1)[0].diff(dim=-1)
                steps[steps <= 1e-3 * blocks.abs().amax(-1, keepdim=True)] = math.inf
                step = steps.amin(-1, keepdim=True)
                step[~step.isfinite()] = 0
                blocks += (torch.rand(blocks.shape, device=self.device, generator=generator) - 0.5) * step
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-5, weight_decay=0)
        order = torch.randperm(len(self.healing), generator=torch.Generator().manual_seed(5))
        for i in range(self.args.steps):
            for group in optimizer.param_groups:
                group["lr"] = 3e-5 * min(1, (i + 1) / 10) * (1 - i / self.args.steps)
            batch = self.healing[order[torch.arange(8 * i, 8 * i + 8) % len(order)]]
            with torch.autocast(self.device, torch.bfloat16):
                with torch.no_grad():
                    wanted = teacher(batch).logits.float().log_softmax(-1).flatten(0, 1)
                got = self.model(batch).logits.float().log_softmax(-1).flatten(0, 1)
            optimizer.zero_grad()
            F.kl_div(got, wanted, log_target=True, reduction="batchmean").backward()
            optimizer.step()

    def settle(self):
        """The source from here on: these weights in bf16, on disk and as the reference's outputs."""
        with torch.no_grad():
            for p in self.parameters.values():
                p.copy_(p.bfloat16().float())
        self.source = {name: p.detach().clone() for name, p in self.parameters.items()}
        weights = {name: p.bfloat16().cpu().contiguous() for name, p in self.source.items()}
        save_file(weights, self.folder / "model.safetensors")
        if hasattr(self.model.config, "quantization_config"):  # that of the GGUF; these weights are bf16
            del self.model.config.quantization_config
        self.model.config.save_pretrained(self.folder)
        with torch.no_grad():
            self.reference = [self.model(b).logits.float().log_softmax(-1).half() for b in self.held.split(4)]

    def calibrate(self):
        """Root mean square gradients of tokens that the model draws, and what its matrices multiply."""
        squares = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        sums, counts, hooks = {}, defaultdict(int), []

        def hook(name):
            def add(module, inputs):
                x = inputs[0].detach().flatten(0, -2).double()
                sums[name] = sums.get(name, 0) + x.square().sum(0)
                counts[name] += len(x)

            return add

        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear) and f"{name}.weight" in self.parameters:
                hooks.append(module.register_forward_pre_hook(hook(f"{name}.weight")))
        for sample in self.calibration:
            logits = self.model(sample[None]).logits[0].float()
            drawn = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
            self.model.zero_grad(set_to_none=True)
            F.cross_entropy(logits, drawn, reduction="sum").backward()
            for name, p in self.parameters.items():
                squares[name] += p.grad.square()
        self.model.zero_grad(set_to_none=True)
        for h in hooks:
            h.remove()
        rms = {name: (s / len(self.calibration)).sqrt().cpu().contiguous() for name, s in squares.items()}
        metadata = {"reduction": "root mean square over samples", "tokens_per_sample": str(LENGTH)}
        save_file(rms, self.folder / "rms.safetensors", metadata)
        write_imatrix(self.folder / "imatrix.dat", {n: (sums[n] / counts[n]).float().cpu() for n in sums})

    def trip(self, fmt, fitted):
        if (fmt, fitted) not in self.trips:
            path = self.folder / "trip.safetensors"
            options = ["--imatrix", self.folder / "imatrix.dat"] if fitted else []
            made = self.run("roundtrip", "-f", fmt, *options, "--quiet", self.folder / "model.safetensors", "-o", path)
            weights = load_file(path) if made is not None else {}
            self.trips[fmt, fitted] = {n: weights[n] for n in self.matrices if n in weights}
        return self.trips[fmt, fitted]

    @torch.no_grad()
    def divergence(self, assignment, fitted):
        """KL(source || with these formats), the mean over all held-out positions."""
        for name, fmt in assignment.items():
            if fmt != "source":
                self.parameters[name].copy_(self.trip(fmt, fitted)[name].float())
        total = 0
        for batch, reference in zip(self.held.split(4), self.reference):
            log_q, log_p = self.model(batch).logits.float().log_softmax(-1), reference.float()
            total += (log_p.exp() * (log_p - log_q)).sum(-1).mean().item() * len(batch)
        for name in assignment:
            self.parameters[name].copy_(self.source[name])
        return total / len(self.held)


# ---- What is measured --------------------------------------------------------------------------------------------


def shares(model):
    """Kind -> its part of what all layers cost together; of what stands outside of layers, its own over that."""
    cost = defaultdict(float)
    for name in model.matrices:
        if name not in model.trip("q4_0", False):
            continue
        source = model.source[name].double()
        error = model.trip("q4_0", False)[name].to(source) - source
        relative = (error.square().sum() / source.square().sum()).item()
        if relative > 0:
            kind = re.sub(r".*layers\.\d+\.|\.weight$", "", name)
            cost[kind] += model.divergence({name: "q4_0"}, False) / relative
    layers = sum(c for kind, c in cost.items() if "proj" in kind)
    print(f"\nall layers: {layers:.4g} nats for a relative error of 1\n\n| kind | share |\n|---|---:|")
    for kind, c in cost.items():
        print(f"| {kind} | {c / layers:.3f} |")


def baselines(model, fitted, formats):
    """Name -> tensor -> format: uniform formats with llama-quantize's fallbacks, and its presets."""
    rows = {name: model.source[name].shape[1] for name in model.matrices}
    for fmt in UNIFORM:
        block = formats[fmt]["block_elements"]
        yield f"uniform {fmt}", {name: fmt if row % block == 0 else FALLBACK[fmt] for name, row in rows.items()}
    path, matrix = model.folder / "skeleton.gguf", model.folder / "skeleton.dat"
    write_imatrix(matrix, {name: torch.ones(n) for name, n in skeleton(model.args.model, path).items()})
    for preset in PRESETS + FITTED_PRESETS * fitted:
        options = ["--imatrix", matrix] if fitted else []
        made = model.run("quantize", "--dry-run", "--json", "-", *options, path, preset)
        if made:
            types = {in_hugging_face(t["name"]): t["dtype"] for t in json.loads(made[made.index("{") :])["tensors"]}
            yield preset, {name: types[name] for name in model.matrices if name in types}


def plan(model, target, score, fitted):
    """A plan's JSON; None where there is none of that size."""
    out = model.folder / "plan.json"
    options = ["--score", score, "--scores", model.folder / f"scores-{fitted}-{SCORES[score]}.json"]
    if SCORES[score]:
        options += ["--grad", model.folder / SCORES[score]]
    if fitted:
        options += ["--imatrix", model.folder / "imatrix.dat"]
    made = model.run("plan", "--quiet", "--target", target, *options, model.folder / "model.safetensors", "-o", out)
    return json.loads(out.read_text()) if made is not None else None


def plans(model, fitted):
    formats = {f["name"]: f for f in json.loads(model.run("formats", "--json", "-"))["formats"]}
    first = next(p for p in (plan(model, f"{b}bpw", "auto", fitted) for b in (5, 6, 7, 8)) if p)
    rest = first["overhead"] + sum(t["bytes"] for t in first["tensors"] if not t["choices"])
    print(f"\n{'with' if fitted else 'without'} an importance matrix; auto is {first['score']}\n")
    print(f"| beside | bits | its KL | {' | '.join(SCORES)} |\n|---|---:|---:|" + "---:|" * len(SCORES))
    elements = sum(model.source[name].numel() for name in model.matrices)
    found, foretold = defaultdict(list), []
    for name, assignment in baselines(model, fitted, formats):
        size = sum(model.source[n].numel() // formats[f]["block_elements"] * formats[f]["block_bytes"]
                   for n, f in assignment.items())
        kl, cells = model.divergence(assignment, fitted), []
        for score in SCORES:
            made = plan(model, f"{size + rest}B", score, fitted)
            if made is None:
                cells.append("-")
                continue
            chosen = {t["name"]: t["format"] for t in made["tensors"] if t["choices"]}
            planned = model.divergence(chosen, fitted)
            share = planned / kl
            found[score, "uniform" if "uniform" in name else "presets"].append(share)
            if made["forecast"]["kl"] is not None:
                foretold.append((made["forecast"]["kl"], planned / made["forecast"]["kl"]))
            cells.append(f"{share:.2f}")
        print(f"| {name} | {8 * size / elements:.2f} | {kl:.4g} | {' | '.join(cells)} |", flush=True)
    for (score, beside), values in found.items():
        print(f"{score} beside {beside}: mean {mean(values):.2f}, worst {max(values):.2f}")
    for least, most in ((0, 0.01), (0.01, 0.03), (0.03, 0.3), (0.3, 1)):
        ratios = [ratio for kl, ratio in foretold if least <= kl < most]
        if ratios:
            print(f"foretold {least} to {most} nats: measured {min(ratios):.2f} to {max(ratios):.2f} times as much")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF of a llama-like model")
    parser.add_argument("--calibrate", required=True, metavar="FILE", help="a text to calibrate and heal with")
    parser.add_argument("--evaluate", required=True, metavar="FILE", help="a text to evaluate on")
    parser.add_argument("--folder", required=True, help="for what is made")
    parser.add_argument("--qdq", default=os.environ.get("QDQ", "qdq"), help="the command (default: $QDQ or qdq)")
    parser.add_argument("--steps", type=int, default=60, help="of healing; 0: the model's weights as they are")
    parser.add_argument("--windows", type=int, default=32, help="of 512 held-out tokens")
    parser.add_argument("--plans-only", action="store_true", help="not what kinds cost")
    parser.add_argument("--samples", type=int, default=64, help="of 512 tokens for gradients and importance")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    model = Model(args)
    if args.steps > 0:
        model.leave_the_lattice()
    model.settle()
    model.calibrate()
    if not args.plans_only:
        shares(model)
    for fitted in (False, True):
        plans(model, fitted)


if __name__ == "__main__":
    main()
