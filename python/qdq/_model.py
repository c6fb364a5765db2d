"""Model files through the library: tensors read, names told, GGUF written."""

from __future__ import annotations

import ctypes
import json
import os
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from . import _declarations as c
from . import _formats
from ._errors import InvalidArgument, Unsupported
from ._library import check, lib
from ._operations import Sensitivity
from ._results import PathLike, write_whole

_NAME_SIZE = 256


class Tensor(NamedTuple):
    """A tensor of a file."""

    name: str
    type: str
    """As the file spells it: "F32", "q4_K"."""
    shape: Tuple[int, ...]
    """Slowest extent first; the last is the row."""
    nbytes: int
    address: int
    """Of its data, while the model is open."""

    def data(self) -> bytes:
        return ctypes.string_at(self.address, self.nbytes) if self.nbytes else b""


class Model:
    """A model's files, open until it is closed: safetensors, a folder of them, or GGUF."""

    def __init__(self, path: PathLike):
        """OSError: a file is missing; qdq.BadData: a defect, with file, tensor and offset."""
        self._handle = ctypes.c_void_p()
        check(lib.qdq_model_open(os.fsencode(path), ctypes.byref(self._handle)))
        self.is_gguf = lib.qdq_model_layout(self._handle) == c.QDQ_LAYOUT_GGUF
        tensors = (lib.qdq_model_tensor(self._handle, k)[0] for k in range(lib.qdq_model_tensor_count(self._handle)))
        self.tensors: List[Tensor] = [
            Tensor(t.name.decode(), t.type_name.decode(), tuple(t.shape[: t.n_dims]), t.bytes, t.data or 0)
            for t in tensors
        ]

    def __repr__(self) -> str:
        return f"<qdq.Model of {'GGUF' if self.is_gguf else 'safetensors'}, {len(self.tensors)} tensors>"

    @property
    def handle(self) -> ctypes.c_void_p:
        return self._handle

    def number(self, key: str) -> Optional[int]:
        """An integer of the metadata."""
        found, value = lib.qdq_model_find_kv(self._handle, key.encode()), ctypes.c_uint64()
        return value.value if found and lib.qdq_kv_u64(found, ctypes.addressof(value)) else None

    def text(self, key: str) -> Optional[str]:
        """A text of the metadata."""
        found = lib.qdq_model_find_kv(self._handle, key.encode())
        text, length = ctypes.c_void_p(), ctypes.c_uint64()
        to = ctypes.cast(ctypes.byref(text), ctypes.POINTER(ctypes.c_char_p))
        if not found or not lib.qdq_kv_string(found, to, ctypes.addressof(length)):
            return None
        return ctypes.string_at(text.value or 0, length.value).decode("utf-8", "replace") if length.value else ""

    def moved_rows(self) -> Dict[str, int]:
        """Of tensors whose rows a conversion to GGUF moves: QDQ_MOVED_QUERIES or QDQ_MOVED_KEYS."""
        selection, moved, found = ctypes.c_void_p(), ctypes.c_int(), {}
        check(lib.qdq_selection_create(self._handle, None, ctypes.byref(selection)))
        try:
            for k, t in enumerate(self.tensors):
                check(lib.qdq_selection_moved_rows(selection, k, ctypes.addressof(moved)))
                if moved.value != c.QDQ_MOVED_NONE:
                    found[t.name] = moved.value
        finally:
            lib.qdq_selection_free(selection)
        return found

    def close(self) -> None:
        lib.qdq_model_close(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Imatrix:
    """An importance matrix's file, open until it is closed; None: there is none."""

    def __init__(self, path: Optional[PathLike]):
        """OSError: the file is missing; qdq.BadData: a defect."""
        self.handle = ctypes.c_void_p()
        if path is not None:
            check(lib.qdq_imatrix_open(os.fsencode(path), ctypes.byref(self.handle)))

    def __enter__(self) -> "Imatrix":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.handle:
            lib.qdq_imatrix_close(self.handle)
        self.handle = ctypes.c_void_p()


def write_recipe(path: PathLike, model: PathLike, imatrix: Optional[PathLike], plan: PathLike) -> None:
    """A plan's file as llama-quantize's --tensor-type-file. NotImplementedError: it cannot make the plan."""
    opened, selection = ctypes.c_void_p(), ctypes.c_void_p()
    text = ctypes.c_char_p()
    with Model(model) as source, Imatrix(imatrix) as weights:
        try:
            options = c.qdq_selection_options(size=ctypes.sizeof(c.qdq_selection_options), imatrix=weights.handle)
            check(lib.qdq_selection_create(source.handle, ctypes.byref(options), ctypes.byref(selection)))
            check(lib.qdq_plan_open(os.fsencode(plan), ctypes.byref(opened)))
            check(lib.qdq_plan_recipe(opened, selection, os.fsencode(path), ctypes.byref(text), None))
            write_whole(path, text.value or b"")
        finally:
            lib.qdq_free(text)
            lib.qdq_plan_free(opened)
            lib.qdq_selection_free(selection)


def write_scores(
    path: PathLike, model: Model, imatrix: Imatrix, tokens: float, rows: Mapping[str, Mapping[str, Sensitivity]]
) -> None:
    """qdq_scores_write, of sensitivities by the model's names of tensors and by format."""
    options = c.qdq_selection_options(size=ctypes.sizeof(c.qdq_selection_options), imatrix=imatrix.handle)
    selection = ctypes.c_void_p()
    given = [
        c.qdq_given_sums(
            name.encode(), _formats.number_of(f), c.qdq_sensitivity_sums(s.signed, s.absolute, s.squared, s.count)
        )
        for name, by in rows.items()
        for f, s in by.items()
    ]
    sums = (c.qdq_given_sums * len(given))(*given)
    check(lib.qdq_selection_create(model.handle, ctypes.byref(options), ctypes.byref(selection)))
    try:
        check(lib.qdq_scores_write(os.fsencode(path), selection, tokens, len(given), sums))
    finally:
        lib.qdq_selection_free(selection)


def gguf_names(names: Iterable[str], architecture: str) -> Dict[str, Tuple[str, int]]:
    """GGUF's name of each Hugging Face tensor that has one, and which matrix of it that is (-1: all of it).

    architecture: GGUF's, or model_type of config.json. NotImplementedError: there are no names for it.
    """
    wanted = list(dict.fromkeys(names))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({n: empty for n in wanted}).encode()
    content = len(header).to_bytes(8, "little") + header
    model, selection = ctypes.c_void_p(), ctypes.c_void_p()
    check(
        lib.qdq_model_parse(
            c.QDQ_LAYOUT_SAFETENSORS,
            ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p),
            len(content),
            b"the model's parameters",
            ctypes.byref(model),
        )
    )
    try:
        options = c.qdq_selection_options(
            size=ctypes.sizeof(c.qdq_selection_options), architecture=architecture.encode()
        )
        check(lib.qdq_selection_create(model, ctypes.byref(options), ctypes.byref(selection)))
        found: Dict[str, Tuple[str, int]] = {}
        name, expert = ctypes.create_string_buffer(_NAME_SIZE), ctypes.c_int64()
        for k in range(lib.qdq_model_tensor_count(model)):
            ours = lib.qdq_model_tensor(model, k)[0].name.decode()
            try:
                check(lib.qdq_selection_gguf_name(selection, k, ctypes.addressof(name), ctypes.addressof(expert)))
            except Unsupported:
                continue
            if name.value:
                found[ours] = (name.value.decode(), expert.value)
        return found
    finally:
        lib.qdq_selection_free(selection)
        lib.qdq_model_close(model)


