"""The operations on arrays: checks, buffers over the arrays' memory, and one encoder a call."""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union, overload

from . import _declarations as c
from . import _formats
from ._arrays import FLOATS, View, dtype_name, dtype_number, finish, output, view
from ._devices import handle_of
from ._errors import InvalidArgument, Unsupported
from ._formats import FormatLike
from ._library import check, lib


_AT_ONCE = 64
"""Formats that one call of the library takes."""


def _refuse_apart(first: View, *others: View) -> None:
    for other in others:
        if other.device != first.device:
            raise InvalidArgument(f"arrays on {first.device} and on {other.device}: move them to one device")
        if other.stream != first.stream:
            raise InvalidArgument("arrays whose work is queued on different CUDA streams")


_SIZE = ctypes.sizeof(c.qdq_dispatch)


def _run(
    operation: int, format: int, x: View, to: View, elements: int, row: int, importance: Optional[View] = None
) -> None:
    """From array to array, in one call: done at return, or in order with the caller's own work on his stream."""
    arrays = (x, to) if importance is None else (x, to, importance)
    _refuse_apart(*arrays)
    # Where all are ordered, what the caller does next with the result comes behind, and nobody needs to wait.
    submit = x.device != "cpu" and all([a.ordered for a in arrays])
    weights = None if importance is None else importance.address
    what = (x.dtype, to.dtype, x.address, to.address, elements, row, weights, x.stream or None, submit)
    dispatch = c.qdq_dispatch(_SIZE, operation, format, *what)
    check(lib.qdq_device_dispatch(handle_of(x.device), ctypes.byref(dispatch)))


class Dispatch:
    """For sums: an encoder, and the buffers over the arrays that it works on."""

    def __init__(self, *arrays: View):
        first = arrays[0]
        _refuse_apart(*arrays)
        self._device = handle_of(first.device)
        self._buffers: List[ctypes.c_void_p] = []
        self.encoder = ctypes.c_void_p()
        check(lib.qdq_encoder_create_on(self._device, first.stream, ctypes.byref(self.encoder)))

    def __enter__(self) -> "Dispatch":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Waits, if something is under way."""
        lib.qdq_encoder_free(self.encoder)
        for buffer in self._buffers:
            lib.qdq_buffer_free(buffer)
        self._buffers.clear()

    def read(self, array: View) -> ctypes.c_void_p:
        """A buffer over memory that is only read."""
        count, buffer = ctypes.c_uint64(array.elements), ctypes.c_void_p()
        shape, to = ctypes.addressof(count), ctypes.byref(buffer)
        check(lib.qdq_buffer_wrap_const(self._device, array.dtype, 1, shape, array.address, array.size, to))
        self._buffers.append(buffer)
        return buffer

    def options(self, array: View, importance: Optional[View]) -> Any:
        """Rows are the array's last extent."""
        given = c.qdq_options(size=ctypes.sizeof(c.qdq_options), row=array.shape[-1])
        if importance is not None:
            given.importance = self.read(importance).value
        return ctypes.byref(given)

    def commit(self) -> None:
        check(lib.qdq_encoder_commit(self.encoder))

    def wait(self) -> None:
        """For sums, which are in place after it."""
        check(lib.qdq_encoder_wait(self.encoder))


def _weights(x: Any, copy: bool, what: str = "the input") -> View:
    seen = view(x, what, copy=copy)
    if seen.dtype not in FLOATS:
        raise TypeError(f"{what} is {dtype_name(seen.dtype)}: it must be float32, float16 or bfloat16")
    if not seen.shape:
        raise InvalidArgument(f"{what} has no dimensions: formats pack rows")
    return seen


def _importance(importance: Any, x: View, formats: Sequence[FormatLike]) -> Optional[View]:
    if importance is None:
        for f in map(_formats.find, formats):
            if f.importance == "needed":
                raise Unsupported(f"{f.name} needs an importance matrix: importance=, float32, one weight a column")
        return None
    seen = view(importance, "importance")
    if seen.dtype != c.QDQ_F32 or seen.shape != x.shape[-1:]:
        raise InvalidArgument(
            f"importance is {dtype_name(seen.dtype)} of shape {seen.shape}; it must be float32 of shape {x.shape[-1:]},"
            " one weight a column"
        )
    return seen


def _together(*arrays: Optional[View]) -> List[View]:
    return [a for a in arrays if a is not None]


