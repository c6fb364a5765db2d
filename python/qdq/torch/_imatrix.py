"""Importance matrices in process: what each column of a weight is multiplied with, as llama-imatrix counts it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .._errors import InvalidArgument
from .._gguf import NAME_LIMIT, Value, file_bytes
from .._results import PathLike, write_whole
from ._runs import Batch, Progress, device_of, length_of, sequences, undisturbed, watched, weights_of
from ._prepare import enabled

Names = Union[Mapping[str, Union[str, Sequence[str]]], Callable[[str], Union[str, Sequence[str]]]]


@dataclass(eq=False)
class Importance(Mapping):
    """Sums of squared inputs by column, and their counts; as a mapping, of each parameter its columns' weights.

    A stack of experts has sums [experts, row] and one weight a row and expert.
    """

    sums: Dict[str, torch.Tensor] = field(default_factory=dict)
    """[matrices, row], float64."""
    counts: Dict[str, torch.Tensor] = field(default_factory=dict)
    """[matrices], of inputs that were added up."""
    chunks: int = 0
    chunk_size: int = 0

    def __getitem__(self, name: str) -> torch.Tensor:
        """Mean squares, float32, the very bits that are read of its file: [row], or [experts, row]; 1 where nothing was
        counted."""
        sums, counts = self.sums[name].float(), self.counts[name].float()[:, None]
        weights = torch.where(counts > 0, sums / counts, 1.0)
        return weights[0] if len(weights) == 1 else weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.sums)

    def __len__(self) -> int:
        return len(self.sums)

    def save(self, path: PathLike, dataset: str = "", names: Optional[Names] = None) -> None:
        """Writes llama-imatrix's GGUF file: NAME.in_sum2 and NAME.counts.

        dataset: what the text was, for the file. names: GGUF's names of the parameters, a mapping or a function;
        without it they are written under their own, which qdq finds for safetensors. Two parameters under one name, as
        experts that a model holds one by one, become the matrices of one entry, in their order; a parameter that GGUF
        has as several tensors, as a stack of gate and up, has several names.
        ValueError: nothing was counted, or matrices of different rows under one name.
        """
        if not self.sums:
            raise InvalidArgument("nothing was counted: no linear layer was run")
        merged: Dict[str, Tuple[List[torch.Tensor], List[torch.Tensor]]] = {}
        for name in self.sums:
            told = name if names is None else names(name) if callable(names) else names.get(name, name)
            for to in [told] if isinstance(told, str) else told:
                sums, counts = merged.setdefault(to, ([], []))
                if sums and sums[0].shape[1] != self.sums[name].shape[1]:
                    raise InvalidArgument(f"{name} has rows of {self.sums[name].shape[1]}, others under {to} do not")
                sums.append(self.sums[name])
                counts.append(self.counts[name])
        tensors = []
        for to, (sums, counts) in sorted(merged.items()):
            joined, times = torch.cat(sums), torch.cat(counts)
            tensors.append((_cut(f"{to}.in_sum2"), tuple(joined.shape), _bytes(joined)))
            tensors.append((_cut(f"{to}.counts"), (len(times), 1), _bytes(times)))
        keys: Dict[str, Value] = {
            "general.type": "imatrix",
            "imatrix.datasets": [dataset],
            "imatrix.chunk_count": self.chunks,
            "imatrix.chunk_size": self.chunk_size,
        }
        write_whole(path, file_bytes(keys, tensors))


def _cut(name: str) -> str:
    return name.encode()[:NAME_LIMIT].decode(errors="ignore")


def _bytes(t: torch.Tensor) -> bytes:
    return t.detach().to("cpu", torch.float32).contiguous().view(torch.uint8).numpy().tobytes()


class _Watch(TorchFunctionMode):
    """Sees every F.linear, whose weight is a parameter or one matrix of a stack, wherever a model calls it."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]):
        super().__init__()
        self._names = {p.untyped_storage().data_ptr(): n for n, p in parameters.items()}
        self._shapes = {n: p.shape for n, p in parameters.items()}
        self._last: Tuple[Any, Any] = (None, None)
        self.sums: Dict[str, torch.Tensor] = {}
        self.counts: Dict[str, torch.Tensor] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.linear:
            x, w = args[0], args[1] if len(args) > 1 else (kwargs or {})["weight"]
            self._add(x, w)
        return function(*args, **(kwargs or {}))

    def _add(self, x: torch.Tensor, w: torch.Tensor) -> None:
        name = self._names.get(w.untyped_storage().data_ptr()) if w.device.type != "meta" else None
        if name is None or w.shape != self._shapes[name][-2:]:
            return
        row, size = w.shape[-1], w.shape[-2] * w.shape[-1]
        matrices = max(self._shapes[name].numel() // size, 1)
        if name not in self.sums:
            self.sums[name] = torch.zeros(matrices, row, dtype=torch.float64, device=x.device)
            self.counts[name] = torch.zeros(matrices, dtype=torch.float64)
        matrix = w.storage_offset() // size
        # Layers that share an input (q, k and v) are called with the same tensor one after the other.
        if self._last[0] is not x or self._last[0] is None:
            self._last = (x, x.detach().reshape(-1, row).double().square().sum(0))
        self.sums[name][matrix] += self._last[1]
        self.counts[name][matrix] += x.numel() // row


def _head_of(model: nn.Module) -> Optional[nn.Parameter]:
    given = getattr(model, "get_output_embeddings", lambda: None)()
    return getattr(given if given is not None else getattr(model, "lm_head", None), "weight", None)


def imatrix(
    model: nn.Module,
    batches: Iterable[Batch],
    path: Optional[PathLike] = None,
    *,
    names: Optional[Names] = None,
    dataset: str = "",
    output: bool = False,
    max_samples: Optional[int] = None,
    progress: Progress = True,
) -> Importance:
    """Runs the model over text and adds up the squares of what each weight's columns are multiplied with.

    model, batches, progress: as in sensitivity; each sequence is a chunk, and llama.cpp's have 512 tokens. Every linear
    layer counts, and every expert that is computed by F.linear with its matrix of a stack, tokens that it was given
    alone. A prepared model is run with its weights as they are.
    output: count the output head too, which llama-imatrix leaves out.
    path, names, dataset: also write llama-imatrix's file, see Importance.save.

    The result serves as `importance=` of prepare and sensitivity. ValueError: no text, or nothing to count.
    """
    parameters = weights_of(model)
    head = None if output else _head_of(model)
    watch = _Watch({n: p for n, p in parameters.items() if p is not head})
    device, chunks, longest = device_of(model), 0, 0
    with undisturbed(model, ()), enabled(model, False), torch.no_grad(), watch:
        for given in watched(
            sequences(batches, device, max_samples), length_of(batches, max_samples), progress, "imatrix"
        ):
            model(given["input_ids"]) if list(given) == ["input_ids"] else model(**given)
            chunks += 1
            longest = max(longest, given["input_ids"].shape[-1])
    if not chunks:
        raise InvalidArgument("there is no sample in the batches")
    order = [n for n in parameters if n in watch.sums]
    found = Importance({n: watch.sums[n].cpu() for n in order}, {n: watch.counts[n] for n in order}, chunks, longest)
    if path is not None:
        found.save(path, dataset, names)
    return found
