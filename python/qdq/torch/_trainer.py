"""Quantization-aware training in transformers' Trainer."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import torch
from transformers import TrainerCallback

from ._prepare import Prepared, Spec, enabled, prepare


class QATCallback(TrainerCallback):
    """Prepares the model when training begins, and turns quantization on after some steps.

    Trainer(..., callbacks=[qdq.torch.QATCallback("q4_0", after_steps=100)])

    formats, importance: as in prepare. What was prepared is in `prepared` afterwards; the model stays prepared when
    training ends, for export_gguf or convert.
    """

    def __init__(self, formats: Spec, *, after_steps: int = 0, importance: Optional[Mapping[str, torch.Tensor]] = None):
        self.formats, self.after_steps, self.importance = formats, after_steps, importance
        self.prepared: Optional[Prepared] = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        on = state.global_step >= self.after_steps
        self.prepared = prepare(model, self.formats, importance=self.importance, enabled=on)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == self.after_steps:
            enabled(model)
