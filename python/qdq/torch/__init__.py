"""Exact formats in torch: straight-through round trips for training, sensitivities and importance in process.

    import qdq.torch
    qdq.torch.prepare(model, "q4_0")        # the model now computes with what an engine will have
    ...                                     # train; float32 weights, autocast as you like
    qdq.torch.export_gguf(model, "out.gguf", template="model-f32.gguf")   # the blocks that training saw
"""

from ._imatrix import Importance, imatrix
from ._ops import embedding, fake_quantize, linear
from ._prepare import FakeQuantizedEmbedding, FakeQuantizedLinear, Prepared, Skipped, convert, enabled, prepare, release
from ._sensitivity import rms_gradients, sensitivity

__all__ = [
    "FakeQuantizedEmbedding",
    "FakeQuantizedLinear",
    "Importance",
    "Prepared",
    "Skipped",
    "convert",
    "embedding",
    "enabled",
    "fake_quantize",
    "imatrix",
    "linear",
    "prepare",
    "release",
    "rms_gradients",
    "sensitivity",
]
