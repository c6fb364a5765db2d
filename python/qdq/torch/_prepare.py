"""Fake quantization of a model's weights, in place: names of parameters, hooks and checkpoints stay as they are.

A module that is prepared changes its class for a subclass that quantizes when it computes, as torch's own
parametrizations do; its parameters are the same objects under the same names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union, cast

import torch
from torch import nn
from torch.nn import functional as F

from .. import _formats
from .._errors import InvalidArgument
from .._formats import FormatLike
from ._ops import compute_dtype, embedding, fake_quantize, linear

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass
class State:
    """How one parameter of a module is quantized."""

    format: str
    enabled: bool = True


_STATES = "_qdq"


def _importance_name(parameter: str) -> str:
    return f"_qdq_importance_{parameter}"


def _state_of(module: nn.Module, parameter: str) -> Tuple[State, Optional[torch.Tensor]]:
    return module.__dict__[_STATES][parameter], module._buffers.get(_importance_name(parameter))


# ---- Modules ---------------------------------------------------------------------------------------------------------


class FakeQuantizedLinear(nn.Linear):
    """nn.Linear that computes with its weight's round trip."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        state, importance = _state_of(self, "weight")
        if state.enabled:
            return linear(input, self.weight, self.bias, state.format, importance)
        dtype = compute_dtype(input)
        bias = self.bias if self.bias is None else self.bias.to(dtype)
        return F.linear(input.to(dtype), self.weight.to(dtype), bias)


class FakeQuantizedEmbedding(nn.Embedding):
    """nn.Embedding that gives its rows' round trips."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        state, importance = _state_of(self, "weight")
        if not state.enabled:
            return super().forward(input)
        return embedding(
            input,
            self.weight,
            state.format,
            importance,
            padding_idx=self.padding_idx,
            max_norm=self.max_norm,
            norm_type=self.norm_type,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )


_made: Dict[Tuple[type, Tuple[str, ...]], type] = {}


def _class_with(base: type, parameters: Tuple[str, ...]) -> type:
    """A subclass whose attributes of those names are the parameters' round trips: for modules that compute in their own
    way, as stacks of experts do. The backward pass keeps what it needs of the round trips."""
    found = _made.get((base, parameters))
    if found is None:

        def value_of(name: str) -> property:
            def get(self: nn.Module) -> torch.Tensor:
                state, importance = _state_of(self, name)
                w = cast(nn.Parameter, self._parameters[name])
                return fake_quantize(w, state.format, importance) if state.enabled else w

            return property(get)

        body: Dict[str, Any] = {name: value_of(name) for name in parameters}
        body["__module__"] = __name__
        found = _made[base, parameters] = type(f"FakeQuantized{base.__name__}", (base,), body)
    return found


def _swap(module: nn.Module, parameters: Tuple[str, ...]) -> None:
    kind = type(module)
    if kind is nn.Linear:
        module.__class__ = FakeQuantizedLinear
    elif kind is nn.Embedding:
        module.__class__ = FakeQuantizedEmbedding
    else:
        module.__class__ = _class_with(kind, parameters)


def _restore(module: nn.Module) -> None:
    for parameter in module.__dict__.pop(_STATES):
        module._buffers.pop(_importance_name(parameter), None)
        module._non_persistent_buffers_set.discard(_importance_name(parameter))
    module.__class__ = type(module).__mro__[1]


def prepared_modules(model: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """The modules that quantize, each once."""
    return ((name, m) for name, m in model.named_modules() if _STATES in m.__dict__)


# ---- Which format for which parameter --------------------------------------------------------------------------------


class Skipped(NamedTuple):
    """A parameter that stays as it is."""

    name: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """What `prepare` and `convert` did."""

    formats: Dict[str, str] = field(default_factory=dict)
    """Of each quantized parameter, by its name in model.named_parameters()."""
    skipped: List[Skipped] = field(default_factory=list)
    """Parameters that stay as they are, and why; those of one dimension are left out."""

    def __str__(self) -> str:
        counts: Dict[str, int] = {}
        for f in self.formats.values():
            counts[f] = counts.get(f, 0) + 1
        lines = [
            ", ".join(f"{n} parameter{'s' if n > 1 else ''} in {f}" for f, n in counts.items())
            or "no parameter is quantized"
        ]
        lines += [f"  {s.name}: {s.reason}" for s in self.skipped]
        return "\n".join(lines)


class _Use(NamedTuple):
    module: nn.Module
    attribute: str

    @property
    def parameter(self) -> nn.Parameter:
        return cast(nn.Parameter, self.module._parameters[self.attribute])


# What llama-quantize leaves alone, by the names that Hugging Face's models have for it.
_LEFT_ALONE = (
    (re.compile(r"(^|[._])(gate|router)\.(weight|wg\.weight)$"), "a router, which llama-quantize leaves as it is"),
    (
        re.compile(r"(^|\.)(position_embeddings|wpe|token_type_embeddings)\.weight$"),
        "llama-quantize leaves it as it is",
    ),
)


def _uses(model: nn.Module) -> Dict[str, List[_Use]]:
    """Of each parameter with two dimensions or more, by its first name: where it is used. Tied ones are used twice."""
    names: Dict[int, str] = {}
    found: Dict[str, List[_Use]] = {}
    for prefix, module in model.named_modules():
        for attribute, p in module._parameters.items():
            if p is None or p.dim() < 2:
                continue
            name = names.setdefault(id(p), f"{prefix}.{attribute}" if prefix else attribute)
            found.setdefault(name, []).append(_Use(module, attribute))
    return found


def _chooser(model: nn.Module, spec: Any, names: List[str]) -> Callable[[str], Tuple[Optional[str], str]]:
    """The format of a parameter's name; or None, and why."""
    if hasattr(spec, "format_of"):  # a plan

        def planned(name: str) -> Tuple[Optional[str], str]:
            return spec.format_of(name)

        return planned
    if isinstance(spec, Mapping):
        rules = [(re.compile(pattern), _formats.find(f).name if f is not None else None) for pattern, f in spec.items()]
        for rule, _ in rules:
            if not any(rule.search(n) for n in names):
                raise InvalidArgument(f"the pattern {rule.pattern!r} matches no parameter of two dimensions or more")

        def ruled(name: str) -> Tuple[Optional[str], str]:
            for rule, f in rules:
                if rule.search(name):
                    return f, "excluded by a pattern"
            return None, "no pattern matches"

        return ruled
    found = _formats.find(spec).name

    def same(name: str) -> Tuple[Optional[str], str]:
        for pattern, reason in _LEFT_ALONE:
            if pattern.search(name):
                return None, reason
        return found, ""

    return same