def roundtrip(
    x: Any, format: FormatLike, *, importance: Any = None, dtype: Any = "f32", out: Any = None, copy: bool = False
) -> Any:
    """The values that `x` has after quantization to `format` and back: ggml's, bit for bit.

    x: weights [..., row], float32, float16 or bfloat16, of numpy, torch, or any library with DLPack; it is not changed.
    The row must be a multiple of the format's block.
    importance: one weight a column, [row], float32, as an importance matrix has them.
    dtype: of the result. float32 holds it exactly; float16 and bfloat16 are its nearest values, ties to even.
    out: where to put it, an array of x's shape and that dtype. It may be x itself, if x has that dtype too.
    copy: copy x first if it is not contiguous, rather than refuse it.

    Gives an array of x's kind and shape, on its device. On a CUDA device the work is queued on the caller's stream.

    ValueError: no such format, a row or shape that does not fit, arrays on different devices or overlapping.
    TypeError: no array, or another dtype. NotImplementedError: the format needs an importance matrix.
    """
    number, seen = _formats.number_of(format), _weights(x, copy)
    _formats.find(format).row_bytes(seen.shape[-1])
    weights = _importance(importance, seen, [format])
    array, to = output(x, out, seen.shape, dtype_number(dtype), seen)
    if seen.elements:
        _run(c.QDQ_OPERATION_ROUNDTRIP, number, seen, to, seen.elements, seen.shape[-1], weights)
    return finish(x, out, array)


def quantize(x: Any, format: FormatLike, *, importance: Any = None, out: Any = None, copy: bool = False) -> Any:
    """The packed blocks of `x`: the bytes of a GGUF tensor's data.

    x, importance, copy: as in roundtrip. Gives uint8 [..., bytes of a row], of x's kind and on its device.
    out: where to put it, an array of that shape and dtype. Raises what roundtrip does.
    """
    number, seen = _formats.number_of(format), _weights(x, copy)
    shape = (*seen.shape[:-1], _formats.find(format).row_bytes(seen.shape[-1]))
    weights = _importance(importance, seen, [format])
    array, to = output(x, out, shape, c.QDQ_U8, seen)
    if seen.elements:
        _run(c.QDQ_OPERATION_QUANTIZE, number, seen, to, seen.elements, seen.shape[-1], weights)
    return finish(x, out, array)


