"""Arrays of any library, as the C calls take them: an address, a dtype, a shape, a device and a stream.

A kind of array is a class here that says what an array of it is (`view`) and makes another like it (`empty`). Nothing
is copied, and nothing is imported that the caller has not imported.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from . import _declarations as c
from ._errors import InvalidArgument

_DTYPES = {"float32": c.QDQ_F32, "float16": c.QDQ_F16, "bfloat16": c.QDQ_BF16, "uint8": c.QDQ_U8}
_NAMES = {number: name for name, number in _DTYPES.items()}
_SHORT = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_SIZES = {c.QDQ_F32: 4, c.QDQ_F16: 2, c.QDQ_BF16: 2, c.QDQ_U8: 1}
FLOATS = (c.QDQ_F32, c.QDQ_F16, c.QDQ_BF16)


class View(NamedTuple):
    """An array's memory: contiguous, in C's order."""

    address: int
    dtype: int
    shape: Tuple[int, ...]
    elements: int
    device: str
    """"cpu", "cuda:0"."""
    stream: int
    """Of CUDA, where the caller's work on it is queued; 0 on a CPU."""
    ordered: bool
    """The caller's library puts what it does next behind what is queued there: nobody has to wait."""
    writable: bool
    keep: Any
    """What keeps the memory alive."""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.elements * _SIZES[self.dtype]


def dtype_name(number: int) -> str:
    return _NAMES[number]


@functools.lru_cache(maxsize=None)
def dtype_number(dtype: Any) -> int:
    """Of "f32", "float32", numpy.float32, torch.float32, …"""
    given = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    name = str(given or dtype).rsplit(".", 1)[-1]
    number = _DTYPES.get(_SHORT.get(name, name))
    if number is None:
        raise InvalidArgument(f"dtype {name}: there are float32, float16 and bfloat16")
    return number


def _wrong_dtype(name: str) -> TypeError:
    return TypeError(f"an array of {name}: weights are float32, float16 or bfloat16, packed blocks uint8")


def _not_contiguous(shape, strides) -> InvalidArgument:
    return InvalidArgument(
        f"an array of shape {tuple(shape)} with strides {tuple(strides)} is not contiguous: pass copy=True to copy it"
    )


def contiguous_strides(shape) -> Tuple[int, ...]:
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def _is_contiguous(shape, strides) -> bool:
    """strides: in elements, or None."""
    if strides is None or 0 in shape:
        return True
    return all(n == 1 or s == t for n, s, t in zip(shape, strides, contiguous_strides(shape)))


# ---- numpy -----------------------------------------------------------------------------------------------------------


