"""An engine in a process of its own: what one sets in its environment is nobody else's."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any


def alone(module: str, function: str, *given: Any, **named: Any) -> Any:
    """Call a function of a module of this package in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_call, module, function, given, named).result()


def _call(module: str, function: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return getattr(import_module(f".{module}", __package__), function)(*given, **named)
