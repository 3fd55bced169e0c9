"""The heads, a file each; a new file with a registered class is found by itself.

A head here is the structure alone, from last hidden states to hidden states of the same shape.
Pooling, dropout and the classifier are the same for all of them and stand in `classifier.py`.
"""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TypeVar

from torch import Tensor, nn

from ....spaces.heads import HeadSettings


class Additive(nn.Module):
    """A structure that adds a linear map of narrow states to h: h + W_up inner(h).

    A weighted mean over tokens commutes with W_up, so a model pools the narrow states and maps one
    vector a note: without half of an adapter's matrix products.
    """

    up: nn.Linear
    adds = True  # False: these settings make something else of it, and only `forward` tells

    def inner(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What W_up maps: [notes, tokens, width] and [notes, tokens] -> [notes, tokens, narrow]."""
        raise NotImplementedError

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map `hidden`, [notes, tokens, width]; `mask`, [notes, tokens] bool, is True at tokens."""
        return hidden + self.up(self.inner(hidden, mask))


_Structure = TypeVar("_Structure", bound=nn.Module)
_REGISTERED: dict[type[HeadSettings], type[nn.Module]] = {}


def structure(settings: HeadSettings, width: int) -> nn.Module:
    """Build the module of these settings; its forward takes (hidden, mask).

    hidden: [notes, tokens, width] float32; mask: [notes, tokens] bool, True at real tokens;
    result: [notes, tokens, width] float32. No note is all padding.

    Raises:
        ValueError: no file in this folder registers the settings, or a setting is unknown to it.
    """
    found = _structures().get(type(settings))
    if found is None:
        raise ValueError(
            f"a head needs a file in trainables/models/heads/ whose class is decorated with "
            f"@registers({type(settings).__name__}); found none for {settings.kind=}"
        )
    return found(width, settings)


def is_tokenwise(settings: HeadSettings) -> bool:
    """Whether each token's result depends on that token alone."""
    return getattr(_structures()[type(settings)], "tokenwise", False)


def registers(settings: type[HeadSettings]) -> Callable[[type[_Structure]], type[_Structure]]:
    """Decorate the structure that these settings describe; it is called with (width, settings)."""

    def register(structure_class: type[_Structure]) -> type[_Structure]:
        earlier = _REGISTERED.setdefault(settings, structure_class)
        if earlier.__module__ != structure_class.__module__:
            raise ValueError(
                f"one structure per settings class; {settings.__name__} has "
                f"{earlier.__module__} and {structure_class.__module__}: remove one"
            )
        return structure_class

    return register


@cache
def _structures() -> Mapping[type[HeadSettings], type[nn.Module]]:
    """Every registered structure; the files are imported at the first call, not with the folder."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return _REGISTERED
