"""Devices: what there is, and the library's handles of those in use."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Dict, List, NamedTuple, Tuple

from . import _declarations as c
from ._library import check, lib


class Device(NamedTuple):
    """A device, or a backend that is absent."""

    name: str
    """"cpu", "cuda:0", "vulkan:1"."""
    description: str
    """What it is, or what is missing."""
    driver: str
    memory: int
    """Bytes of its own or, if shared, of the machine's memory."""
    shared: bool
    """The host sees its memory without a copy."""
    available: bool


def devices() -> Tuple[Device, ...]:
    """Every device there is, backends that are absent included."""
    found: List[Device] = []
    info = c.qdq_device_info(size=ctypes.sizeof(c.qdq_device_info))
    while lib.qdq_device_list(len(found), ctypes.byref(info)) == c.QDQ_OK:
        texts = (info.name.decode(), info.description.decode(), info.driver.decode())
        found.append(Device(*texts, info.memory, bool(info.shared), bool(info.available)))
    return tuple(found)


_handles: Dict[str, int] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    """Another thread of the parent may have held the lock. CPU devices live on in a child; GPUs' do not (qdq.h)."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def handle_of(name: str) -> int:
    """The handle of a device, opened once in a process and used by all its threads."""
    found = _handles.get(name)
    if found is None:
        with _lock:
            found = _handles.get(name)
            if found is None:
                handle = ctypes.c_void_p()
                check(lib.qdq_device_open(name.encode(), ctypes.byref(handle)))
                found = _handles[name] = handle.value or 0
    return found