def _unfit(uses: List[_Use], name: str) -> Optional[str]:
    """Why a parameter cannot be quantized in the format, or None."""
    p = uses[0].parameter
    known = _formats.find(name)
    if p.dtype not in FLOATS:
        return f"it is {p.dtype}"
    for use in uses:
        kind = type(use.module).__name__
        if kind == "Conv1D":
            return "a Conv1D holds its weight transposed: rows of the file are its columns"
        if use.attribute != "weight" and not p.dim() >= 3:
            return f"{kind}.{use.attribute} is no weight of a linear layer or embedding"
        if isinstance(use.module, nn.modules.conv._ConvNd):
            return "convolutions are not quantized"
    if p.shape[-1] % known.block_elements:
        return f"rows of {p.shape[-1]} are no multiple of {known.name}'s block, {known.block_elements}"
    return None


Spec = Union[FormatLike, Mapping[str, Optional[FormatLike]], Any]


def prepare(
    model: nn.Module,
    formats: Spec,
    *,
    importance: Optional[Mapping[str, torch.Tensor]] = None,
    enabled: bool = True,
) -> Prepared:
    """Makes the model compute with its weights' round trips, in place; gradients reach the weights straight through.

    formats: a format, for every weight of a linear layer, embedding or stack of experts, except what llama-quantize
    leaves alone; or {regex: format}, searched in the parameters' names, of which the first that is found counts (None:
    leave it); or a qdq.Plan.
    importance: of a parameter, by name, one weight a column, [row], float32.
    enabled: False to begin with the weights as they are, until qdq.torch.enabled(model) is called.

    Parameters stay the same objects under the same names, so optimizers and checkpoints do not notice. Tied parameters
    are quantized alike wherever they are used. A model that was prepared before gets the new formats. Keep the weights
    in float32 and compute under autocast: what bfloat16 rounds away, the shipped file does not have.

    ValueError: no such format, a pattern that matches nothing, a format that a pattern or plan asks for and that does
    not fit, importance of another shape. Nothing is changed then.
    """
    uses = _uses(model)
    choose = _chooser(model, formats, list(uses))
    strict = isinstance(formats, Mapping) or hasattr(formats, "format_of")
    done: Dict[str, str] = {}
    skipped: List[Skipped] = []
    for name, places in uses.items():
        wanted, reason = choose(name)
        if wanted is None:
            skipped.append(Skipped(name, reason))
            continue
        unfit = _unfit(places, wanted)
        if unfit is None:
            done[name] = wanted
        elif strict:
            raise InvalidArgument(f"{name} in {wanted}: {unfit}")
        else:
            skipped.append(Skipped(name, unfit))
    weights = _importance_of(uses, done, importance or {})
    release(model)
    by_module: Dict[int, Tuple[nn.Module, Dict[str, str]]] = {}
    for name, f in done.items():
        for use in uses[name]:
            by_module.setdefault(id(use.module), (use.module, {}))[1][use.attribute] = name
    for module, attributes in by_module.values():
        module.__dict__[_STATES] = {a: State(done[n], enabled) for a, n in attributes.items()}
        for a, n in attributes.items():
            if n in weights:
                module.register_buffer(_importance_name(a), weights[n], persistent=False)
        _swap(module, tuple(sorted(attributes)))
    return Prepared(done, skipped)


