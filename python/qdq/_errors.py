"""What the library refuses, as exceptions: each is a qdq.Error and the built-in exception that fits."""

from __future__ import annotations

from . import _declarations as c


class Error(Exception):
    """Any failure of the library; its text says what is wrong, with the numbers."""


class InvalidArgument(Error, ValueError):
    """The call is wrong: a format's name, a shape, a dtype, arrays that overlap."""


class Unsupported(Error, NotImplementedError):
    """A right call that this build or device has no kernel for, or that lacks an importance matrix."""


class OutOfMemory(Error, MemoryError):
    """Host or device memory."""


class DeviceError(Error, RuntimeError):
    """No such device, a driver's failure, a lost device."""


class FileError(Error, OSError):
    """A file could not be read or written."""


class BadData(Error, ValueError):
    """A file was read but is not what it claims to be."""


_OF_STATUS = {
    c.QDQ_INVALID_ARGUMENT: InvalidArgument,
    c.QDQ_UNSUPPORTED: Unsupported,
    c.QDQ_OUT_OF_MEMORY: OutOfMemory,
    c.QDQ_DEVICE_ERROR: DeviceError,
    c.QDQ_IO_ERROR: FileError,
    c.QDQ_BAD_DATA: BadData,
}


def of_status(status: int, message: str) -> Error:
    return _OF_STATUS.get(status, Error)(message)
