"""A trained model as GGUF, its blocks those that training computed with."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import torch
from torch import nn

from .. import _declarations as c
from .. import _formats, _operations
from .._errors import BadData, InvalidArgument
from .._model import GgufWriter, Model, Place, Tensor, places, require_gguf
from .._results import PathLike
from ._prepare import prepared_parameters

Names = Union[Mapping[str, str], Callable[[str], Optional[str]]]

_FLOATS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

# llama.cpp's conversion of gemma models adds 1 to the norms.
_NORM_PLUS_ONE = re.compile(r"gemma[23]?")


class _Part(NamedTuple):
    """What a tensor of the file is made of; see Place."""

    parameter: str
    expert: int
    half: int


@dataclass(frozen=True)
class Exported:
    """What export_gguf wrote."""

    formats: Dict[str, str] = field(default_factory=dict)
    """The types of the file's tensors that come from the model, by their names there."""
    copied: List[str] = field(default_factory=list)
    """Tensors that the model does not have, which are the template's."""
    verified: int = 0
    """Quantized tensors that were read back and decode to training's weights, bit for bit: all of them."""
    bytes: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{n} in {f}" for f, n in Counter(self.formats.values()).items())
        copied = f"; from the template: {', '.join(self.copied)}" if self.copied else ""
        return f"{counts}; {self.verified} read back, equal to training's bits{copied}"


def _parts(names: List[str], architecture: str, given: Optional[Names]) -> Dict[str, List[_Part]]:
    """Of each GGUF name the parameters that make it."""
    if given is None:
        known = places(names, architecture)
    else:
        told = {n: given(n) if callable(given) else given.get(n) for n in names}
        known = {n: [Place(to)] for n, to in told.items() if to}
    found: Dict[str, List[_Part]] = {}
    for name, there in known.items():
        for place in there:
            found.setdefault(place.name, []).append(_Part(name, place.expert, place.half))
    return found


def _interleaved(w: torch.Tensor, heads: int, name: str) -> torch.Tensor:
    """Rows (i, i + half) of each head side by side."""
    if w.shape[0] % (2 * heads):
        raise InvalidArgument(f"{name}: {w.shape[0]} rows are no multiple of twice its {heads} heads")
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape)


class _Source:
    """Values of the file's tensors, from the model's parameters."""

    def __init__(self, model: nn.Module, template: Model, architecture: str):
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        prepared = prepared_parameters(model)
        self.quantized = {id(p): (f, m) for p, f, m in prepared.values()}
        self._architecture = architecture
        self._moved = template.moved_rows()
        self._heads = template.number(f"{architecture}.attention.head_count")
        self._kv_heads = template.number(f"{architecture}.attention.head_count_kv") or self._heads

    def format_of(self, parts: List[_Part]) -> Tuple[Optional[str], Optional[torch.Tensor]]:
        states = [self.quantized.get(id(self.parameters[p.parameter]), (None, None)) for p in parts]
        if len({f for f, _ in states}) > 1:
            raise InvalidArgument(f"{', '.join(p.parameter for p in parts)} share a tensor and differ in format")
        if len(parts) > 1 and any(m is not None for _, m in states):
            raise InvalidArgument(f"{parts[0].parameter}: experts one by one cannot have importance each")
        return states[0]

    def values(self, tensor: Tensor, parts: List[_Part]) -> torch.Tensor:
        """In the file's order, of the parameters' dtype."""
        ordered = sorted(parts, key=lambda p: p.expert)
        pieces = []
        for part in ordered:
            w = self.parameters[part.parameter].detach()
            if part.half >= 0:
                w = w.chunk(2, dim=-2)[part.half]
            pieces.append(self._converted(w, tensor.name))
        if len(pieces) > 1 or ordered[0].expert >= 0:
            if [p.expert for p in ordered] != list(range(len(ordered))):
                raise InvalidArgument(f"{tensor.name}: not all of its matrices are in the model")
            whole = torch.stack(pieces)
        else:
            whole = pieces[0]
        if tuple(whole.shape) != tensor.shape:
            raise InvalidArgument(
                f"{tensor.name} is {tensor.shape} in the template, {tuple(whole.shape)} in the model "
                f"({parts[0].parameter})"
            )
        return whole.contiguous()

    def _converted(self, w: torch.Tensor, name: str) -> torch.Tensor:
        moved = self._moved.get(name)
        if moved is not None:
            heads = self._heads if moved == c.QDQ_MOVED_QUERIES else self._kv_heads
            if heads is None:
                raise BadData(
                    f"the template has no {self._architecture}.attention.head_count, which rows are ordered by"
                )
            return _interleaved(w, heads, name)
        if _NORM_PLUS_ONE.fullmatch(self._architecture) and name.endswith("norm.weight"):
            return w + 1
        return w


def _refuse_rounded(model: nn.Module) -> None:
    for name, (p, f, _) in prepared_parameters(model).items():
        if p.dtype != torch.float32:
            raise InvalidArgument(
                f"{name} is {str(p.dtype).rpartition('.')[2]}: its blocks in {f} are made of rounded weights, and "
                "others than those of float32 masters. Train in float32, or pass allow_rounding=True"
            )


