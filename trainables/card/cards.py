"""The cards that a search may emulate: data, with the source of each number.

A card file is TOML with the same fields. Rates are peaks; what of them is attained is a named
constant of the cost model.
"""

import math
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as its data sheet has it."""

    name: str
    memory_bytes: int  # on the board
    reserve_bytes: int  # context and library workspaces, outside PyTorch's allocator
    flops: float  # FP32, a second, peak
    bandwidth: float  # bytes a second, peak
    watts: float  # board power
    source: str  # of these numbers

    @property
    def limit_bytes(self) -> int:
        """What PyTorch's allocator may take."""
        return self.memory_bytes - self.reserve_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


CARDS = {
    "p620": Card(
        name="Quadro P620",
        memory_bytes=2048 * MIB,
        reserve_bytes=300 * MIB,  # a CUDA context takes 100-300 MB: the careful end
        flops=1.386e12,
        bandwidth=80.13e9,
        watts=40.0,
        source="NVIDIA data sheet: GP107, 512 cores, 2 GB GDDR5",
    ),
}


class CardError(ValueError):
    """The card asked for is not known, or its file is not one."""


def load_card(name: str) -> Card | None:
    """The card of this name or TOML file; None for `none`.

    Raises:
        CardError: no such card, or a file with missing, unknown or impossible fields.
    """
    if name == "none":
        return None
    if name in CARDS:
        return CARDS[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise CardError(
            f"a card is one of {sorted(CARDS)}, a .toml file, or 'none' for no emulation; "
            f"got {name!r}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"the card file {name!r} cannot be read: {error}") from error
    wanted = {f.name for f in fields(Card)}
    if missing := sorted(wanted - values.keys()):
        raise CardError(f"the card file {name!r} lacks {missing}; it needs {sorted(wanted)}")
    if unknown := sorted(values.keys() - wanted):
        raise CardError(f"the card file {name!r} has unknown fields {unknown}")
    numbers = ("memory_bytes", "reserve_bytes", "flops", "bandwidth", "watts")
    bad = [n for n in numbers if not _is_positive(values[n])]
    if bad or values["reserve_bytes"] >= values["memory_bytes"]:
        raise CardError(
            f"the card file {name!r}: {', '.join(numbers)} must be positive numbers, and the "
            f"reserve smaller than the memory; found wrong: {bad or ['reserve_bytes']}"
        )
    return Card(**values)


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def gpu_fraction(
    card: Card, device_bytes: int, context_bytes: int = 0, *, most: int = 100
) -> float:
    """The share of a device that one trial under `card` holds.

    As many trials share the device as fit with a context each, at most `most`. Ray counts in steps
    of 1e-4, so the share is rounded down to one: neither one trial more nor one fewer fits. The
    card's own reserve does not count here: the context of the device at hand does.

    >>> gpu_fraction(CARDS["p620"], 8 * 1024**3)
    0.25
    >>> share = gpu_fraction(CARDS["p620"], 138 * 1024**3)  # 80 trials
    >>> share, int(1 / share)
    (0.0125, 80)
    """
    trials = min(most, max(1, device_bytes // (card.limit_bytes + context_bytes)))
    return (10_000 // trials) / 10_000