class Numpy:
    """numpy.ndarray; bfloat16 is that of ml_dtypes."""

    @staticmethod
    def matches(array: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and isinstance(array, numpy.ndarray)

    @staticmethod
    def view(array: Any, copy: bool) -> View:
        number = _DTYPES.get(array.dtype.name)
        if number is None or not array.dtype.isnative:
            raise _wrong_dtype(str(array.dtype))
        if not array.flags.c_contiguous:
            if not copy:
                raise _not_contiguous(array.shape, array.strides)
            array = array.copy(order="C")
        return View(array.ctypes.data, number, array.shape, array.size, "cpu", 0, False, array.flags.writeable, array)

    @staticmethod
    def empty(like: Any, shape: Tuple[int, ...], dtype: int) -> Any:
        import numpy

        if dtype != c.QDQ_BF16:
            return numpy.empty(shape, _NAMES[dtype])
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError("bfloat16 in numpy is that of ml_dtypes, which is not installed") from error
        return numpy.empty(shape, ml_dtypes.bfloat16)


# ---- torch -----------------------------------------------------------------------------------------------------------


_torch_numbers: Dict[Any, int] = {}
_torch_dtypes: Dict[int, Any] = {}
_cuda_names = [f"cuda:{k}" for k in range(64)]


def _torch_number(dtype: Any) -> Optional[int]:
    number = _torch_numbers.get(dtype)
    if number is None:
        number = _DTYPES.get(str(dtype).rpartition(".")[2])
        if number is not None:
            _torch_numbers[dtype], _torch_dtypes[number] = number, dtype
    return number


@functools.lru_cache(maxsize=None)
def _stream_of() -> Callable[[int], int]:
    """torch's current stream of a device, by the short way that its own compiler takes, where there is one."""
    import torch

    short = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return short or (lambda index: torch.cuda.current_stream(index).cuda_stream)


class Torch:
    """torch.Tensor on a CPU or a CUDA device; work is queued on torch's current stream."""

    @staticmethod
    def matches(array: Any) -> bool:
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(array, torch.Tensor)

    @staticmethod
    def view(array: Any, copy: bool) -> View:
        torch = sys.modules["torch"]
        number = _torch_number(array.dtype)
        if type(array) is not torch.Tensor and hasattr(array, "to_local"):
            raise TypeError("a DTensor: pass its to_local(), whose rows must be whole")
        if number is None or array.layout != torch.strided:
            raise _wrong_dtype(f"{array.dtype} and layout {array.layout}")
        if not array.is_contiguous():
            if not copy:
                raise _not_contiguous(array.shape, array.stride())
            array = array.detach().contiguous()
        shape = tuple(array.shape)
        if array.is_cuda:
            index = array.get_device()
            stream = _stream_of()(index)
            return View(array.data_ptr(), number, shape, array.numel(), _cuda_names[index], stream, True, True, array)
        if not array.is_cpu:
            raise InvalidArgument(f"a tensor on {array.device}: move it to the CPU or a CUDA device")
        return View(array.data_ptr(), number, shape, array.numel(), "cpu", 0, False, True, array)

    @staticmethod
    def empty(like: Any, shape: Tuple[int, ...], dtype: int) -> Any:
        wanted = _torch_dtypes.get(dtype)
        return like.new_empty(shape, dtype=getattr(sys.modules["torch"], _NAMES[dtype]) if wanted is None else wanted)

    @staticmethod
    def view_of_new(array: Any, shape: Tuple[int, ...], dtype: int, beside: View) -> View:
        """Of what `empty` has just made, like the array whose view is given."""
        return View(
            array.data_ptr(), dtype, shape, array.numel(), beside.device, beside.stream, beside.ordered, True, array
        )


# ---- __cuda_array_interface__ ----------------------------------------------------------------------------------------


class CudaInterface:
    """CuPy's, Numba's and other arrays that have __cuda_array_interface__; it has no bfloat16."""

    _TYPES = {"<f4": c.QDQ_F32, "<f2": c.QDQ_F16, "|u1": c.QDQ_U8}

    @staticmethod
    def matches(array: Any) -> bool:
        return getattr(array, "__cuda_array_interface__", None) is not None

    @classmethod
    def view(cls, array: Any, copy: bool) -> View:
        told = array.__cuda_array_interface__
        number = cls._TYPES.get(told["typestr"])
        if number is None:
            raise _wrong_dtype(told["typestr"])
        shape, strides = tuple(told["shape"]), told.get("strides")
        size = _SIZES[number]
        if strides is not None and not _is_contiguous(shape, [s / size for s in strides]):
            if not copy or not hasattr(array, "copy"):
                raise _not_contiguous(shape, strides)
            return cls.view(array.copy(), False)
        address, read_only = told["data"]
        # 1 is the legacy default stream, which the driver knows as NULL; no stream: nothing is queued.
        stream = told.get("stream")
        queue = 0 if stream in (None, 1) else stream
        ordered, count = stream is not None, math.prod(shape)
        return View(address, number, shape, count, cls._device_of(array), queue, ordered, not read_only, array)

    @staticmethod
    def _device_of(array: Any) -> str:
        """The protocol does not tell; DLPack and CuPy do, and otherwise it is the first."""
        if hasattr(array, "__dlpack_device__"):
            return f"cuda:{array.__dlpack_device__()[1]}"
        return f"cuda:{getattr(getattr(array, 'device', None), 'id', 0)}"

    @staticmethod
    def empty(like: Any, shape: Tuple[int, ...], dtype: int) -> Any:
        root = type(like).__module__.partition(".")[0]
        module: Any = sys.modules.get(root)
        if root == "numba":
            from numba import cuda

            return cuda.device_array(shape, _NAMES[dtype])
        if dtype == c.QDQ_BF16 or not hasattr(module, "empty"):
            raise InvalidArgument(f"no array of {_NAMES[dtype]} can be made by {root or 'its library'}: pass out=")
        return module.empty(shape, dtype=_NAMES[dtype])


# ---- DLPack ----------------------------------------------------------------------------------------------------------


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLManagedTensor."""


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned, of DLPack 1."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)

_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED = 1, 2, 3, 13
_READ_ONLY = 1


class Dlpack:
    """Any other array with __dlpack__: JAX's, MLX's, TensorFlow's, … The capsule is kept, and so the memory."""

    _CODES = {(2, 32): c.QDQ_F32, (2, 16): c.QDQ_F16, (4, 16): c.QDQ_BF16, (1, 8): c.QDQ_U8}

    @staticmethod
    def matches(array: Any) -> bool:
        return hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")

    @classmethod
    def view(cls, array: Any, copy: bool) -> View:
        device, index = (int(x) for x in array.__dlpack_device__())
        if device not in (_CPU, _CUDA, _CUDA_HOST, _CUDA_MANAGED):
            raise InvalidArgument(f"an array on DLPack's device {device}: move it to the CPU or a CUDA device")
        # The producer orders its work before what this stream, the legacy default, gets.
        options = {"stream": 1} if device in (_CUDA, _CUDA_MANAGED) else {}
        try:
            capsule = array.__dlpack__(max_version=(1, 1), **options)
        except TypeError:  # older than DLPack 1
            capsule = array.__dlpack__(**options)
        tensor, read_only = cls._open(capsule)
        number = cls._CODES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
        if number is None:
            raise _wrong_dtype(f"DLPack's type code {tensor.code} with {tensor.bits} bits")
        shape = tuple(tensor.shape[: tensor.ndim])
        strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
        if not _is_contiguous(shape, strides):
            raise InvalidArgument(
                f"an array of shape {shape} with strides {strides} is not contiguous, and DLPack has no way to copy it"
            )
        where = "cpu" if device in (_CPU, _CUDA_HOST) else f"cuda:{index}"
        address = (tensor.data or 0) + tensor.byte_offset
        return View(address, number, shape, math.prod(shape), where, 0, False, not read_only, (array, capsule))

    @staticmethod
    def _open(capsule: Any) -> Tuple[_Tensor, bool]:
        """The capsule keeps its name, so that its own destructor calls the producer's deleter."""
        if _is_valid(capsule, b"dltensor_versioned"):
            managed = _Versioned.from_address(_get_pointer(capsule, b"dltensor_versioned"))
            if managed.major != 1:
                raise InvalidArgument(f"an array of DLPack {managed.major}.{managed.minor}: 1 is understood")
            return managed.tensor, bool(managed.flags & _READ_ONLY)
        # Nothing older says that an array is read-only.
        return _Managed.from_address(_get_pointer(capsule, b"dltensor")).tensor, False

    @staticmethod
    def empty(like: Any, shape: Tuple[int, ...], dtype: int) -> Any:
        """On the CPU a numpy array, which `finish` hands to the other library."""
        if int(like.__dlpack_device__()[0]) not in (_CPU, _CUDA_HOST):
            raise InvalidArgument(f"no array of {type(like).__module__} can be made on its device: pass out=")
        return Numpy.empty(like, shape, dtype)

    @staticmethod
    def finish(like: Any, array: Any) -> Any:
        space = getattr(like, "__array_namespace__", None)
        if space is None or not hasattr(space(), "from_dlpack") or array.dtype.name == "bfloat16":
            return array
        return space().from_dlpack(array)


# ---- Any of them -----------------------------------------------------------------------------------------------------

_KINDS = (Numpy, Torch, CudaInterface, Dlpack)
_kinds_by_type: Dict[type, Any] = {}
"""Of arrays whose type alone tells: calls are short."""


def _kind_of(array: Any, what: str) -> Any:
    found = _kinds_by_type.get(type(array))
    if found is not None:
        return found
    for kind in _KINDS:
        if kind.matches(array):
            if kind in (Numpy, Torch):
                _kinds_by_type[type(array)] = kind
            return kind
    raise TypeError(
        f"{what} is an array of numpy, torch or another library that has DLPack, not {type(array).__name__}"
    )


def view(array: Any, what: str, *, copy: bool = False) -> View:
    """What the library needs to know of an array. what: its name in messages."""
    return _kind_of(array, what).view(array, copy)


def output(like: Any, out: Optional[Any], shape: Tuple[int, ...], dtype: int, beside: View) -> Tuple[Any, View]:
    """`out`, checked, or a new array of the kind and on the device of `like`, whose view is `beside`."""
    if out is None:
        kind = _kind_of(like, "input")
        array = kind.empty(like, shape, dtype)
        if kind is Torch:
            return array, Torch.view_of_new(array, shape, dtype, beside)
        return array, view(array, "output")
    seen = view(out, "out")
    if seen.shape != shape or seen.dtype != dtype:
        raise InvalidArgument(
            f"out is {_NAMES[seen.dtype]} of shape {seen.shape}; it must be {_NAMES[dtype]} of shape {shape}"
        )
    if seen.device != beside.device:
        raise InvalidArgument(f"out is on {seen.device}, the input on {beside.device}")
    if not seen.writable:
        raise InvalidArgument("out is read-only")
    return out, seen


def finish(like: Any, out: Optional[Any], array: Any) -> Any:
    """What the caller gets for an output."""
    if out is None and _kind_of(like, "input") is Dlpack:
        return Dlpack.finish(like, array)
    return array