def export_gguf(
    model: nn.Module,
    path: PathLike,
    template: PathLike,
    *,
    names: Optional[Names] = None,
    allow_rounding: bool = False,
) -> Exported:
    """Writes a model that was prepared and trained as GGUF, every quantized tensor in the blocks that training had.

    template: a GGUF of the same architecture in F32, F16 or BF16, such as llama.cpp's conversion of the model before
    training: metadata, tokenizer, and the types of the tensors that are not quantized are its own.
    names: GGUF's names of the parameters, a mapping or a function; without it they are those of the template's
    architecture (llama, qwen2, qwen3 and their experts, gemma2, gemma3, phi3, bert).

    Rows and norms are put as llama.cpp's conversion puts them. Weights come from the parameters themselves, never from
    a rounded checkpoint, and every quantized tensor is read back and compared with what training computed with. The
    file appears whole or not at all; a template is not replaced.

    ValueError: the model is not prepared, parameters are not float32 (unless allow_rounding), a parameter that is
    quantized and has no place in the template, other shapes, a template that is quantized itself. NotImplementedError:
    no names for the architecture. OSError: a file cannot be read or written.
    """
    prepared = prepared_parameters(model)
    if not prepared:
        raise InvalidArgument("the model is not prepared: there is nothing to quantize")
    if not allow_rounding:
        _refuse_rounded(model)
    with Model(template) as source:
        require_gguf(source, template)
        architecture = source.text("general.architecture") or ""
        values = _Source(model, source, architecture)
        parts = _parts(list(values.parameters), architecture, names)
        chosen = _types(source.tensors, parts, values, template)
        _refuse_left_out(model, parts, {t.name for t in source.tensors})
        with GgufWriter(path, source) as writer:
            writer.set_number("general.quantization_version", 2)
            writer.set_number("general.file_type", _file_type(source.tensors, chosen))
            for t in source.tensors:
                writer.add(t.name, chosen[t.name] if t.name in chosen else t.type, t.shape)
            for t in source.tensors:
                if t.name not in chosen:
                    writer.write(t.address, t.nbytes)
                    continue
                made = _data(values, t, parts[t.name], chosen[t.name])
                writer.write(made.data_ptr(), made.numel() * made.element_size())
        copied = [t.name for t in source.tensors if t.name not in chosen]
        verified, size = _verify(path, values, parts, chosen)
    return Exported(chosen, copied, verified, size)


def _types(tensors: List[Tensor], parts: Dict[str, List[_Part]], values: _Source, template: PathLike) -> Dict[str, str]:
    """Of each tensor that comes from the model the type in the file."""
    chosen = {}
    for t in tensors:
        if t.name not in parts:
            continue
        f, _ = values.format_of(parts[t.name])
        if f is None and t.type.lower() not in _FLOATS:
            raise InvalidArgument(f"{template}: {t.name} is {t.type}; a template is in F32, F16 or BF16")
        chosen[t.name] = f or t.type.lower()
        values.values(t, parts[t.name])  # what does not fit is told before anything is written
    return chosen


def _refuse_left_out(model: nn.Module, parts: Dict[str, List[_Part]], there: set) -> None:
    placed = {p.parameter for name, ps in parts.items() if name in there for p in ps}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    placed_ids = {id(parameters[n]) for n in placed}
    for name, (p, _, _) in prepared_parameters(model).items():
        if id(p) not in placed_ids:
            raise InvalidArgument(f"{name} is quantized, and the template has no tensor for it: pass names=")


def _file_type(tensors: List[Tensor], chosen: Dict[str, str]) -> int:
    """Of the format that most of the weights get."""
    elements: Counter = Counter()
    for t in tensors:
        f = chosen.get(t.name)
        if f is not None and f not in _FLOATS:
            count = 1
            for extent in t.shape:
                count *= extent
            elements[f] += count
    return _formats.find(elements.most_common(1)[0][0]).file_type


def _data(values: _Source, t: Tensor, parts: List[_Part], type: str) -> torch.Tensor:
    w = values.values(t, parts)
    if type in _FLOATS:
        return w.to(_FLOATS[type]).cpu().contiguous()
    _, importance = values.format_of(parts)
    return _operations.quantize(w, type, importance=importance).cpu()


def _verify(path: PathLike, values: _Source, parts: Dict[str, List[_Part]], chosen: Dict[str, str]) -> Tuple[int, int]:
    """Reads the file back: the blocks decode to the round trips that training computed with."""
    verified = 0
    with Model(path) as written:
        for t in written.tensors:
            f = chosen.get(t.name)
            if f is None or f in _FLOATS:
                continue
            row = _formats.find(f).row_bytes(t.shape[-1])
            blocks = torch.frombuffer(bytearray(t.data()), dtype=torch.uint8).reshape(*t.shape[:-1], row)
            _, importance = values.format_of(parts[t.name])
            trained = _operations.roundtrip(values.values(t, parts[t.name]), f, importance=importance).cpu()
            decoded = _operations.dequantize(blocks, f)
            if not torch.equal(decoded.view(torch.int32), trained.view(torch.int32)):
                raise BadData(f"{path}: {t.name} does not decode to the weights that training had")
            verified += 1
        size = sum(t.nbytes for t in written.tensors)
    return verified, size