def _importance_of(
    uses: Dict[str, List[_Use]], done: Dict[str, str], importance: Mapping[str, torch.Tensor]
) -> Dict[str, torch.Tensor]:
    found = {}
    for name, f in done.items():
        p = uses[name][0].parameter
        given = importance.get(name)
        if given is None and _formats.find(f).importance == "needed":
            raise InvalidArgument(f"{name}: {f} needs importance, and none is given for it")
        if given is not None:
            if tuple(given.shape) != tuple(p.shape[-1:]):
                raise InvalidArgument(f"{name}: importance of shape {tuple(given.shape)} for rows of {p.shape[-1]}")
            found[name] = given.detach().to(device=p.device, dtype=torch.float32).contiguous()
    return found


def release(model: nn.Module) -> None:
    """Makes a prepared model what it was before; its weights stay as they are."""
    for _, module in list(prepared_modules(model)):
        _restore(module)


class enabled:
    """Turns a prepared model's quantization on or off: at once, or for the time of a `with`.

    enabled(model)                      on
    enabled(model, False)               off: the model computes with its weights themselves
    with enabled(model, False): ...     off, and afterwards as it was
    """

    def __init__(self, model: nn.Module, on: bool = True):
        self._before = [(s, s.enabled) for _, m in prepared_modules(model) for s in m.__dict__[_STATES].values()]
        for state, _ in self._before:
            state.enabled = on

    def __enter__(self) -> "enabled":
        return self

    def __exit__(self, *_: Any) -> None:
        for state, before in self._before:
            state.enabled = before


def prepared_parameters(model: nn.Module) -> Dict[str, Tuple[nn.Parameter, str, Optional[torch.Tensor]]]:
    """Of each parameter that is quantized, by its first name: itself, its format and importance."""
    found = {}
    for name, places in _uses(model).items():
        for use in places:
            if use.attribute in use.module.__dict__.get(_STATES, {}):
                state, importance = _state_of(use.module, use.attribute)
                found[name] = (use.parameter, state.format, importance)
    return found


def convert(model: nn.Module) -> Prepared:
    """Gives a prepared model the round trips as its weights, and takes what `prepare` added away.

    The weights keep their dtype: in float32 they are exactly what an engine decodes. To ship the blocks that training
    saw use export_gguf, before this: not every format gives a round trip's blocks again. ValueError: the model is not
    prepared.
    """
    parameters = prepared_parameters(model)
    if not parameters:
        raise InvalidArgument("the model is not prepared: no parameter is quantized")
    for name, (p, _, _) in parameters.items():
        if p.device.type == "meta" or hasattr(p, "to_local"):
            raise InvalidArgument(f"{name} is not whole in memory: gather the model before it is converted")
    with torch.no_grad():
        for p, f, importance in parameters.values():
            p.copy_(fake_quantize(p, f, importance))
    release(model)
    return Prepared({name: f for name, (_, f, _) in parameters.items()})
