"""A plan measured: the KL divergence of it and of others of its size, by forward passes, and the best of them.

Damage is a sum over tensors of what each would do by itself, to second order. Where that is wrong it is so for a kind of
tensor, or a part of the layers, as a whole: so the plans that are tried are those that would be best if the damage of one
such class were some times larger or smaller than was thought, and after these exchanges between two tensors. What they
lose beyond the best so far counts as the plan's caution has it, so that they are near that.
"""

from __future__ import annotations

import copy
import math
import re
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import nn

from .. import _operations
from .._errors import InvalidArgument
from .._plan import Plan
from ._runs import (
    Batch,
    Progress,
    device_of,
    logits_of,
    refuse_prepared,
    sequences,
    undisturbed,
    watched,
    weights_of,
)

Start = Union[Plan, Mapping[str, str]]


@dataclass(frozen=True)
class Trial:
    """A plan that was measured."""

    what: str
    bytes: int
    """Of what the plan's target bounds: the file, or what a token reads."""
    kl: float
    """Nats a token, in the mean over the samples that it was measured on."""
    samples: int
    """Fewer than there are where the first ones showed it to be worse."""
    better: bool
    """Than all before it: others' plans by however little, what was made of this one by a standard error of the
    difference."""


@dataclass(frozen=True)
class Refined:
    """What `refine` found."""

    plan: Plan
    """The best; the one that was given, if none was better."""
    kl_before: float
    """The given plan's KL divergence, nats a token, in the mean over the samples."""
    kl: float
    """The best plan's."""
    samples: int
    trials: List[Trial] = field(default_factory=list)
    left_out: List[str] = field(default_factory=list)
    """Tensors of the plan that the model has not as parameters: they stay as they are in all that was measured."""
    seconds: float = 0

    def __str__(self) -> str:
        lines = [f"KL divergence {self.kl_before:.6g} -> {self.kl:.6g} nats a token, over {self.samples} samples"]
        lines += [
            f"  {t.kl:.6g}  {t.bytes:,} bytes  {t.what}{'  *' if t.better else ''}"
            + (f"  ({t.samples} samples)" if t.samples < self.samples else "")
            for t in self.trials
        ]
        if self.left_out:
            lines.append(f"  {len(self.left_out)} tensors are no parameters and were left as they are")
        return "\n".join(lines)


# ---- The problem, as the plan's file has it --------------------------------------------------------------------------


class _Choice(NamedTuple):
    format: str
    bytes: int
    """Of what the target bounds."""
    damage: float


class _Item(NamedTuple):
    """A tensor, or several that share a format."""

    names: Tuple[str, ...]
    choices: Tuple[_Choice, ...]
    classes: Tuple[str, ...]


Assignment = Tuple[int, ...]
"""Of each item the number of its choice."""


