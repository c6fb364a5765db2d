"""The formats: ggml's names, and the sizes of their blocks."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Tuple, Union

from . import _declarations as c
from ._errors import InvalidArgument
from ._library import check, lib

_IMPORTANCE = ("unused", "used", "needed")


class Format(NamedTuple):
    """One format of ggml's."""

    name: str
    """"q4_0", "q4_K"."""
    ggml_type: int
    """The id in a GGUF tensor header."""
    block_elements: int
    """Elements a block; a row's length must be a multiple of it."""
    block_bytes: int
    """Bytes a packed block."""
    importance: str
    """What an importance matrix does: "unused", "used", or "needed"."""
    file_type: int
    """general.file_type of a GGUF that is mostly this format."""

    @property
    def bits(self) -> float:
        """Bits a weight."""
        return 8 * self.block_bytes / self.block_elements

    def row_bytes(self, elements: int) -> int:
        """Bytes of a packed row of `elements`. ValueError: no multiple of the block."""
        if elements % self.block_elements:
            raise InvalidArgument(
                f"{self.name}: rows of {elements} elements are no multiple of the block, {self.block_elements}"
            )
        return elements // self.block_elements * self.block_bytes


FormatLike = Union[str, Format]


def _describe(number: int) -> Format:
    info = c.qdq_format_info(size=ctypes.sizeof(c.qdq_format_info))
    check(lib.qdq_format_describe(number, ctypes.byref(info)))
    return Format(
        info.name.decode(),
        info.ggml_type,
        info.block_elements,
        info.block_bytes,
        _IMPORTANCE[info.importance],
        info.ggml_file_type,
    )


_FORMATS = tuple(_describe(number) for number in range(lib.qdq_format_count()))
_NUMBERS = {f.name: number for number, f in enumerate(_FORMATS)}


def formats() -> Tuple[Format, ...]:
    """Every format of blocks. f32, f16 and bf16 are known by name, too: to the nearest, on the CPU."""
    return tuple(f for f in _FORMATS if f.block_elements > 1)


def find(name: FormatLike) -> Format:
    """The format of that name, in any case. ValueError: there is none; TypeError: no name."""
    return _FORMATS[number_of(name)]


def _refusal(name: str) -> str:
    """Why there is no such format: what is meant, or that it is a mixture, where the library knows."""
    several, count = (ctypes.c_int32 * c.QDQ_MAX_FORMATS)(), ctypes.c_uint32()
    if lib.qdq_parse_formats(name.encode(), ctypes.addressof(several), ctypes.addressof(count)) != c.QDQ_OK:
        told = lib.qdq_error_message().decode()
        if "; there are: " not in told:
            return told
    return f'there is no format "{name}"; there are {", ".join(_NUMBERS)}'


def number_of(name: FormatLike) -> int:
    """The library's number of a format."""
    if isinstance(name, Format):
        name = name.name
    if not isinstance(name, str):
        raise TypeError(f'a format is a name as "q4_0", not {type(name).__name__}')
    number = _NUMBERS.get(name)
    if number is None:
        number = lib.qdq_format_by_name(name.encode())
    if number == c.QDQ_FORMAT_NONE:
        raise InvalidArgument(_refusal(name))
    return number
