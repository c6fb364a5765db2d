#!/usr/bin/env python3
"""Measure what plans are worth: the real damage of uniform formats, of mlx-lm's rule and of `qdq plan`, at equal bytes.

For each budget (the sizes of uniform formats, and some between) and each way to choose, the weights get their round
trips and the model is run; the tables have what comes out: one with the codes that formats have by themselves, one with
codes fitted to an importance matrix, of which uniform formats and mlx-lm's rule have the benefit too. `tiny` is the
example model: KL divergence from its own outputs, and the loss. `minilm` is all-MiniLM-L6-v2: 1 - cosine between
embeddings. `whisper` is Whisper base's text decoder: KL divergence again (whisper.py). Calibration (gradients,
importance matrix) and evaluation never share text.
"""

import argparse
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tasks

# Codes fitted to an importance matrix or not -> column -> (qdq plan's --score, gradients).
SCORES = {
    False: {
        "error": ("error", None),
        "relative": ("relative", None),
        "sized": ("sized", None),
        "kinds": ("kinds", None),
        "signed, at W_low": ("signed", "low"),
        "absolute, at W_low": ("absolute", "low"),
        "squared, at W_low": ("squared", "low"),
        "absolute, RMS at W": ("absolute", "rms"),
        "squared, RMS at W": ("squared", "rms"),
    },
    True: {
        "error": ("error", None),
        "relative": ("relative", None),
        "sized": ("sized", None),
        "kinds": ("kinds", None),
        "absolute, at W_low": ("absolute", "low"),
        "absolute, RMS at W": ("absolute", "rms"),
        "squared, RMS at W": ("squared", "rms"),
    },
}
BASELINES = ("uniform", "mlx-lm")
LOW, HIGH = "q4_0", "q8_0"  # mlx-lm's two formats


def write_imatrix(path, second_moments):
    """The legacy layout of llama-imatrix, from column means of squares by weight name."""
    with open(path, "wb") as file:
        file.write(struct.pack("<i", len(second_moments)))
        for name, values in second_moments.items():
            raw = name.encode()
            file.write(struct.pack("<i", len(raw)) + raw + struct.pack("<ii", 1, len(values)))
            file.write(struct.pack(f"<{len(values)}f", *values.tolist()))


