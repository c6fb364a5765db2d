"""Running a model over text to learn about its weights, and leaving it as it was."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Union

import torch
from torch import nn
from torch.nn import functional as F

from .._errors import InvalidArgument
from ._prepare import FLOATS, prepared_modules

Batch = Union[torch.Tensor, Mapping[str, Any]]
Progress = Union[bool, Callable[[int, Optional[int]], None]]


def inputs_of(batch: Batch, device: torch.device) -> Dict[str, Any]:
    """A batch as the model's arguments: token ids [batch, length], or a mapping with input_ids."""
    if isinstance(batch, torch.Tensor):
        batch = {"input_ids": batch}
    if not isinstance(batch, Mapping):
        raise TypeError(f"a batch is a tensor of token ids or a mapping with input_ids, not {type(batch).__name__}")
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items() if k != "labels"}


def sequences(batches: Iterable[Batch], device: torch.device, limit: Optional[int]) -> Iterator[Dict[str, Any]]:
    """One sequence at a time, as a batch of one, without its padding; `limit` of them at most."""
    count = 0
    for batch in batches:
        given = inputs_of(batch, device)
        size = next((v.shape[0] for v in given.values() if isinstance(v, torch.Tensor)), 0)
        for k in range(size):
            if limit is not None and count >= limit:
                return
            count += 1
            yield _unpadded(
                {
                    key: v[k : k + 1] if isinstance(v, torch.Tensor) and v.dim() and v.shape[0] == size else v
                    for key, v in given.items()
                }
            )


def _unpadded(sample: Dict[str, Any]) -> Dict[str, Any]:
    mask = sample.pop("attention_mask", None)
    if not isinstance(mask, torch.Tensor) or bool(mask.all()):
        return sample
    keep = mask[0].bool()
    return {
        key: v[:, keep] if isinstance(v, torch.Tensor) and v.shape[:2] == mask.shape else v for key, v in sample.items()
    }


def logits_of(model: nn.Module, given: Mapping[str, Any]) -> torch.Tensor:
    """The logits [positions, vocabulary], float32."""
    out = model(given["input_ids"]) if list(given) == ["input_ids"] else model(**given)
    logits = out if isinstance(out, torch.Tensor) else getattr(out, "logits", None)
    if logits is None:
        raise InvalidArgument("the model's output has no logits: give loss=, a function of the model and a batch")
    return logits.flatten(0, -2).float()


def drawn_likelihood(model: nn.Module, given: Mapping[str, Any], generator: torch.Generator) -> torch.Tensor:
    """-log p of tokens that are drawn from the model's own output, summed over positions: its gradient's square is, in
    the mean, the diagonal of the Fisher information."""
    logits = logits_of(model, given)
    drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator)[:, 0]
    return F.cross_entropy(logits, drawn, reduction="sum")


def device_of(model: nn.Module) -> torch.device:
    devices = {p.device for p in model.parameters()}
    if any(d.type == "meta" for d in devices):
        raise InvalidArgument("some parameters are on the meta device, offloaded perhaps: load the model whole")
    if not devices:
        raise InvalidArgument("the model has no parameters")
    return next(iter(model.parameters())).device


def weights_of(model: nn.Module) -> Dict[str, nn.Parameter]:
    """What could be quantized: floats of two dimensions or more, each once, by its first name."""
    return {n: p for n, p in model.named_parameters() if p.dim() >= 2 and p.dtype in FLOATS}


@contextlib.contextmanager
def undisturbed(model: nn.Module, wanted: Iterable[nn.Parameter]) -> Iterator[None]:
    """Evaluation mode, gradients for `wanted` alone, no cache of keys; all of it as before at the end, whatever ends
    it. Gradients that parameters had are put aside."""
    modes = [(m, m.training) for m in model.modules()]
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    config: Any = getattr(model, "config", None)
    cache = getattr(config, "use_cache", None)
    chosen = {id(p) for p in wanted}
    try:
        model.eval()
        for p, _, _ in flags:
            p.grad = None
            p.requires_grad_(id(p) in chosen)
        if cache is not None:
            config.use_cache = False
        yield
    finally:
        if cache is not None:
            config.use_cache = cache
        for p, flag, gradient in flags:
            p.requires_grad_(flag)
            p.grad = gradient
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def gradients_to(parameters: Mapping[str, nn.Parameter], take: Callable[[str, torch.Tensor, torch.Tensor], None]):
    """Hands each parameter's gradient to take(name, weights, gradient) as soon as it is complete, and drops it."""

    def hook_of(name: str) -> Callable[[nn.Parameter], None]:
        def hook(p: nn.Parameter) -> None:
            gradient, p.grad = p.grad, None
            if gradient is not None:
                take(name, p.detach(), gradient)

        return hook

    hooks = [p.register_post_accumulate_grad_hook(hook_of(name)) for name, p in parameters.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def refuse_prepared(model: nn.Module) -> None:
    if next(prepared_modules(model), None) is not None:
        raise InvalidArgument("the model is prepared for training: convert it, or take one that is not")


def _interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def watched(items: Iterable[Any], total: Optional[int], progress: Progress, what: str) -> Iterator[Any]:
    """The items; True: a bar of tqdm, where that is installed and somebody looks; or a function of done and total."""
    if callable(progress):
        for done, item in enumerate(items):
            progress(done, total)
            yield item
        return
    bar = None
    if progress and _interactive():
        with contextlib.suppress(ImportError):
            from tqdm.auto import tqdm

            bar = tqdm(items, total=total, desc=what)
    yield from items if bar is None else bar


def length_of(batches: Any, limit: Optional[int]) -> Optional[int]:
    """How many sequences there will be, if that can be told without taking them."""
    if isinstance(batches, (list, tuple)):
        sizes = [len(b["input_ids"] if isinstance(b, Mapping) and "input_ids" in b else b) for b in batches]
        return min(sum(sizes), limit) if limit is not None else sum(sizes)
    return limit
