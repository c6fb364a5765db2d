"""GGUF files that hold importance: a few keys and float32 tensors."""

from __future__ import annotations

import struct
from typing import List, Mapping, Sequence, Tuple, Union

_U32, _FLOAT, _STRING, _ARRAY = 4, 6, 8, 9
_F32 = 0
_ALIGNMENT = 32
NAME_LIMIT = 63
"""Bytes that ggml keeps of a tensor's name."""

Value = Union[int, float, str, Sequence[str]]


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _key(key: str, value: Value) -> bytes:
    if isinstance(value, int):
        return _text(key) + struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return _text(key) + struct.pack("<If", _FLOAT, value)
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", _STRING) + _text(value)
    return _text(key) + struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_text, value))


def file_bytes(keys: Mapping[str, Value], tensors: Sequence[Tuple[str, Tuple[int, ...], bytes]]) -> bytes:
    """A file of version 3. tensors: name, shape (slowest extent first, as everywhere here), float32 content."""
    infos: List[bytes] = []
    contents: List[bytes] = []
    at = 0
    for name, shape, content in tensors:
        extents = tuple(reversed(shape))
        infos.append(_text(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, _F32, at))
        contents.append(content + bytes(-len(content) % _ALIGNMENT))
        at += len(contents[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_key(k, v) for k, v in keys.items()) + b"".join(infos)
    return b"".join([head, bytes(-len(head) % _ALIGNMENT), *contents])
