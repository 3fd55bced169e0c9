"""Run a function without data, memory or GPU, and add up what it would take.

Under `FakeTensorMode` every operation is seen with its shapes and computes nothing. Peak bytes are
those of the storages alive at once, each rounded up as PyTorch's CUDA allocator does; costs follow
a roofline, operation by operation.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

ALLOCATION_BYTES = 512  # the CUDA allocator's smallest step
ATTAINED_SHARE = 0.7  # of a card's peak rates: an assumption, the same for all models
LAUNCH_SECONDS = 8e-6  # of one operation, from Python to the device: an assumption likewise


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen."""

    peak_bytes: int
    flops: int
    moved_bytes: int
    seconds: float  # on a card with these rates


@dataclass(frozen=True, slots=True)
class TrainingTrace:
    """A whole step, and how much of its time is the optimiser's, whatever the batch."""

    step: Trace
    update_seconds: float


class _Meter(TorchDispatchMode):
    """Adds up live storages, FLOPs and bytes of every operation below it."""

    def __init__(self, flops: float, bandwidth: float) -> None:
        super().__init__()
        self.rate, self.bandwidth = flops * ATTAINED_SHARE, bandwidth * ATTAINED_SHARE
        self.live: dict[int, int] = {}
        self.references: dict[int, Any] = {}
        self.now = self.peak = self.flops = self.moved = 0
        self.seconds = 0.0

    def reset(self) -> None:
        """Begin the costs anew; memory goes on."""
        self.flops = self.moved = 0
        self.seconds = 0.0

    def trace(self) -> Trace:
        """What was seen."""
        return Trace(self.peak, self.flops, self.moved, self.seconds)

    def keep(self, tensor: Tensor) -> None:
        """Count the tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self.references:
            return
        size = -(-storage.nbytes() // ALLOCATION_BYTES) * ALLOCATION_BYTES
        self.live[key] = size
        self.references[key] = weakref.ref(storage, lambda _: self._free(key))
        self.now += size

    def _free(self, key: int) -> None:
        self.now -= self.live.pop(key)
        del self.references[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        outputs = [t for t in tree_iter(out) if isinstance(t, Tensor)]
        for tensor in outputs:
            self.keep(tensor)
        self.peak = max(self.peak, self.now + _inside(func._overloadpacket, args))
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        moved = 0
        if outputs and not func.is_view:  # asking for a shape or a device launches nothing
            tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
            moved = sum(t.numel() * t.element_size() for t in tensors + outputs)
            self.seconds += max(flops / self.rate, moved / self.bandwidth) + LAUNCH_SECONDS
        self.flops += flops
        self.moved += moved
        return out


def _inside(operation: Any, args: Any) -> int:
    """Bytes that an operation holds for itself, beside its arguments and results.

    They come and go inside its kernel, where no dispatch is seen.
    """
    aten = torch.ops.aten
    if operation is aten.sum and args[0].dtype in (torch.bool, torch.int32):
        return args[0].numel() * torch.int64.itemsize  # cast before it is summed
    if operation is aten._safe_softmax:
        return args[0].numel()  # bool: where a whole row is masked
    if operation is aten.scatter_add:  # gather's backward: it copies for fake tensors alone
        return -args[0].numel() * args[0].element_size()
    return 0


def trace_training(
    build: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...]],
    loss: Callable[[Any], Tensor],
    *,
    flops: float,
    bandwidth: float,
) -> TrainingTrace:
    """One training step with AdamW: forward, backward, update.

    Two steps are run, because the optimiser's state appears in the first; the peak is over both,
    the costs are the second's.
    """
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), _Meter(flops, bandwidth) as meter:
        model = build().train()
        for parameter in model.parameters():
            meter.keep(parameter)
        optimiser = torch.optim.AdamW(model.parameters(), foreach=False)
        update_seconds = 0.0
        for _ in range(2):
            meter.reset()
            value = loss(model(*inputs()))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            update_seconds = -meter.seconds
            optimiser.step()
            update_seconds += meter.seconds
            del value
    return TrainingTrace(meter.trace(), update_seconds)


def trace_gradients(
    build: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...]],
    loss: Callable[[Any], Tensor],
    *,
    flops: float,
    bandwidth: float,
) -> Trace:
    """Forward and backward alone: what of a training step depends on the batch."""
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), _Meter(flops, bandwidth) as meter:
        model = build().train()
        meter.reset()
        loss(model(*inputs())).backward()
    return meter.trace()


def trace_inference(
    build: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...] | dict[str, Tensor]],
    *,
    flops: float,
    bandwidth: float,
) -> Trace:
    """One forward pass without gradients."""
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), _Meter(flops, bandwidth) as meter:
        model = build().eval()
        for parameter in model.parameters():
            meter.keep(parameter)
        meter.reset()
        with torch.no_grad():
            given = inputs()
            result = model(**given) if isinstance(given, dict) else model(*given)
            del result
    return meter.trace()
