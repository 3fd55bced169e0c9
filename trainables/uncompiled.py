"""PyTorch's compiler left alone: nothing here is compiled, and its import takes a second and 60 MB.

Functions of PyTorch ask the compiler not to look at them, and import it for that.
"""

from collections.abc import Iterable
from types import FunctionType


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
