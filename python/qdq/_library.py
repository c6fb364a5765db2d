"""The shared library: where it is, its functions with their types, and statuses as exceptions.

Calls go through ctypes without the interpreter's lock. The text of an error belongs to the thread that made the call,
so `check` is called on that thread, straight after.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from . import _declarations as c
from ._errors import of_status

_NAMES = {"win32": "qdq.dll", "darwin": "libqdq.dylib"}


def path() -> str:
    """The library of this package, or the one that the environment variable QDQ_LIBRARY names."""
    return os.environ.get("QDQ_LIBRARY") or str(Path(__file__).with_name(_NAMES.get(sys.platform, "libqdq.so")))


def _load() -> ctypes.CDLL:
    where = path()
    try:
        library = ctypes.CDLL(where)
    except OSError as error:
        raise ImportError(f"qdq: its library cannot be used: {where}: {error}", path=where) from error
    for name, (result, arguments) in c.FUNCTIONS.items():
        function = getattr(library, name, None)  # one that an older library lacks is missed where it is called
        if function is not None:
            function.restype, function.argtypes = result, arguments
    return library


lib = _load()


def check(status: int) -> None:
    """Raises what `status`, just returned by a call of this thread, stands for."""
    if status != c.QDQ_OK:
        raise of_status(status, lib.qdq_error_message().decode())


def version() -> str:
    return lib.qdq_version().decode()
