"""Sensitivities without stored gradients: each is scored where the backward pass makes it, and dropped."""

from __future__ import annotations

import ctypes
import json
import math
import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import nn
from torch.nn import functional as F

from .. import _declarations as c
from .. import _formats
from .._arrays import view
from .._errors import InvalidArgument
from .._formats import FormatLike
from .._operations import Dispatch, Sensitivity, encode_sensitivities
from .._results import PathLike, Scores, write_whole
from ._prepare import enabled, prepare, release
from ._runs import (
    Batch,
    Progress,
    device_of,
    drawn_likelihood,
    gradients_to,
    length_of,
    logits_of,
    refuse_prepared,
    sequences,
    undisturbed,
    watched,
    weights_of,
)

Loss = Callable[[nn.Module, Dict[str, Any]], torch.Tensor]


_GROUP = 32
"""Weights side by side that share a mean square of gradients, in store="groups"."""

_SPREAD = 1 << 24
"""Weights whose groups are spread out at once."""


class _Scorer:
    """Sums of each parameter in each format that fits it. On a CUDA device nothing is waited for until `settle`."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        low: Sequence[str],
        high: str,
        importance: Mapping[str, torch.Tensor],
    ):
        self.high = high
        self._pending: List[Dispatch] = []
        self._importance = {
            n: t.detach().to(parameters[n].device, torch.float32).contiguous() for n, t in importance.items()
        }
        self.formats = {n: self._fitting(n, p, low) for n, p in parameters.items()}
        self.formats = {n: f for n, f in self.formats.items() if f}
        self.sums = {n: (c.qdq_sensitivity_sums * len(f))() for n, f in self.formats.items()}

    def _fitting(self, name: str, p: nn.Parameter, low: Sequence[str]) -> List[str]:
        fits = []
        for f in map(_formats.find, low):
            above = 1 if self.high == "source" else _formats.find(self.high).block_elements
            if p.shape[-1] % f.block_elements or p.shape[-1] % above:
                continue
            if f.importance != "needed" or name in self._importance:
                fits.append(f.name)
        return fits

    def add_groups(self, name: str, w: torch.Tensor, squares: torch.Tensor, samples: int) -> None:
        """`add` of root mean squares by groups of weights, which are spread out a few rows at a time."""
        width = w.shape[-1] // squares.shape[-1]
        rms = squares.div_(max(samples, 1) * width).sqrt_().flatten(0, -2)
        rows = w.flatten(0, -2)
        step = max(_SPREAD // w.shape[-1], 1)
        for k in range(0, len(rows), step):
            part = rms[k : k + step]
            self.add(name, rows[k : k + step], part if width == 1 else part.repeat_interleave(width, -1))

    def add(self, name: str, w: torch.Tensor, gradient: torch.Tensor) -> None:
        x, g = view(w, name, copy=True), view(gradient, "the gradient", copy=True)
        given = self._importance.get(name)
        m = view(given, "importance") if given is not None else None
        d = Dispatch(*[a for a in (x, g, m) if a is not None])
        try:
            encode_sensitivities(d, self.formats[name], self.high, x, g, self.sums[name], m)
            d.commit()
        except BaseException:
            d.close()
            raise
        self._pending.append(d)
        if x.device == "cpu":
            self.settle()

    def settle(self) -> None:
        """Waits for what is under way."""
        while self._pending:
            d = self._pending.pop()
            try:
                d.wait()
            finally:
                d.close()

    def abandon(self) -> None:
        while self._pending:
            self._pending.pop().close()

    def results(self, parameters: Mapping[str, nn.Parameter], samples: int) -> Dict[str, Dict[str, Sensitivity]]:
        n = max(samples, 1)
        return {
            name: {
                f: Sensitivity(f, self.high, s.signed_sum / n, s.absolute / n, s.squared / n, parameters[name].numel())
                for f, s in zip(formats, self.sums[name])
            }
            for name, formats in self.formats.items()
        }


def _names(low: Union[FormatLike, Sequence[FormatLike]]) -> List[str]:
    if isinstance(low, str) and low == "all":
        return [f.name for f in _formats.formats()]
    many = [low] if isinstance(low, (str, _formats.Format)) else list(low)
    if not many:
        raise InvalidArgument("no formats are given")
    return [_formats.find(f).name for f in many]


def _chosen(model: nn.Module, only: Optional[Callable[[str], bool]]) -> Dict[str, nn.Parameter]:
    found = {n: p for n, p in weights_of(model).items() if only is None or only(n)}
    if not found:
        raise InvalidArgument("no parameter of two dimensions or more is left to score")
    return found


def sensitivity(
    model: nn.Module,
    batches: Iterable[Batch],
    low: Union[FormatLike, Sequence[FormatLike]] = "q4_0",
    high: FormatLike = "source",
    *,
    at: str = "source",
    store: str = "none",
    loss: Optional[Loss] = None,
    importance: Optional[Mapping[str, torch.Tensor]] = None,
    only: Optional[Callable[[str], bool]] = None,
    max_samples: Optional[int] = 64,
    seed: int = 0,
    progress: Progress = True,
) -> Scores:
    """How much each weight tensor's quantization matters to the model's output, from its gradients on text.

    model: any module that gives logits, or an output with `.logits`; put into evaluation mode meanwhile.
    batches: token ids [batch, length], or mappings with input_ids and perhaps attention_mask; each sequence is a sample.
    low: a format, several, or "all"; high: what it is compared with, "source" being the weights themselves. A format
    that does not fit a tensor's rows is left out for that tensor.

    at="source": gradients at the weights, of the likelihood of tokens drawn from the model's own output (`seed`). Then
    `squared` is the diagonal Fisher estimate of twice the KL divergence, the score that did best (docs/planner.md).
    One backward pass a sample serves all formats.
    at="low": gradients of the KL divergence between the model's outputs and those of the model with all its weights in
    `low`, at those weights, as mlx-lm takes them: one pass a sample and low format; `signed` is mlx-lm's score.

    store="none" drops each gradient as soon as it is scored; the sums are of |g D| and (g D)^2 of each sample, in the
    mean. store="squares" keeps the squares' sums, one float32 a weight, and scores them once: cheaper for many formats,
    and `squared` is the same; `signed` and `absolute` are then those of root mean square gradients. store="groups"
    keeps one sum for each 32 weights side by side, a thirty-second of that, and is the cheapest: as good as
    errors and gradients of a group go their own ways (on examples/tiny to 1 % in the mean, 8 % a tensor). With importance errors go where gradients
    are small, and `squared` is too large, there by a tenth in the mean.

    loss: what to differentiate at the source instead, a function of the model and a sample.
    importance: of parameters, by name, [row], float32, for formats that fit with it.
    only: a function of a parameter's name, whether to score it.
    progress: True for tqdm where it is installed, or a function of samples done and their number (None: not known).

    Whatever ends it, an interrupt too, leaves the model as it was: weights, gradients, modes, hooks.

    Scores.to_scores writes what `qdq plan --scores` takes: no gradients are kept anywhere.

    ValueError: nothing to score, a prepared model, parameters that are not loaded, options that do not go together.
    """
    if at not in ("source", "low") or store not in ("none", "squares", "groups"):
        raise InvalidArgument('at is "source" or "low", store is "none", "squares" or "groups"')
    if at == "low" and (store != "none" or loss is not None):
        raise InvalidArgument('at="low" has the KL divergence as its loss, and stores nothing')
    names, above = _names(low), "source" if high == "source" else _formats.find(high).name
    refuse_prepared(model)
    parameters = _chosen(model, only)
    scorer = _Scorer(parameters, names, above, {n: t for n, t in (importance or {}).items() if n in parameters})
    if not scorer.formats:
        raise InvalidArgument(f"no parameter's rows fit any of {', '.join(names)}")
    scored = {n: parameters[n] for n in scorer.formats}
    try:
        if at == "low":
            return _at_low(model, batches, names, above, scored, importance or {}, max_samples, progress)
        given = _Counted(sequences(batches, device_of(model), max_samples), length_of(batches, max_samples))
        if store == "none":
            samples = _backward(model, given, scored, loss, seed, progress, scorer.add, scorer.settle)
        else:
            sums = _squares(model, given, scored, loss, seed, progress, _GROUP if store == "groups" else 1)
            samples = given.samples
            for name in list(sums):
                scorer.add_groups(name, scored[name].detach(), sums.pop(name), samples)
            scorer.settle()
        results = scorer.results(scored, samples if store == "none" else 1)
        return Scores(results, above, at, samples, given.tokens_per_sample if loss is None else 0, bool(importance))
    finally:
        scorer.abandon()


class _Counted:
    """Samples, one at a time, and how many there were, with how many tokens."""

    def __init__(self, samples: Iterable[Dict[str, Any]], total: Optional[int]):
        self._given, self.total = samples, total
        self.samples = self.tokens = 0

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        for given in self._given:
            self.samples += 1
            ids = given.get("input_ids")
            self.tokens += ids.numel() if isinstance(ids, torch.Tensor) else 0
            yield given

    @property
    def tokens_per_sample(self) -> float:
        return self.tokens / max(self.samples, 1)


def _backward(
    model: nn.Module,
    data: _Counted,
    parameters: Mapping[str, nn.Parameter],
    loss: Optional[Loss],
    seed: int,
    progress: Progress,
    take: Callable[[str, torch.Tensor, torch.Tensor], None],
    after: Callable[[], None],
) -> int:
    """A backward pass for each sample at the weights themselves; returns how many there were."""
    generator = torch.Generator(device_of(model)).manual_seed(seed)
    with undisturbed(model, parameters.values()), gradients_to(parameters, take), torch.enable_grad():
        for given in watched(data, data.total, progress, "sensitivity"):
            value = loss(model, given) if loss is not None else drawn_likelihood(model, given, generator)
            value.backward()
            after()
    if not data.samples:
        raise InvalidArgument("there is no sample in the batches")
    return data.samples


def _squares(
    model: nn.Module,
    data: _Counted,
    parameters: Mapping[str, nn.Parameter],
    loss: Optional[Loss],
    seed: int,
    progress: Progress,
    group: int = 1,
) -> Dict[str, torch.Tensor]:
    """Sums over samples of squared gradients, float32; group: one sum for so many weights side by side, or for as many
    as divide a row."""
    widths = {n: math.gcd(p.shape[-1], group) for n, p in parameters.items()}
    sums = {
        n: torch.zeros((*p.shape[:-1], p.shape[-1] // widths[n]), dtype=torch.float32, device=p.device)
        for n, p in parameters.items()
    }

    def take(name: str, w: torch.Tensor, gradient: torch.Tensor) -> None:
        if widths[name] > 1:
            groups = gradient.unflatten(-1, (-1, widths[name]))
            sums[name].add_(torch.linalg.vector_norm(groups, dim=-1, dtype=torch.float32).square_())
        else:
            g = gradient.float()
            sums[name].addcmul_(g, g)

    _backward(model, data, parameters, loss, seed, progress, take, lambda: None)
    return sums


def _at_low(
    model: nn.Module,
    batches: Iterable[Batch],
    low: Sequence[str],
    high: str,
    parameters: Mapping[str, nn.Parameter],
    importance: Mapping[str, torch.Tensor],
    limit: Optional[int],
    progress: Progress,
) -> Scores:
    data = list(sequences(batches, device_of(model), limit))
    if not data:
        raise InvalidArgument("there is no sample in the batches")
    scores = Scores(high=high, at="low", samples=len(data))
    for f in low:
        scorer = _Scorer(parameters, [f], high, {n: t for n, t in importance.items() if n in parameters})
        fitting = {n: parameters[n] for n in scorer.formats}
        if not fitting:
            continue
        wanted = {f"^{re.escape(n)}$": f for n in fitting}
        with undisturbed(model, fitting.values()), torch.enable_grad():
            prepare(model, wanted, importance={n: t for n, t in importance.items() if n in fitting})
            try:
                with gradients_to(fitting, scorer.add):
                    for given in watched(data, len(data), progress, f"sensitivity, {f}"):
                        with enabled(model, False), torch.no_grad():
                            teacher = logits_of(model, given).log_softmax(-1)
                        student = logits_of(model, given).log_softmax(-1)
                        F.kl_div(student, teacher, log_target=True, reduction="batchmean").backward()
                        scorer.settle()
            finally:
                scorer.abandon()
                release(model)
        for name, found in scorer.results(fitting, len(data)).items():
            scores.tensors.setdefault(name, {}).update(found)
    return scores


def rms_gradients(
    model: nn.Module,
    batches: Iterable[Batch],
    path: Optional[PathLike] = None,
    *,
    loss: Optional[Loss] = None,
    only: Optional[Callable[[str], bool]] = None,
    max_samples: Optional[int] = 64,
    seed: int = 0,
    progress: Progress = True,
) -> Dict[str, torch.Tensor]:
    """Root mean square gradients at the weights, sqrt(mean over samples of g^2), float32, by parameter.

    What is differentiated, and the arguments, are those of sensitivity(at="source"). path: a safetensors file to write
    them to, which `qdq plan --grad` takes and knows as root mean squares.
    """
    refuse_prepared(model)
    parameters = _chosen(model, only)
    given = _Counted(sequences(batches, device_of(model), max_samples), length_of(batches, max_samples))
    sums = _squares(model, given, parameters, loss, seed, progress)
    for value in sums.values():
        value.div_(given.samples).sqrt_()
    if path is not None:
        told = {
            "reduction": f"root mean square over {given.samples} samples",
            "loss": "-log p of tokens drawn from the model's output" if loss is None else "the caller's",
            "evaluated_at": "the weights",
            "seed": str(seed),
        }
        if loss is None:  # whose unit is known: plans foretell the KL divergence a token
            told["tokens_per_sample"] = str(given.tokens_per_sample)
        write_whole(path, safetensors_bytes(sums, told))
    return sums


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of float32 tensors."""
    header: Dict[str, Any] = {"__metadata__": dict(metadata)}
    at, parts = 0, []
    for name, t in tensors.items():
        content = t.detach().to("cpu", torch.float32).contiguous()
        size = content.numel() * 4
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + size]}
        parts.append(ctypes.string_at(content.data_ptr(), size) if size else b"")
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