class Comparison:
    def __init__(self, task, qdq, formats, folder):
        self.task, self.qdq, self.folder = task, qdq, folder
        self.options = ["--formats", formats] if formats else []
        self.source = load_file(task.path)
        self.results, self.trips = {}, {}

    def run(self, *arguments):
        done = subprocess.run([self.qdq, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"compare: qdq {arguments[0]}: {done.stderr}")

    def round_trip(self, fmt, imatrix=False):
        """All weights after it; with an importance matrix formats are fitted to that."""
        if (fmt, imatrix) not in self.trips:
            path = self.folder / f"{fmt}-{imatrix}.safetensors"
            options = ["--imatrix", self.folder / "imatrix.dat"] if imatrix else []
            self.run("roundtrip", "-f", fmt, *options, "--quiet", self.task.path, "-o", path)
            self.trips[fmt, imatrix] = load_file(path)
        return self.trips[fmt, imatrix]

    def plan(self, target, score, gradients, imatrix):
        """The plan's JSON; None where no choice is that small or that large."""
        out = self.folder / "plan.json"
        options = ["--score", score, "--scores", self.folder / f"scores-{gradients}-{imatrix}.json"]
        if gradients:
            options += ["--grad", self.folder / f"{gradients}.safetensors"]
        if imatrix:
            options += ["--imatrix", self.folder / "imatrix.dat"]
        options += getattr(self.task, "options", {}).get(score, [])
        command = ["plan", "--quiet", "--target", target, *self.options, *options, self.task.path, "-o", out]
        done = subprocess.run([self.qdq, *map(str, command)], capture_output=True, text=True)
        if done.returncode == 2 and "a target of" in done.stderr:
            return None
        if done.returncode != 0:
            sys.exit(f"compare: qdq plan: {done.stderr}")
        return json.loads(out.read_text())

    def damage(self, assignment, imatrix=False):
        """What the task measures with these formats, name -> format; others stay as they are."""
        key = imatrix, *sorted(assignment.items())
        if key not in self.results:
            weights = dict(self.source)
            for name, fmt in assignment.items():
                if fmt != "source":
                    weights[name] = self.round_trip(fmt, imatrix)[name]
            self.results[key] = self.task.evaluate(weights)
        return self.results[key]


def table_of(plan):
    """(name -> format -> bytes of the tensor, bytes of all else) of a plan's file."""
    tensors = {t["name"]: {c["format"]: c["bytes"] for c in t["choices"]} for t in plan["tensors"] if t["choices"]}
    rest = plan["overhead"] + sum(t["bytes"] for t in plan["tensors"] if not t["choices"])
    return tensors, rest


# What llama-quantize writes instead where rows are no multiple of 256.
FALLBACK = {"q2_K": "q4_0", "q3_K": "q4_0", "q4_K": "q5_0", "q5_K": "q5_1", "q6_K": "q8_0"}


def uniform(tensors, rest, fmt):
    """(assignment, bytes) of one format for all, with llama-quantize's fallbacks; None when a tensor cannot have it."""
    other = FALLBACK.get(fmt, "iq4_nl" if fmt.startswith("iq") else fmt)
    chosen = {name: fmt if fmt in choices else other for name, choices in tensors.items()}
    if any(chosen[name] not in choices for name, choices in tensors.items()) or fmt not in chosen.values():
        return None
    return chosen, rest + sum(choices[chosen[name]] for name, choices in tensors.items())


def threshold(tensors, rest, scores, budget):
    """mlx-lm's rule: tensors whose sensitivity per parameter is over a threshold get the high format, as many as fit.

    Its bisection is over the scores; going down the sorted scores is the same without its loss of precision."""
    chosen = {name: LOW for name in tensors}
    total = rest + sum(choices[LOW] for choices in tensors.values())
    if total > budget:
        return None
    for name in sorted(tensors, key=scores.get, reverse=True):
        more = tensors[name][HIGH] - tensors[name][LOW]
        if total + more > budget:
            break
        chosen[name] = HIGH
        total += more
    return chosen


def mlx_scores(comparison):
    path = comparison.folder / "sensitivity.json"
    gradients = comparison.folder / "low.safetensors"
    comparison.run("sensitivity", "--low", LOW, "--high", HIGH, "--grad", gradients, "--quiet", "--json", path,
                   comparison.task.path)
    return {t["name"]: t["sensitivity_per_million"] for t in json.loads(path.read_text())["tensors"]}


def prepare(comparison):
    """Gradients and importance matrix, unless they are there."""
    folder, task = comparison.folder, comparison.task
    if not (folder / "imatrix.dat").exists():
        metadata = {"reduction": "root mean square over samples"}
        save_file(task.rms_gradients(), folder / "rms.safetensors", metadata)
        low = {**comparison.source, **comparison.round_trip(LOW)}
        save_file(task.gradients_at(low), folder / "low.safetensors")
        write_imatrix(folder / "imatrix.dat", task.second_moments())


def compare(comparison, fitted, between, apart, scores):
    """A row a budget, of these columns of SCORES."""
    tensors, rest = table_of(any_plan(comparison, fitted))
    mlx = mlx_scores(comparison)
    sizes = {}
    for fmt in dict.fromkeys(f for choices in tensors.values() for f in choices):
        made = uniform(tensors, rest, fmt)
        if made:
            sizes.setdefault(made[1], []).append(fmt)
    largest = max(sizes)
    elements = sum(tensor.numel() for tensor in comparison.source.values())
    budgets = sorted({*(s for s in sizes if s < largest), *(int(b * elements / 8) for b in between)})
    budgets = [a for a, b in zip(budgets, [*budgets[1:], math.inf]) if b > apart * a]  # of close ones the largest
    rows = []
    for budget in budgets:
        row = {"bytes": budget, "bpw": 8 * (budget - rest) / sum(comparison.source[n].numel() for n in tensors)}
        fitting = [f for size, formats in sizes.items() if size <= budget for f in formats]
        fitting = [(comparison.damage(uniform(tensors, rest, f)[0], fitted), f) for f in fitting]
        if fitting:
            row["uniform"], row["uniform format"] = min(fitting)
        chosen = threshold(tensors, rest, mlx, budget)
        if chosen:
            row["mlx-lm"] = comparison.damage(chosen, fitted)
        for name in scores:
            score, gradients = SCORES[fitted][name]
            plan = comparison.plan(f"{budget}B", score, gradients, fitted)
            if plan is None:
                continue
            assert plan["bytes"] <= budget
            chosen = {t["name"]: t["format"] for t in plan["tensors"] if t["choices"]}
            row[name] = comparison.damage(chosen, fitted)
        if any(name in row for name in scores):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def any_plan(comparison, fitted):
    """A plan, whatever it chooses: for the sizes of the choices."""
    plans = (comparison.plan(f"{bits}bpw", "relative", None, fitted) for bits in (5, 6, 7, 8, 4, 3))
    plan = next((p for p in plans if p), None)
    return plan or sys.exit("compare: these formats have no plan of 3 to 8 bits a weight")


def markdown(rows, columns, unit, which=0):
    """which: of what the task measures, the first or the second."""
    lines = [f"| bits | bytes | {' | '.join(columns)} |", "|" + "---:|" * (len(columns) + 2)]
    for row in rows:
        best = min(row[c][which] for c in columns if c in row)
        cells = []
        for c in columns:
            if c not in row:
                cells.append("-")
                continue
            text = f"{row[c][which] * unit:.{4 if which else 3}g}"
            text = f"**{text}**" if row[c][which] == best else text
            cells.append(f"{text} ({row['uniform format']})" if c == "uniform" else text)
        lines.append(f"| {row['bpw']:.3f} | {row['bytes']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows, columns):
    """Each score's damage as a share of the better baseline's: the geometric mean, the worst, and where that is."""
    lines = ["| score | mean | worst | at bits |", "|---|---:|---:|---:|"]
    for c in columns:
        shares = [(row[c][0] / min(row[b][0] for b in BASELINES if b in row), row["bpw"])
                  for row in rows if c in row and any(b in row for b in BASELINES)]
        if shares:
            mean, worst = math.exp(sum(math.log(s) for s, _ in shares) / len(shares)), max(shares)
            lines.append(f"| {c} | {mean:.2f} | {worst[0]:.2f} | {worst[1]:.3f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["tiny", "minilm", "whisper"])
    parser.add_argument("--qdq", default=os.environ.get("QDQ", "qdq"), help="the command (default: $QDQ or qdq)")
    parser.add_argument("--text", metavar="FILE", help="an ASCII text instead of Debian's `bible`; whisper: a text to "
                        "evaluate on")
    parser.add_argument("--calibrate", metavar="FILE", help="whisper: another text, to calibrate with")
    parser.add_argument("--model", metavar="FOLDER", help="minilm: the folder with model.safetensors and "
                        "tokenizer.json; whisper: that with the two packages, unpacked")
    scores = list(SCORES[False])
    parser.add_argument("--scores", nargs="+", choices=scores, default=scores, metavar="SCORE",
                        help="these columns only, such as sized 'squared, RMS at W'")
    parser.add_argument("--formats", help="the candidates (default: qdq plan's)")
    parser.add_argument("--between", default="", help="further budgets, bits a weight: 4.75,7")
    parser.add_argument("--apart", type=float, default=1.015, metavar="TIMES",
                        help="a budget has at least so many times the bytes of the one before")
    parser.add_argument("--folder", required=True, help="for gradients, round trips and plans; kept")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1611)
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if args.task == "whisper":
        from whisper import Whisper

        if not (args.model and args.text and args.calibrate):
            parser.error("whisper wants --model, --text and --calibrate")
        task = Whisper(args.model, folder, args.calibrate, args.text)
    else:
        task = tasks.Tiny(args.text) if args.task == "tiny" else tasks.MiniLM(args.model, args.text)
    comparison = Comparison(task, args.qdq, args.formats, folder)
    prepare(comparison)
    for fitted in (False, True):
        scores = [c for c in SCORES[fitted] if c in args.scores]
        between = [float(b) for b in args.between.split(",") if b]
        rows = compare(comparison, fitted, between, args.apart, scores)
        columns = [*BASELINES, *scores]
        (folder / f"rows-{'fitted' if fitted else 'plain'}.json").write_text(json.dumps(rows))
        codes = "fitted to an importance matrix" if fitted else "as they come"
        print(f"\n{task.measure}, in units of {task.unit:g}; codes {codes}\n")
        print(markdown(rows, columns, 1 / task.unit))
        print(f"\n{task.second}; of the source {task.evaluate(comparison.source)[1]:.4g}\n")
        print(markdown(rows, columns, 1, which=1))
        print("\nShare of the better of uniform formats and mlx-lm's rule\n")
        print(summary(rows, scores), flush=True)


if __name__ == "__main__":
    main()