class Place(NamedTuple):
    """Where a parameter is in a GGUF."""

    name: str
    expert: int = -1
    """Which matrix of the tensor it is; -1: all of it."""
    half: int = -1
    """0, 1: of the parameter's rows only the first or the second half, in each matrix; -1: all."""


# Stacks of experts as transformers holds them: its files have experts one by one, and GGUF gate and up apart.
_STACKS = (
    (re.compile(r"(.*\.)?layers\.(\d+)\..*experts\.gate_up_proj"), ("ffn_gate_exps", "ffn_up_exps")),
    (re.compile(r"(.*\.)?layers\.(\d+)\..*experts\.down_proj"), ("ffn_down_exps",)),
)


def places(names: Iterable[str], architecture: str) -> Dict[str, List[Place]]:
    """Where each of a model's parameters is in a GGUF; those that have no place are left out. As gguf_names, and for
    stacks of experts too."""
    names = list(names)
    found = {n: [Place(*at)] for n, at in gguf_names(names, architecture).items()}
    for name in names:
        for pattern, kinds in _STACKS if name not in found else ():
            m = pattern.fullmatch(name)
            if m:
                halves = (0, 1) if len(kinds) > 1 else (-1,)
                found[name] = [Place(f"blk.{m[2]}.{k}.weight", half=h) for k, h in zip(kinds, halves)]
    return found


class GgufWriter:
    """A GGUF file with another's metadata, that appears whole or not at all. As a context it ends by `finish`, or, when
    anything is raised, leaves nothing."""

    def __init__(self, path: PathLike, metadata: Model):
        self._handle = ctypes.c_void_p()
        check(lib.qdq_writer_create(c.QDQ_LAYOUT_GGUF, os.fsencode(path), ctypes.byref(self._handle)))
        try:
            check(lib.qdq_writer_copy_metadata(self._handle, metadata.handle))
        except BaseException:
            self._abort()
            raise

    def set_number(self, key: str, value: int) -> None:
        check(lib.qdq_writer_set_u32(self._handle, key.encode(), value))

    def add(self, name: str, type: str, shape: Tuple[int, ...]) -> None:
        extents = (ctypes.c_uint64 * max(len(shape), 1))(*shape)
        check(
            lib.qdq_writer_add_tensor(self._handle, name.encode(), type.encode(), len(shape), ctypes.addressof(extents))
        )

    def write(self, address: int, size: int) -> None:
        """The next bytes of the tensor that is due, in the order of adding."""
        if size:
            check(lib.qdq_writer_write(self._handle, address, size))

    def _abort(self) -> None:
        lib.qdq_writer_abort(self._handle)
        self._handle = ctypes.c_void_p()

    def __enter__(self) -> "GgufWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self._abort()
            return
        handle, self._handle = self._handle, ctypes.c_void_p()
        check(lib.qdq_writer_finish(handle))


def require_gguf(model: Model, path: PathLike) -> None:
    if not model.is_gguf:
        raise InvalidArgument(f"{path} is no GGUF: as a template serves the model as llama.cpp converts it")