class _Problem:
    def __init__(self, plan: Plan):
        per_token = plan.content.get("cost") == "token"
        self._key = "token_bytes" if per_token else "bytes"
        together: Dict[Any, List[Dict[str, Any]]] = {}
        for t in plan.planned:
            together.setdefault(t["group"] if t["group"] is not None else (t["name"],), []).append(t)
        layers = 1 + max((int(m[1]) for t in plan.planned for m in [_LAYER.match(_name(t))] if m), default=0)
        self.items = [self._item(ts, layers) for ts in together.values()]
        chosen = {t["name"]: t["format"] for t in plan.planned}
        self.given = tuple(
            next(k for k, c in enumerate(i.choices) if c.format == chosen[i.names[0]]) for i in self.items
        )
        self.fixed = plan.content[self._key] - self.bytes(self.given)
        self.limit = plan.content["budget"] - self.fixed
        self.caution = plan.content.get("caution") or 1.0

    def _item(self, tensors: List[Dict[str, Any]], layers: int) -> _Item:
        by_format = [{c["format"]: c for c in t["choices"]} for t in tensors]
        shared = [f for f in by_format[0] if all(f in b for b in by_format)]
        choices = [
            _Choice(f, sum(b[f][self._key] for b in by_format), sum(b[f]["damage"] for b in by_format)) for f in shared
        ]
        return _Item(tuple(t["name"] for t in tensors), tuple(choices), _classes(_name(tensors[0]), layers))

    def bytes(self, a: Assignment) -> int:
        return sum(i.choices[k].bytes for i, k in zip(self.items, a))

    def damage(self, a: Assignment) -> float:
        return sum(i.choices[k].damage for i, k in zip(self.items, a))

    def formats(self, a: Assignment) -> Dict[str, str]:
        return {n: i.choices[k].format for i, k in zip(self.items, a) for n in i.names}

    def solve(self, factors: Sequence[float], around: Assignment) -> Assignment:
        """The least damage within the limit, each item's being so many times what is known, and what it loses beyond
        `around` counting as the plan's caution has it: the steps of all items' convex hulls, those that gain most by byte
        first."""
        a, steps = [], []
        for number, (item, factor, here) in enumerate(zip(self.items, factors, around)):
            choices = [c._replace(damage=self._counted(c.damage, item.choices[here].damage)) for c in item.choices]
            hull = _hull(choices)
            a.append(hull[0])
            for low, high in zip(hull, hull[1:]):
                gain = factor * (choices[low].damage - choices[high].damage)
                cost = choices[high].bytes - choices[low].bytes
                steps.append((-gain / cost, number, low, high, cost))
        left = self.limit - self.bytes(tuple(a))
        for _, number, low, high, cost in sorted(steps):
            if a[number] == low and cost <= left:
                a[number] = high
                left -= cost
        return tuple(a)

    def _counted(self, damage: float, here: float) -> float:
        """A guess of what is lost is trusted less than that of what is saved, as where the plan was made."""
        return damage if damage <= here else here + self.caution * (damage - here)

    def of(self, formats: Mapping[str, str]) -> Optional[Assignment]:
        """By names of tensors; None: a tensor has no such choice, or all is too large."""
        a = []
        for item in self.items:
            wanted = {formats.get(n) for n in item.names}
            k = next((k for k, c in enumerate(item.choices) if wanted == {c.format}), None)
            if k is None:
                return None
            a.append(k)
        return tuple(a) if self.bytes(tuple(a)) <= self.limit else None


_LAYER = re.compile(r"blk\.(\d+)\.")


def _name(tensor: Mapping[str, Any]) -> str:
    return tensor.get("gguf") or tensor["name"]


def _classes(name: str, layers: int) -> Tuple[str, ...]:
    """What a tensor has in common with others: its kind, and which third of the layers it is in."""
    m = _LAYER.match(name)
    if m is None:
        return (name,)
    third = ("first", "middle", "last")[min(3 * int(m[1]) // layers, 2)]
    return (name[m.end() :], f"the {third} third of the layers")


def _hull(choices: Sequence[_Choice]) -> List[int]:
    """The lower convex hull of damage by bytes, the smallest first."""
    hull: List[int] = []
    for k in sorted(range(len(choices)), key=lambda k: (choices[k].bytes, choices[k].damage)):
        c = choices[k]
        if hull and (c.bytes == choices[hull[-1]].bytes or c.damage >= choices[hull[-1]].damage):
            continue
        while len(hull) > 1:
            a, b = choices[hull[-2]], choices[hull[-1]]
            if (a.damage - b.damage) * (c.bytes - b.bytes) > (b.damage - c.damage) * (b.bytes - a.bytes):
                break
            hull.pop()
        hull.append(k)
    return hull


# ---- What is tried ---------------------------------------------------------------------------------------------------

_FACTORS = (4.0, 0.25, 2.0, 0.5)
"""How far a class's damage may be from what is known: docs/planner.md saw factors like these."""

_DOUBT = 0.5
"""Of a difference of damages, how uncertain it is: a standard deviation, relative."""

_PAIRS = 64
"""Items that exchanges are looked for among."""


def _promise(problem: _Problem, now: Assignment, other: Assignment) -> float:
    """The expected gain of a plan that is foretold to be worse by a little, if what is foretold is as uncertain as
    _DOUBT says."""
    worse = problem.damage(other) - problem.damage(now)
    moved = sum(abs(i.choices[a].damage - i.choices[b].damage) for i, a, b in zip(problem.items, now, other) if a != b)
    spread = _DOUBT * moved
    if spread <= 0:
        return max(-worse, 0.0)
    z = -worse / spread
    return spread * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * 0.5 * math.erfc(-z / math.sqrt(2)))


class _Try(NamedTuple):
    what: str
    assignment: Assignment
    factors: Tuple[float, ...]
    is_start: bool = False
    """Somebody else's plan: the result must not be worse on the samples, by however little."""


def _by_classes(problem: _Problem, now: Assignment, factors: Tuple[float, ...]) -> List[_Try]:
    names = sorted({c for i in problem.items for c in i.classes})
    found = [_Try("damage as foretold", problem.solve(factors, now), factors)]
    for name in names:
        for factor in _FACTORS:
            f = tuple(x * factor if name in i.classes else x for x, i in zip(factors, problem.items))
            found.append(_Try(f"{name}: damage x {factor:g}", problem.solve(f, now), f))
    return sorted(found, key=lambda t: -_promise(problem, now, t.assignment))


def _by_exchange(problem: _Problem, now: Assignment, factors: Tuple[float, ...]) -> List[_Try]:
    """One item gets more and another less."""
    ups: List[Tuple[int, int]] = []
    downs: List[Tuple[int, int]] = []
    for number, (item, k) in enumerate(zip(problem.items, now)):
        for other, c in enumerate(item.choices):
            if c.bytes == item.choices[k].bytes and c.damage >= item.choices[k].damage:
                continue
            (ups if c.bytes >= item.choices[k].bytes else downs).append((number, other))

    def moved(move: Tuple[int, int]) -> float:
        number, other = move
        return abs(problem.items[number].choices[other].damage - problem.items[number].choices[now[number]].damage)

    ups, downs = (sorted(m, key=moved, reverse=True)[:_PAIRS] for m in (ups, downs))
    found = []
    for up, higher in ups:
        for down, lower in downs:
            a = list(now)
            a[up], a[down] = higher, lower
            if up == down or problem.bytes(tuple(a)) > problem.limit:
                continue
            more, less = problem.items[up], problem.items[down]
            what = f"{more.names[0]} {more.choices[higher].format}, {less.names[0]} {less.choices[lower].format}"
            found.append((_promise(problem, now, tuple(a)), _Try(what, tuple(a), factors)))
    return [t for _, t in sorted(found, key=lambda x: -x[0])[:_PAIRS]]


_SIZE = 0.8
"""Of the plan's size, what others' must have to be of its size."""


def _baselines(problem: _Problem, plan: Plan) -> Iterator[_Try]:
    """What the plan was held against, of those of its size: the least damage first, which is its yardstick."""
    ones = tuple(1.0 for _ in problem.items)
    found = []
    for b in plan.content.get("baselines", ()):
        if b.get("formats"):
            a = problem.of({t["name"]: f for t, f in zip(plan.planned, b["formats"])})
            if a is not None:
                found.append((b["damage"], problem.bytes(a), _Try(b["name"], a, ones, True)))
    found.sort(key=lambda x: x[:2])
    for number, (_, size, t) in enumerate(found):
        if number == 0 or size >= _SIZE * problem.limit:
            yield t


def _starts(problem: _Problem, plan: Plan, starts: Iterable[Tuple[str, Start]]) -> Iterator[_Try]:
    """Others' plans that fit, and what the plan was held against."""
    ones = tuple(1.0 for _ in problem.items)
    for name, start in starts:
        formats = {}
        for t in plan.planned:
            if isinstance(start, Plan):
                told = start.format_of(t["name"])[0]
            else:
                told = start.get(t["name"]) or start.get(_name(t))
            formats[t["name"]] = told or "source"
        a = problem.of(formats)
        if a is not None:
            yield _Try(name, a, ones, True)
    yield from _baselines(problem, plan)


# ---- Measuring -------------------------------------------------------------------------------------------------------


class _Weights:
    """Parameters that take their round trips, and are put back."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], importance: Mapping[str, torch.Tensor]):
        self._parameters, self._importance = parameters, importance
        self._originals = {n: p.detach().clone() for n, p in parameters.items()}
        self._now: Dict[str, Optional[str]] = {n: None for n in parameters}

    def set(self, formats: Mapping[str, Optional[str]]) -> None:
        for name, p in self._parameters.items():
            f = formats.get(name)
            if f == self._now[name]:
                continue
            if f is None:
                p.data.copy_(self._originals[name])
            else:
                given = self._importance.get(name)
                weights = None if given is None else given.to(p.device, torch.float32).contiguous()
                _operations.roundtrip(self._originals[name], f, importance=weights, dtype=p.dtype, out=p.data)
            self._now[name] = f

    def restore(self) -> None:
        for name, p in self._parameters.items():
            p.data.copy_(self._originals[name])


class _Measure:
    """KL divergences of each sample, against the model as it was."""

    def __init__(self, model: nn.Module, samples: List[Dict[str, Any]]):
        self._model, self._samples = model, samples
        self._expected = [logits_of(model, s).log_softmax(-1) for s in samples]

    def __len__(self) -> int:
        return len(self._samples)

    def kl(self, best: Sequence[float] = (), surely: bool = False) -> List[float]:
        """Of each sample, nats a token; the first few only, if these are clearly worse than the best; surely: if whatever
        the others have cannot make it better."""
        found: List[float] = []
        for given, expected in zip(self._samples, self._expected):
            got = logits_of(self._model, given).log_softmax(-1)
            found.append(float((expected.exp() * (expected - got)).sum(-1).double().mean()))
            if not math.isfinite(found[-1]):
                return found
            if best and surely and sum(found) > sum(best):
                break
            if best and not surely and 4 <= len(found) < len(self._samples):
                mean, error = _difference(found, best)
                if mean > 2 * error:
                    break
        return found


def _difference(a: Sequence[float], b: Sequence[float]) -> Tuple[float, float]:
    """The mean of a - b, as far as both go, and its standard error."""
    d = [x - y for x, y in zip(a, b)]
    mean = sum(d) / len(d)
    spread = sum((x - mean) ** 2 for x in d) / max(len(d) - 1, 1)
    return mean, math.sqrt(spread / len(d))


def _mean(x: Sequence[float]) -> float:
    return sum(x) / len(x)


def refine(
    model: nn.Module,
    plan: Plan,
    batches: Iterable[Batch],
    *,
    seconds: float = 60,
    trials: Optional[int] = None,
    starts: Mapping[str, Start] = {},
    names: Optional[Mapping[str, str]] = None,
    importance: Optional[Mapping[str, torch.Tensor]] = None,
    max_samples: Optional[int] = 16,
    progress: Progress = True,
) -> Refined:
    """Measures a plan and others of its size by forward passes, and gives the best.

    model: whose plan it is, with its weights as they are. batches: as in `sensitivity`; text that the model is for, best
    other than what the plan was made by. importance: of parameters, as formats were fitted with.
    seconds: how long it may take. The plan itself is measured in any case; nothing is begun that would end later.
    trials: how many plans to measure at most, the given one left out.
    starts: others' plans to begin with, by a name: a Plan, or {tensor: format}; those that are too large, or have what
    the plan does not choose from, are passed over. What the plan was held against is tried in any case: of single formats
    and llama-quantize's presets that fit, that of the least damage, and those of at least four fifths of the size.

    names: the plan's names of parameters, for a plan that was made for a GGUF.
    importance: of parameters, by name, [row], float32, as the file's formats will be fitted with.

    Measured is the KL divergence of the model's output with its weights in the plan's formats from its own output, in
    the mean over the tokens of the samples. On these samples the result is never worse than the plan that was given, nor
    than any of those to begin with, if the time was enough to measure them; what is made of these counts as better only by
    more than the standard error of the difference. What is tried, and in which order, depends on nothing but the plan and
    what was measured.

    The model is as before when this ends, whatever ends it. Memory: a second copy of the weights that are planned, and
    the outputs for all samples, four bytes a token and entry of the vocabulary.

    ValueError: no samples, a plan of another model, a prepared model, outputs that are not finite.
    """
    began = time.monotonic()
    refuse_prepared(model)
    problem = _Problem(plan)
    every, planned = weights_of(model), {t["name"]: t for t in plan.planned}
    told = {(names or {}).get(n, n): n for n in every}
    parameter_of = {t["name"]: told[n] for t in plan.planned for n in (t["name"], t.get("gguf")) if n in told}
    if not parameter_of:
        first = next(iter(planned), "nothing")
        raise InvalidArgument(f'the plan is for another model: it plans "{first}", which is no parameter of this one')
    for tensor, name in parameter_of.items():
        if tuple(planned[tensor]["shape"]) != tuple(every[name].shape):
            raise InvalidArgument(
                f"{name} is {tuple(every[name].shape)}, in the plan {tuple(planned[tensor]['shape'])}"
            )
    chosen = {n: every[n] for n in parameter_of.values()}
    samples = list(sequences(batches, device_of(model), max_samples))
    if not samples:
        raise InvalidArgument("there is no sample in the batches")
    made: List[Trial] = []
    with undisturbed(model, ()), torch.no_grad():
        measure = _Measure(model, samples)
        weights = _Weights(chosen, importance or {})

        def measured(a: Assignment, best: Sequence[float] = (), surely: bool = False) -> List[float]:
            formats = problem.formats(a)
            wanted = {n: formats[t] for t, n in parameter_of.items()}
            weights.set({n: None if f == "source" else f for n, f in wanted.items()})
            return measure.kl(best, surely)

        try:
            at = time.monotonic()
            before = best = measured(problem.given)
            if not all(map(math.isfinite, before)):
                raise InvalidArgument("the model's output, or that of the plan, is not finite")
            longest = time.monotonic() - at
            now, seen = problem.given, {problem.given}
            factors = tuple(1.0 for _ in problem.items)
            first = list(_starts(problem, plan, starts.items()))
            waiting = first + _by_classes(problem, now, factors)
            exchanging = False
            for _ in watched(_until(began, seconds, trials, lambda: longest), trials, progress, "refine"):
                waiting = [t for t in waiting if t.assignment not in seen]
                if not waiting and not exchanging:
                    exchanging = True
                    waiting = [t for t in _by_exchange(problem, now, factors) if t.assignment not in seen]
                if not waiting:
                    break
                trial = waiting.pop(0)
                seen.add(trial.assignment)
                at = time.monotonic()
                found = measured(trial.assignment, best, trial.is_start)
                longest = max(longest, time.monotonic() - at)
                mean, error = _difference(found, best)
                least = 0 if trial.is_start else error
                better = len(found) == len(best) and math.isfinite(mean) and mean + least < 0
                size = problem.fixed + problem.bytes(trial.assignment)
                made.append(Trial(trial.what, size, _mean(found), len(found), better))
                if better:
                    now, best, factors = trial.assignment, found, trial.factors
                    # What else was waiting was chosen for where we were.
                    waiting = first + (_by_exchange if exchanging else _by_classes)(problem, now, factors)
        finally:
            weights.restore()
    left_out = [n for n in planned if n not in parameter_of]
    result = plan if now == problem.given else _plan_of(plan, problem, now, _mean(before), _mean(best), len(samples))
    return Refined(result, _mean(before), _mean(best), len(samples), made, left_out, time.monotonic() - began)


def _until(began: float, seconds: float, trials: Optional[int], longest: Any) -> Iterator[int]:
    """Goes on while a trial as long as the longest would end in time."""
    done = 0
    while (trials is None or done < trials) and time.monotonic() - began + longest() <= seconds:
        yield done
        done += 1


def _plan_of(plan: Plan, problem: _Problem, a: Assignment, before: float, after: float, samples: int) -> Plan:
    content = copy.deepcopy(plan.content)
    formats = problem.formats(a)
    for t in content["tensors"]:
        if t["name"] not in formats:
            continue
        t["format"] = formats[t["name"]]
        chosen = next(c for c in t["choices"] if c["format"] == t["format"])
        content["bytes"] += chosen["bytes"] - t["bytes"]
        if "token_bytes" in t:  # of a plan by size only the tensor has it: a share of its bytes
            reads = chosen.get("token_bytes", t["token_bytes"] * chosen["bytes"] // t["bytes"])
            content["token_bytes"] += reads - t["token_bytes"]
            t["token_bytes"] = reads
        t["bytes"] = chosen["bytes"]
    content["damage"] = problem.damage(a)
    content["proven"] = False
    content["refined"] = {"kl_before": before, "kl": after, "samples": samples}
    return Plan(content)
