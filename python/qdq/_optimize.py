"""From a model's directory to the best file of a size: calibrate, plan, write."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

from . import _command
from ._errors import Error, FileError, InvalidArgument
from ._model import places, write_recipe
from ._plan import Plan, check_target, plan
from ._results import PathLike


@dataclass(frozen=True)
class Optimized:
    """What `optimize` made."""

    plan: Plan
    folder: Path
    """Holds plan.json, report.html, rms.safetensors, scores.json, and as far as they were made imatrix.gguf, types.txt
    and model.gguf."""
    recipe: Optional[Path]
    """llama-quantize's --tensor-type-file, where the architecture's names are known."""
    gguf: Optional[Path]
    """The quantized model, where a template was given."""
    notes: List[str]
    """What was left out, and why."""
    refined: Any = None
    """What refining measured, a qdq.torch.Refined; None where it was not asked for."""

    def plot(self, figure: Any = None) -> Any:
        return self.plan.plot(figure)

    def __str__(self) -> str:
        p = self.plan
        lines = [
            f"{p.bytes:,} bytes, {p.bits:.4g} bits a weight, {len(p.planned)} tensors planned; "
            f"damage {p.damage:.4g} ({p.content['score']})",
            *(str(f) for f in sorted(self.folder.iterdir()) if f.is_file()),
            *self.notes,
            *([str(self.refined)] if self.refined is not None else []),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()


def optimize(
    model: PathLike,
    target: str,
    folder: PathLike,
    *,
    text: Optional[PathLike] = None,
    batches: Optional[Iterable[Any]] = None,
    loaded: Any = None,
    template: Optional[PathLike] = None,
    samples: int = 64,
    length: int = 512,
    importance: bool = True,
    refine: float = 0,
    seed: int = 0,
    device: Optional[str] = None,
    options: Sequence[str] = (),
    progress: Any = True,
) -> Optimized:
    """Chooses each tensor's format for the least damage to the model's output within a size.

    model: a folder with a Hugging Face model in safetensors. target: "4.5bpw", "6.2GiB", "30%". folder: where results
    go; it is made.
    text: a file of calibration text, tokenized by the model's tokenizer and cut into `samples` chunks of `length`
    tokens; or batches: token ids, as in qdq.torch.sensitivity; without either the model's own samples serve.
    loaded: the model itself, a torch module whose parameters have the files' names; without it transformers loads it.
    template: a GGUF of the same model in F32, F16 or BF16, as llama.cpp converts it: the plan is made for it, and the
    quantized model, model.gguf, is made of it.
    importance: also count an importance matrix; formats are fitted with it.
    refine: so many seconds are then spent on measuring the plan and others of its size, by forward passes on the same
    tokens, for a better one (qdq.torch.refine).
    options: more words for `qdq plan`, such as ("--same", "qkv").

    Gradients are root mean squares at the weights, of tokens drawn from the model's output, and the score is `squared`:
    what measured best (docs/planner.md). Works offline.

    What is wrong with target or files is told before anything is computed. ValueError: no such target, too little text;
    OSError: a file or folder that is not there; qdq.Error: the command's refusals; ImportError: torch, or transformers where the model
    is not given, is not installed.
    """
    from . import torch as qt

    check_target(target)
    if not Path(model).exists():
        raise FileError(f"{model}: no such folder; download the model first: hf download NAME --local-dir {model}")
    for file in (text, template):
        if file is not None and not Path(file).is_file():
            raise FileError(f"{file}: no such file")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    notes: List[str] = []
    if loaded is None:
        loaded = _load(model)
    if device is not None:
        loaded = loaded.to(device)
    if batches is None:
        batches = _chunks(model, loaded, text, samples, length, seed)
    batches = list(batches)
    gradients, imatrix, matrix = folder / "rms.safetensors", None, None
    qt.rms_gradients(loaded, batches, gradients, max_samples=samples, seed=seed, progress=progress)
    names = _names(model, loaded) if template is not None else None
    if importance:
        imatrix = folder / "imatrix.gguf"
        matrix = qt.imatrix(
            loaded,
            batches,
            imatrix,
            names=names,
            dataset=str(text or "the model's own samples"),
            max_samples=samples,
            progress=progress,
        )
    # What is measured stays beside the plan: another size is a matter of milliseconds.
    source, words = model, ["--scores", str(folder / "scores.json"), *options]
    if template is not None:
        source, words = template, [*words, "--hf", str(model)]
    recipe: Optional[Path] = folder / "types.txt"
    arguments: Dict[str, Any] = {"gradients": gradients, "imatrix": imatrix, "options": tuple(words)}
    try:
        found = plan(source, target, folder / "plan.json", recipe=recipe, **arguments)
    except Error as error:
        # A recipe needs GGUF's names and what llama-quantize can make; the plan itself does not.
        found = plan(source, target, folder / "plan.json", **arguments)
        recipe, notes = None, [f"no recipe: {error}"]
    refined = None
    if refine:
        refined = qt.refine(
            loaded,
            found,
            batches,
            seconds=refine,
            names={n: g[0] for n, g in names.items() if len(g) == 1} if names is not None else None,
            importance=matrix,
            progress=progress,
        )
        found = refined.plan
        found.save(folder / "plan.json")
        if recipe is not None:
            write_recipe(recipe, source, imatrix, folder / "plan.json")
    found.report(folder / "report.html")
    gguf = None
    if template is not None:
        gguf = folder / "model.gguf"
        _command.run("quantize", "--plan", folder / "plan.json", template, "-o", gguf, "--quiet")
    return Optimized(found, folder, recipe, gguf, notes, refined)


def _names(model: PathLike, loaded: Any) -> Dict[str, List[str]]:
    """GGUF's names of a model's parameters."""
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    there = places([n for n, _ in loaded.named_parameters()], config["model_type"])
    return {name: [p.name for p in found] for name, found in there.items()}


def _load(model: PathLike) -> Any:
    import torch

    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise ImportError("transformers is needed to load the model: install it, or pass loaded=") from error
    return AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32, local_files_only=True)


def _chunks(model: PathLike, loaded: Any, text: Optional[PathLike], samples: int, length: int, seed: int) -> List[Any]:
    """Calibration tokens, [chunks, length]."""
    import torch

    limit = getattr(getattr(loaded, "config", None), "max_position_embeddings", length)
    length = min(length, limit)
    if text is None:
        return _own_samples(loaded, samples, length, seed)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    ids = tokenizer(Path(text).read_text(encoding="utf-8"), return_tensors="pt", verbose=False)["input_ids"][0]
    count = min(len(ids) // length, samples)
    if count == 0:
        raise InvalidArgument(f"{text} has {len(ids)} tokens: less than one chunk of {length}")
    # Spread over the whole text, so that its beginning alone does not decide.
    starts = torch.linspace(0, len(ids) - length, count).long()
    return [torch.stack([ids[s : s + length] for s in starts.tolist()])]


def _own_samples(loaded: Any, samples: int, length: int, seed: int) -> List[Any]:
    """What the model says by itself, at temperature 1."""
    import torch

    config, device = loaded.config, next(loaded.parameters()).device
    begin = config.bos_token_id
    generator = torch.Generator().manual_seed(seed)
    first = torch.full((samples, 1), begin if isinstance(begin, int) else 0, dtype=torch.long)
    if not isinstance(begin, int):
        first = torch.randint(config.vocab_size, (samples, 1), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return [
            loaded.generate(
                part.to(device), do_sample=True, top_k=0, min_length=length, max_length=length, pad_token_id=0
            )
            for part in first.split(8)
        ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qdq optimize", description="Choose each tensor's format for the least damage within a size."
    )
    parser.add_argument("model", help="a folder with a Hugging Face model in safetensors")
    parser.add_argument("--target", required=True, metavar="SIZE", help="4.5bpw, 6.2GiB or 30%%")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where results go")
    parser.add_argument("--text", metavar="FILE", help="calibration text; without it the model's own samples serve")
    parser.add_argument("--template", metavar="GGUF", help="the model as F32, F16 or BF16 GGUF: quantize it too")
    parser.add_argument("--samples", type=int, default=64, help="sequences (default: %(default)s)")
    parser.add_argument("--length", type=int, default=512, help="tokens each (default: %(default)s)")
    parser.add_argument("--refine", type=float, default=0, metavar="SECONDS", help="measure other plans for that long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="torch's, such as cuda")
    parser.add_argument("--no-importance", action="store_true", help="count no importance matrix")
    args, more = parser.parse_known_args(arguments)
    try:
        made = optimize(
            args.model,
            args.target,
            args.output,
            text=args.text,
            template=args.template,
            samples=args.samples,
            length=args.length,
            importance=not args.no_importance,
            refine=args.refine,
            seed=args.seed,
            device=args.device,
            options=tuple(more),
        )
    except (Error, OSError, ValueError, ImportError) as error:
        print(f"qdq optimize: {error}", file=sys.stderr)
        return 1
    print(made)
    return 0
