"""Configs as rows of numbers, for a model that reads only such."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...spaces.configs import Config, config_to_dict

DECADE = 10.0  # a positive number that spans more is seen by its logarithm
ABSENT = -1.0  # where a config does not have the field; the others begin at 0


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a row."""

    name: str  # of the config's field
    word: str | None  # the column tells whether the field is this word; None: it is a number
    lowest: float = 0.0  # seen of the number
    by_log: bool = False

    def read(self, fields: dict[str, Any]) -> float:
        """The column's number in a config with these fields."""
        value = fields.get(self.name)
        if self.word is not None:
            return float(str(value) == self.word)
        if value is None:
            return ABSENT
        if self.by_log:
            return max(math.log(value / self.lowest), 0.0) if value > 0 else 0.0
        return max(value - self.lowest, 0.0)


class Encoder:
    """Knows the fields of some configs: their scales, and the words that stand in them."""

    def __init__(self, configs: Sequence[Config]) -> None:
        seen = [_fields(config) for config in configs]
        self._columns = [
            column
            for name in sorted({name for fields in seen for name in fields})
            for column in _columns(name, [fields[name] for fields in seen if name in fields])
        ]

    def row(self, config: Config) -> list[float]:
        """The config's row, as long for every config."""
        fields = _fields(config)
        return [column.read(fields) for column in self._columns]


def _columns(name: str, values: Sequence[Any]) -> Iterator[Column]:
    if any(isinstance(value, str | bool) for value in values):
        yield from (Column(name, word) for word in sorted(set(map(str, values))))
    else:
        low, high = min(values), max(values)
        yield Column(name, None, low, by_log=low > 0 and high > DECADE * low)


def _fields(config: Config) -> dict[str, Any]:
    """A config's fields under names of their own, whatever stands in what."""
    flat: dict[str, Any] = {}
    for name, value in config_to_dict(config).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat
