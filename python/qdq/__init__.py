"""What quantization to GGUF formats does to weights, bit for bit: on arrays of numpy, torch and others, without copies.

    import numpy, qdq
    w = numpy.random.randn(64, 256).astype("float32")
    low = qdq.roundtrip(w, "q4_K")          # the weights as a quantized model has them
    blocks = qdq.quantize(w, "q4_K")        # the bytes of a GGUF tensor
    qdq.error(w, ["q4_0", "q4_K", "q8_0"])  # what each costs

`qdq.torch` is for training: straight-through round trips, sensitivities and importance matrices in process.
"""

from ._devices import Device, devices
from ._errors import BadData, DeviceError, Error, FileError, InvalidArgument, OutOfMemory, Unsupported
from ._formats import Format, formats
from ._formats import find as format
from ._library import version
from ._model import Model, Tensor
from ._operations import ErrorStatistics, Sensitivity, dequantize, error, quantize, roundtrip, sensitivity
from ._optimize import Optimized, optimize
from ._plan import Plan, plan
from ._results import Scores

__version__ = version()

__all__ = [
    "BadData",
    "Device",
    "DeviceError",
    "Error",
    "ErrorStatistics",
    "FileError",
    "Format",
    "InvalidArgument",
    "Model",
    "Optimized",
    "OutOfMemory",
    "Plan",
    "Scores",
    "Sensitivity",
    "Tensor",
    "Unsupported",
    "dequantize",
    "devices",
    "error",
    "format",
    "formats",
    "optimize",
    "plan",
    "quantize",
    "roundtrip",
    "sensitivity",
]
