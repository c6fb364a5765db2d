"""Exact formats in torch: straight-through round trips for training, sensitivities and importance in process.

import qdq.torch
qdq.torch.prepare(model, "q4_0")        # the model now computes with what an engine will have
...                                     # train; float32 weights, autocast as you like
qdq.torch.export_gguf(model, "out.gguf", template="model-f32.gguf")   # the blocks that training saw
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("qdq.torch needs PyTorch: pip install torch") from error

from ._export import Exported, export_gguf
from ._imatrix import Importance, imatrix
from ._ops import embedding, fake_quantize, linear
from ._prepare import FakeQuantizedEmbedding, FakeQuantizedLinear, Prepared, Skipped, convert, enabled, prepare, release
from ._refine import Refined, Trial, refine
from ._sensitivity import rms_gradients, sensitivity


def __getattr__(name: str):
    """QATCallback is transformers': that is imported when it is asked for."""
    if name == "QATCallback":
        from ._trainer import QATCallback

        return QATCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Exported",
    "FakeQuantizedEmbedding",
    "FakeQuantizedLinear",
    "Importance",
    "Prepared",
    "QATCallback",
    "Refined",
    "Skipped",
    "Trial",
    "convert",
    "embedding",
    "enabled",
    "export_gguf",
    "fake_quantize",
    "imatrix",
    "linear",
    "prepare",
    "refine",
    "release",
    "rms_gradients",
    "sensitivity",
]