def dequantize(blocks: Any, format: FormatLike, *, dtype: Any = "f32", out: Any = None, copy: bool = False) -> Any:
    """The values of packed blocks, as ggml decodes them.

    blocks: uint8 [..., bytes of a row]; any bytes are decoded. Gives [..., row] of `dtype` (as in roundtrip), of the
    kind and on the device of blocks.

    ValueError: no such format, a row that is no whole number of blocks, an `out` that does not fit. TypeError: no array
    of uint8.
    """
    number, known = _formats.number_of(format), _formats.find(format)
    seen = view(blocks, "blocks", copy=copy)
    if seen.dtype != c.QDQ_U8:
        raise TypeError(f"blocks are {dtype_name(seen.dtype)}: they must be uint8")
    if not seen.shape or seen.shape[-1] % known.block_bytes:
        raise InvalidArgument(
            f"{known.name}: blocks of shape {seen.shape}: rows are multiples of {known.block_bytes} bytes"
        )
    shape = (*seen.shape[:-1], seen.shape[-1] // known.block_bytes * known.block_elements)
    array, to = output(blocks, out, shape, dtype_number(dtype), seen)
    if seen.elements:
        _run(c.QDQ_OPERATION_DEQUANTIZE, number, seen, to, to.elements, 0)
    return finish(blocks, out, array)


@dataclass(frozen=True)
class ErrorStatistics:
    """What a format's round trip does to an array; squares are weighted by importance, if there is any."""

    format: str
    rmse: float
    """Root mean square of the error."""
    relative_rmse: float
    """Root of the squared error over the squared weights."""
    max_abs: float
    """The largest error."""
    snr_db: float
    """Decibels; infinite for an exact round trip."""
    cosine: float
    """Of the weights and their round trip."""
    count: int
    """Elements."""

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Sensitivity:
    """Gradient-Taylor scores; D is what `low` makes of the weights less what `high` makes of them, g the gradient."""

    low: str
    high: str
    signed: float
    """Sum of g D: mlx-lm's score, before it is divided by a million parameters."""
    absolute: float
    """Sum of |g D|."""
    squared: float
    """Sum of (g D)^2."""
    count: int
    """Elements."""

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


def _statistics(name: str, sums: Any) -> ErrorStatistics:
    stats = c.qdq_error_stats(size=ctypes.sizeof(c.qdq_error_stats))
    check(lib.qdq_error_statistics(ctypes.byref(sums), ctypes.byref(stats)))
    return ErrorStatistics(name, stats.rmse, stats.relative_rmse, stats.max_abs, stats.snr_db, stats.cosine, sums.count)


def _one_or_many(format: Any) -> Tuple[List[FormatLike], bool]:
    if isinstance(format, (str, _formats.Format)):
        return [format], True
    many = list(format)
    if not many:
        raise InvalidArgument("no formats are given")
    return many, False


@overload
def error(x: Any, format: FormatLike, *, importance: Any = None, copy: bool = False) -> ErrorStatistics: ...
@overload
def error(
    x: Any, format: Sequence[FormatLike], *, importance: Any = None, copy: bool = False
) -> List[ErrorStatistics]: ...
def error(
    x: Any, format: Union[FormatLike, Sequence[FormatLike]], *, importance: Any = None, copy: bool = False
) -> Union[ErrorStatistics, List[ErrorStatistics]]:
    """What the round trip of a format, or of each of several, does to `x`: several formats in one reading.

    x, importance, copy: as in roundtrip. The sums are the same bits on every device. Waits for the result.
    Gives the statistics, or a list of them for a list of formats (64 at most). Raises what roundtrip does.
    """
    names, single = _one_or_many(format)
    numbers = [_formats.number_of(n) for n in names]
    seen = _weights(x, copy)
    for n in names:
        _formats.find(n).row_bytes(seen.shape[-1])
    weights = _importance(importance, seen, names)
    sums = (c.qdq_error_sums * len(names))()
    if seen.elements:
        with Dispatch(*_together(seen, weights)) as d:
            of = (ctypes.c_int32 * len(numbers))(*numbers)
            options = d.options(seen, weights)
            check(lib.qdq_encode_error(d.encoder, len(of), ctypes.addressof(of), d.read(seen), sums, options))
            d.commit()
            d.wait()
    found = [_statistics(_formats.find(n).name, s) for n, s in zip(names, sums)]
    return found[0] if single else found


@overload
def sensitivity(
    x: Any, gradient: Any, low: FormatLike, high: FormatLike = "source", *, importance: Any = None, copy: bool = False
) -> Sensitivity: ...
@overload
def sensitivity(
    x: Any,
    gradient: Any,
    low: Sequence[FormatLike],
    high: FormatLike = "source",
    *,
    importance: Any = None,
    copy: bool = False,
) -> List[Sensitivity]: ...
def sensitivity(
    x: Any,
    gradient: Any,
    low: Union[FormatLike, Sequence[FormatLike]],
    high: FormatLike = "source",
    *,
    importance: Any = None,
    copy: bool = False,
) -> Union[Sensitivity, List[Sensitivity]]:
    """Scores of `x` between the formats `low` and `high` ("source": the weights themselves), with their gradient.

    x, importance, copy: as in roundtrip; gradient: x's shape, float32, float16 or bfloat16. Waits for the result.
    Gives the scores, or a list of them for a list of low formats. Raises what roundtrip does.
    """
    names, single = _one_or_many(low)
    seen, slope = _weights(x, copy), _weights(gradient, copy, "the gradient")
    if slope.shape != seen.shape:
        raise InvalidArgument(f"the gradient's shape is {slope.shape}, the weights' {seen.shape}")
    for n in names:
        _formats.find(n).row_bytes(seen.shape[-1])
    weights = _importance(importance, seen, [*names, *([] if high == "source" else [high])])
    sums = (c.qdq_sensitivity_sums * len(names))()
    if seen.elements:
        with Dispatch(*_together(seen, slope, weights)) as d:
            encode_sensitivities(d, names, high, seen, slope, sums, weights)
            d.commit()
            d.wait()
    above = high if high == "source" else _formats.find(high).name
    found = [
        Sensitivity(_formats.find(n).name, above, s.signed_sum, s.absolute, s.squared, seen.elements)
        for n, s in zip(names, sums)
    ]
    return found[0] if single else found


def encode_sensitivities(
    d: Dispatch,
    low: Sequence[FormatLike],
    high: FormatLike,
    x: View,
    gradient: View,
    sums: Any,
    importance: Optional[View],
) -> None:
    """Adds, when the dispatch is waited for, to sums[k] the scores of low[k]: one reading for all, or a few."""
    above = c.QDQ_FORMAT_SOURCE if high == "source" else _formats.number_of(high)
    options, source, slope = d.options(x, importance), d.read(x), d.read(gradient)
    size = ctypes.sizeof(c.qdq_sensitivity_sums)
    for first in range(0, len(low), _AT_ONCE):
        names = low[first : first + _AT_ONCE]
        below = (ctypes.c_int32 * len(names))(*map(_formats.number_of, names))
        against = (ctypes.c_int32 * len(names))(*[above] * len(names))
        to = ctypes.cast(ctypes.addressof(sums) + first * size, ctypes.POINTER(c.qdq_sensitivity_sums))
        pairs = (len(names), ctypes.addressof(below), ctypes.addressof(against))
        check(lib.qdq_encode_sensitivities(d.encoder, *pairs, source, slope, to, options))
