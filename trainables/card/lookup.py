"""Operations on the meta device, looked up by their arguments' shapes.

The layers of an encoder are alike, and PyTorch finds shapes in Python: what was met before takes a
tenth of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._decomp import global_decomposition_table
from torch.utils.flop_counter import flop_registry

from ..uncompiled import count_as_asked
from .cost import Operation

MOST_KNOWN = 50_000  # operations at one shape that are remembered; about 1 KB each

# Shapes are found by functions that would ask the compiler not to look.
for _table in global_decomposition_table.values():
    count_as_asked(_table.values())


@dataclass(frozen=True, slots=True)
class Known:
    """An operation at one shape, as it was met the first time."""

    again: Callable[[Any], Any]  # arguments -> results like those
    operation: Operation | None  # None where it launches nothing
    inside_bytes: int
    in_place: bool  # its result is an argument

    @classmethod
    def of(cls, func: Any, args: Any, kwargs: Any, out: Any) -> "Known":
        """By its arguments and results."""
        packet, outputs = func._overloadpacket, tensors_in(out)
        operation = None
        if outputs and packet not in _FREE:
            count = flop_registry.get(packet)
            tensors = tensors_in(args) + tensors_in(tuple(kwargs.values())) + outputs
            operation = Operation(
                packet.__name__,
                count(*args, **kwargs, out_val=out) if count else 0,
                sum(t.numel() * t.element_size() for t in tensors),
                max(t.numel() for t in tensors),
            )
        in_place = bool(args) and out is args[0]
        return cls(_recipe(out, args), operation, _inside(packet, args), in_place)


_KNOWN: dict[Any, Known] = {}  # by operation and arguments, whatever is traced


def look_up(func: Any, args: Any, kwargs: Any) -> tuple[Known, Any]:
    """What is known of the operation, and its results: new tensors, or the argument written to."""
    key = func, *map(_described, args)
    if kwargs:
        key += tuple(map(_described, sorted(kwargs.items())))
    known = _KNOWN.get(key)
    if known is not None:
        return known, known.again(args)
    out = _results(func, args, kwargs)
    if len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.clear()
    known = _KNOWN[key] = Known.of(func, args, kwargs, out)
    return known, out


# Results as large as the first argument, and as wide as the two of a product: PyTorch works them
# out in Python, which is what a new head's first trace would take most of its time for.
_LIKE_FIRST = {
    torch.ops.aten.elu_backward,
    torch.ops.aten.gelu,
    torch.ops.aten.gelu_backward,
    torch.ops.aten.sigmoid_backward,
    torch.ops.aten.sqrt,
    torch.ops.aten.threshold_backward,
}
_PRODUCTS = {torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.mm}


def _results(func: Any, args: Any, kwargs: Any) -> Any:
    """Of an operation at shapes that were not met before."""
    packet = func._overloadpacket
    if packet.__name__.endswith("_"):  # in place
        return args[0]
    tensors = tensors_in(args)
    alike = len({_described(tensor) for tensor in tensors}) == 1
    if packet in _LIKE_FIRST and alike and tensors[0].is_contiguous():
        return torch.empty_like(tensors[0])
    if packet in _PRODUCTS:
        left, right = tensors[-2:]
        return left.new_empty((*left.shape[:-1], right.shape[-1]))
    return func(*args, **kwargs)


def _recipe(out: Any, args: Any) -> Callable[[Any], Any]:
    """How to make results like these again: new tensors, or the argument that was written to."""
    if args and out is args[0]:
        return lambda given: given[0]
    if isinstance(out, Tensor):
        shape, stride, dtype = out.shape, out.stride(), out.dtype
        return lambda _: torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if isinstance(out, list | tuple):
        parts, kind = [_recipe(one, ()) for one in out], type(out)
        return lambda given: kind(part(given) for part in parts)
    return lambda _: out


def _described(value: Any) -> Any:
    """An argument as a key: of a tensor, all but its numbers."""
    kind = value.__class__
    if kind in _NUMBERS:
        return kind, value  # 1, 1.0 and True are equal keys
    if kind is Tensor or isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if kind is list or kind is tuple:
        return tuple(map(_described, value))
    return kind, value


_NUMBERS = {int, float, bool, type(None)}


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors among arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in tensors_in(each)]
    return []


# Operations that read and write nothing: memory is handed out.
_FREE = {
    torch.ops.aten.empty,
    torch.ops.aten.empty_like,
    torch.ops.aten.empty_strided,
    torch.ops.aten.new_empty,
}


def _inside(operation: Any, args: Any) -> int:
    """Bytes that an operation holds for itself, beside its arguments and results.

    They come and go inside its kernel, where no dispatch is seen.
    """
    if operation is torch.ops.aten.sum and args[0].dtype in (torch.bool, torch.int32):
        return args[0].numel() * torch.int64.itemsize  # cast before it is summed
    return 0
