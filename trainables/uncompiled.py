"""PyTorch's compiler left alone: nothing here is compiled, and its import takes a second and 60 MB.

Functions of PyTorch ask the compiler not to look at them, and import it for that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def count_as_asked(functions: Iterable[object]) -> None:
    """These, and all that they wrap, need not ask any more; what is no function is left out."""
    left, seen = list(functions), set[object]()
    while left:
        function = left.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        function.__dynamo_disable = function  # pyright: ignore[reportFunctionMemberAccess]
        for cell in function.__closure__ or ():
            try:
                left.append(cell.cell_contents)
            except ValueError:  # an empty one
                continue


@contextmanager
def on_meta() -> Iterator[None]:
    """What is built inside has shapes and no numbers: it is on the meta device, and nothing drawn.

    PyTorch would draw even there, by way of its compiler.
    """
    with torch.device("meta"), _Unset():
        yield


class _Unset(TorchFunctionMode):
    """Leaves parameters as they are: there is nothing to initialise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_DRAWN = {
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    Tensor.normal_,
    Tensor.uniform_,
}
