"""What the fields of a config may hold: their types, and the ranges in which they mean something.

A space of a user's own may say anything, and a dataclass takes it. What numbers must have to do
with one another (a width that attention heads divide) is not here: building the network tells.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

from .configs import BaselineConfig, Config, HeadConfig, Optimisation, ScratchConfig
from .heads import GrnHead, HeadSettings

OURS = ScratchConfig.__module__.rpartition(".")[0]  # the package whose ranges stand here
LARGEST = 10_000_000  # of whole numbers, vocabularies included
LAYERS = 1_000  # of a backbone
BLOCKS = 100  # of a scratch model
SMALLEST_VOCABULARY = 100  # sub-words
BASELINES = ("tfidf_lr", "tfidf_mlp")

Rule = tuple[str, Callable[[Any], bool]]
_SHARE: Rule = ("in [0, 1)", lambda value: 0 <= value < 1)
_ABOVE_ZERO: Rule = ("above 0", lambda value: value > 0)
_NOT_NEGATIVE: Rule = ("not negative", lambda value: value >= 0)
_NAMED: dict[tuple[type, str], Rule] = {
    **{
        (kind, name): _SHARE
        for kind, names in {
            Optimisation: ("warmup_share",),
            HeadConfig: ("dropout",),
            ScratchConfig: ("dropout", "classifier_dropout", "router_noise"),
        }.items()
        for name in names
    },
    **{(kind, "structure_dropout"): _SHARE for kind in get_args(HeadSettings)},
    **{(kind, "learning_rate"): _ABOVE_ZERO for kind in (Optimisation, BaselineConfig)},
    (Optimisation, "weight_decay"): _NOT_NEGATIVE,
    (ScratchConfig, "capacity_factor"): _ABOVE_ZERO,
    (ScratchConfig, "balance_weight"): _NOT_NEGATIVE,
    (BaselineConfig, "inverse_regularisation"): _ABOVE_ZERO,
    (BaselineConfig, "model"): (f"one of {BASELINES}", lambda value: value in BASELINES),
}


def _whole(least: int, most: int = LARGEST) -> Rule:
    return f"in [{least}, {most:,}]", lambda value: least <= value <= most


_COUNT = _whole(1)
_COUNTS: dict[tuple[type, str], Rule] = {
    (ScratchConfig, "blocks"): _whole(1, BLOCKS),
    (ScratchConfig, "vocabulary"): _whole(SMALLEST_VOCABULARY),
    (ScratchConfig, "experts"): _whole(0),
    (HeadConfig, "last_k"): _whole(0, LAYERS),
    (HeadConfig, "lora_rank"): _whole(0),
    (HeadConfig, "lora_alpha"): _whole(0),
    (GrnHead, "bottleneck"): _whole(0),
}


def config_problems(config: Config) -> list[str]:
    """What its fields hold and must not, with the field, the rule and the value.

    >>> config_problems(ScratchConfig(width=32.5))
    ['ScratchConfig.width must be a whole number; got 32.5']
    >>> config_problems(ScratchConfig(optimisation=Optimisation(learning_rate=math.nan)))
    ['Optimisation.learning_rate must be a finite number; got nan']
    """
    return list(_problems(config))


def _problems(settings: Any) -> Iterator[str]:
    kind = type(settings)
    for name, hint in _hints(kind).items():
        value = getattr(settings, name)
        rule, holds = _type_rule(hint)
        if holds(value):
            if is_dataclass(value):
                yield from _problems(value)
            if kind.__module__.startswith(OURS):  # a class of somebody else's has its own ranges
                rule, holds = _range_rule(kind, name, hint)
        if not holds(value):
            yield f"{kind.__name__}.{name} must be {rule}; got {repr(value)[:80]}"


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def _type_rule(hint: Any) -> Rule:
    if hint is int:
        return "a whole number", lambda value: type(value) is int
    if hint is float:
        return "a finite number", _is_finite
    names = [kind.__name__ for kind in _kinds(hint)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        names = [str(member) for member in hint]
        return f"a {hint.__name__}, one of {names}", lambda value: isinstance(value, hint)
    return " or ".join(names), lambda value: isinstance(value, _kinds(hint))


def _kinds(hint: Any) -> tuple[type, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _is_finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < math.inf


def _range_rule(kind: type, name: str, hint: Any) -> Rule:
    if hint is int:
        return _COUNTS.get((kind, name), _COUNT)
    return _NAMED.get((kind, name), ("anything", lambda _: True))
