"""The operations that torch knows: torch.ops.qdq.*, with what torch.compile and autograd need to know of them."""

from __future__ import annotations

from typing import Callable, Optional

import torch
from torch.nn import functional as F

from .. import _formats, _operations
from .._formats import FormatLike


def _contiguous(w: torch.Tensor) -> torch.Tensor:
    return w.detach().contiguous()


_library = torch.library.Library("qdq", "DEF")


def _define(schema: str, body: Callable[..., torch.Tensor]) -> str:
    """An operation of the library, by its parts: torch.library.custom_op would add 30 us to each call."""
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    name = schema.partition("(")[0]
    _library.impl(name, body, "CompositeExplicitAutograd")
    return f"qdq::{name}"


def _do_roundtrip(
    w: torch.Tensor, format: str, importance: Optional[torch.Tensor] = None, dtype: Optional[torch.dtype] = None
) -> torch.Tensor:
    return _operations.roundtrip(_contiguous(w), format, importance=importance, dtype=dtype or torch.float32)


def _do_roundtrip_again(
    w: torch.Tensor, after: torch.Tensor, format: str, importance: Optional[torch.Tensor], dtype: torch.dtype
) -> torch.Tensor:
    """qdq::roundtrip, in a backward pass. `after` is a gradient and is not read: it keeps a compiler from seeing the
    forward pass's round trip in this one, and from keeping a copy of all weights between the two."""
    return _operations.roundtrip(_contiguous(w), format, importance=importance, dtype=dtype)


def _do_quantize(w: torch.Tensor, format: str, importance: Optional[torch.Tensor] = None) -> torch.Tensor:
    return _operations.quantize(_contiguous(w), format, importance=importance)


def _do_dequantize(blocks: torch.Tensor, format: str, dtype: Optional[torch.dtype] = None) -> torch.Tensor:
    return _operations.dequantize(_contiguous(blocks), format, dtype=dtype or torch.float32)


_ROUNDTRIP = _define(
    "roundtrip(Tensor w, str format, Tensor? importance=None, ScalarType? dtype=None) -> Tensor", _do_roundtrip
)
_ROUNDTRIP_AGAIN = _define(
    "roundtrip_again(Tensor w, Tensor after, str format, Tensor? importance, ScalarType dtype) -> Tensor",
    _do_roundtrip_again,
)
_QUANTIZE = _define("quantize(Tensor w, str format, Tensor? importance=None) -> Tensor", _do_quantize)
_DEQUANTIZE = _define("dequantize(Tensor blocks, str format, ScalarType? dtype=None) -> Tensor", _do_dequantize)

_roundtrip = torch.ops.qdq.roundtrip.default
_roundtrip_again = torch.ops.qdq.roundtrip_again.default


@torch.library.register_fake(_ROUNDTRIP)
def _(w, format, importance=None, dtype=None):
    _formats.number_of(format)
    return w.new_empty(w.shape, dtype=dtype or torch.float32)


@torch.library.register_fake(_ROUNDTRIP_AGAIN)
def _(w, after, format, importance, dtype):
    return w.new_empty(w.shape, dtype=dtype)


@torch.library.register_fake(_QUANTIZE)
def _(w, format, importance=None):
    known = _formats.find(format)
    row = w.shape[-1] // known.block_elements * known.block_bytes
    return w.new_empty((*w.shape[:-1], row), dtype=torch.uint8)


@torch.library.register_fake(_DEQUANTIZE)
def _(blocks, format, dtype=None):
    known = _formats.find(format)
    row = blocks.shape[-1] // known.block_bytes * known.block_elements
    return blocks.new_empty((*blocks.shape[:-1], row), dtype=dtype or torch.float32)


def _save_dtype(ctx, inputs, output):
    ctx.dtype = inputs[0].dtype


def _straight_through(ctx, gradient):
    return gradient.to(ctx.dtype), None, None, None


torch.library.register_autograd(_ROUNDTRIP, _straight_through, setup_context=_save_dtype)


def _name(format: FormatLike) -> str:
    """A plain text, which is what the operations take; a wrong name is refused here."""
    return format if isinstance(format, str) else format.name


def fake_quantize(
    w: torch.Tensor,
    format: FormatLike,
    importance: Optional[torch.Tensor] = None,
    dtype: Optional[torch.dtype] = None,
) -> torch.Tensor:
    """The weights `w` [..., row] after quantization to `format` and back, with a straight-through gradient.

    importance: one weight a column, [row], float32. dtype: of the result; that of w if None. The values are ggml's in
    float32, and rounded to nearest, ties to even, in float16 and bfloat16. Works under torch.compile.

    Raises what qdq.roundtrip does.
    """
    return _roundtrip(w, _name(format), importance, w.dtype if dtype is None else dtype)


class _Linear(torch.autograd.Function):
    """x W_low^T. Only x and the weights themselves are kept for the backward pass: W_low is made again there."""

    @staticmethod
    def forward(ctx, x, w, bias, format, importance, dtype):  # a setup_context would add 40 us to each call
        ctx.format, ctx.dtype = format, dtype
        ctx.save_for_backward(x, w, importance)
        return F.linear(x, _roundtrip(w, format, importance, dtype), bias)

    @staticmethod
    def backward(ctx, gradient):
        x, w, importance = ctx.saved_tensors
        of_x = of_w = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ _roundtrip_again(w, gradient, ctx.format, importance, ctx.dtype)
        rows = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[1]:
            of_w = (rows.t() @ x.reshape(-1, x.shape[-1])).to(w.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_w, of_bias, None, None, None


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """What a linear layer computes in: autocast's dtype where that is on, else the input's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def linear(
    x: torch.Tensor,
    w: torch.Tensor,
    bias: Optional[torch.Tensor],
    format: FormatLike,
    importance: Optional[torch.Tensor] = None,
) -> torch.Tensor:
    """F.linear(x, fake_quantize(w, format), bias), without a second copy of the weights kept for the backward pass.

    x: [..., row]; w: [out, row], of any float dtype: it is quantized as it is, and only its values are cast to what is
    computed in (autocast's dtype, or x's). importance: [row], float32. The gradients of x, w and bias are those of a
    linear layer at the quantized weights.
    """
    dtype = compute_dtype(x)
    bias = bias if bias is None else bias.to(dtype)
    return _Linear.apply(x.to(dtype), w, bias, _name(format), importance, dtype)


def embedding(
    ids: torch.Tensor,
    w: torch.Tensor,
    format: FormatLike,
    importance: Optional[torch.Tensor] = None,
    **options,
) -> torch.Tensor:
    """F.embedding(ids, fake_quantize(w, format), **options), where only the rows that are looked up are quantized."""
    return fake_quantize(F.embedding(ids, w, **options), format, importance)
