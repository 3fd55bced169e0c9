"""The cards that a search may emulate: data, with the source of each number.

A card file is TOML with the same fields. Rates are peaks, and a share of them is attained; in the
file of a calibrated device they are what was measured, and the shares are 1.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MIB = 1024**2

# What of a data sheet's peaks a training step attains, and what starting an operation costs: one
# assumption for all cards and models. On an H100 and an H200, large copies were measured at 90 % of
# the peak and large products at 80 %; the shapes of a batch of 8 notes reach less. `headhunt
# footprint --calibrate` measures a device instead.
FLOPS_SHARE = 0.7
BANDWIDTH_SHARE = 0.7
LAUNCH_SECONDS = 8e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as its data sheet has it, or a device as it was measured."""

    name: str
    memory_bytes: int  # on the board
    reserve_bytes: int  # context and library workspaces, outside PyTorch's allocator
    flops: float  # FP32, a second, peak
    bandwidth: float  # bytes a second, peak
    watts: float  # board power
    source: str  # of each of these numbers
    flops_share: float = FLOPS_SHARE  # of the peak rate that matrix products attain
    bandwidth_share: float = BANDWIDTH_SHARE  # of the peak that other operations attain
    launch_seconds: float = LAUNCH_SECONDS  # of one operation, from Python to the device
    # Elements a second of operations that neither rate explains, by PyTorch's name: measured on a
    # calibrated device, empty where only a data sheet is known.
    element_rates: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def limit_bytes(self) -> int:
        """What PyTorch's allocator may take."""
        return self.memory_bytes - self.reserve_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


# A CUDA context takes 100 to 300 MB: the careful end on a small card, where it counts, and more on
# a data-centre one, whose context holds more multiprocessors.
SMALL_RESERVE, LARGE_RESERVE = 300 * MIB, 600 * MIB


ALLOWANCE = "reserve: an allowance for a CUDA context"


def _gpu(
    name: str, gibibytes: float, tflops: float, gbytes: float, watts: float, source: str
) -> Card:
    """A line of the table: memory in GiB, peak FP32 in TFLOP/s, bandwidth in GB/s, board power."""
    memory = int(gibibytes * 1024) * MIB
    return Card(
        name=name,
        memory_bytes=memory,
        reserve_bytes=SMALL_RESERVE if gibibytes <= 16 else LARGE_RESERVE,
        flops=tflops * 1e12,
        bandwidth=gbytes * 1e9,
        watts=watts,
        source=f"{source}; {ALLOWANCE}",
    )


# FLOP/s of the small cards are cores x 2 (a multiplication and an addition) x boost clock.
_SHEET = "memory, FLOP/s (FP32 without TF32), bandwidth and watts: NVIDIA data sheet"
CARDS = {
    "p620": _gpu(
        "Quadro P620",
        2,
        1.386,
        80.13,
        40,
        "memory and watts: NVIDIA data sheet; FLOP/s: 512 cores (GP107) at 1,354 MHz; bandwidth: "
        "128 bit of GDDR5 at 5.0 Gbit/s",
    ),
    "gtx1050ti": _gpu(
        "GeForce GTX 1050 Ti",
        4,
        2.138,
        112.1,
        75,
        "memory and watts: TechPowerUp; FLOP/s: 768 cores (GP107) at 1,392 MHz; bandwidth: 128 bit "
        "of GDDR5 at 7.0 Gbit/s",
    ),
    "t4": _gpu(
        "Tesla T4",
        15,
        8.141,
        320,
        70,
        "memory: of the data sheet's 16 GB, what is left under ECC in whole GiB; FLOP/s: 2,560 "
        "cores (TU104) at 1,590 MHz; bandwidth and watts: NVIDIA data sheet",
    ),
    "rtx3060": _gpu(
        "GeForce RTX 3060",
        12,
        12.74,
        360,
        170,
        "memory and watts: TechPowerUp; FLOP/s: 3,584 cores (GA106) at 1,777 MHz; bandwidth: 192 "
        "bit of GDDR6 at 15 Gbit/s",
    ),
    "a100": _gpu("A100 PCIe 40 GB", 40, 19.5, 1555, 250, _SHEET),
    "h100": _gpu(
        "H100 SXM", 79, 67, 3350, 700, f"{_SHEET}; of its 80 GB, what CUDA shows in whole GiB"
    ),
    "h200": _gpu(
        "H200 SXM", 139, 67, 4800, 700, f"{_SHEET}; of its 141 GB, what CUDA shows in whole GiB"
    ),
}
AUTO, NONE = "auto", "none"
# The fields of a card file that must be there, with their units.
UNITS = {
    "name": "text",
    "memory_bytes": "bytes",
    "reserve_bytes": "bytes",
    "flops": "FLOP/s, like 1.386e12",
    "bandwidth": "bytes/s, like 80.1e9",
    "watts": "W",
    "source": "text",
}
# Below these a number is in another unit: TFLOP/s, GB/s, GiB.
LEAST = {"memory_bytes": MIB, "reserve_bytes": 1, "flops": 1e8, "bandwidth": 1e7, "watts": 0.0}
MOST = 1e18  # above it, no number of a card is meant


class CardError(ValueError):
    """The card asked for is not known, or its file is not one."""


def load_card(name: str) -> Card | None:
    """The card of this name or TOML file; the device here for `auto`; None for `none`.

    Raises:
        CardError: no such card, a file with missing, unknown or impossible fields, or no device.
    """
    known = name.lower()
    if known == NONE:
        return None
    if known == AUTO:
        from .calibration import real_card

        return real_card()
    if known in CARDS:
        return CARDS[known]
    path = Path(name)
    if path.suffix != ".toml":
        near = get_close_matches(known, CARDS, n=1)
        raise CardError(
            f"a card is one of {sorted(CARDS)}, a .toml file, {AUTO!r} for the GPU of this "
            f"machine, or in a search {NONE!r} for no emulation; got {name!r}"
            f"{f', did you mean {near[0]!r}?' if near else ''}"
        )
    try:
        if path.exists() and not path.is_file():
            raise CardError(f"the card {name!r} is no regular file; give a .toml file")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardError(f"the card file {name!r} cannot be read: {error}") from error
    return _checked(values, name)


def _checked(values: dict[str, Any], name: str) -> Card:
    wanted = {f.name for f in fields(Card)}
    if missing := [field for field in UNITS if field not in values]:
        needed = ", ".join(f"{field} ({unit})" for field, unit in UNITS.items())
        raise CardError(f"the card file {name!r} lacks {missing}; it needs {needed}")
    if unknown := sorted(values.keys() - wanted):
        raise CardError(f"the card file {name!r} has unknown fields {unknown}")
    texts = [n for n in ("name", "source") if not isinstance(values[n], str) or not values[n]]
    if texts:
        raise CardError(
            f"the card file {name!r}: name and source are text, in quotes; found wrong: {texts}"
        )
    sizes = ("memory_bytes", "reserve_bytes")
    values = {**values, **{n: _whole(values[n]) for n in sizes}}
    bad = [n for n in LEAST if not _is_positive(values[n])]
    bad += [n for n in sizes if n not in bad and not isinstance(values[n], int)]
    if bad or values["reserve_bytes"] >= values["memory_bytes"]:
        raise CardError(
            f"the card file {name!r}: {', '.join(LEAST)} must be positive numbers, bytes whole "
            "ones, and the reserve smaller than the memory; found wrong: "
            f"{bad or ['reserve_bytes']}"
        )
    if large := [n for n in LEAST if values[n] > MOST]:
        raise CardError(f"the card file {name!r}: no card has so much; found too large: {large}")
    if small := [f"{n} in {UNITS[n]}" for n, least in LEAST.items() if values[n] < least]:
        raise CardError(f"the card file {name!r} must give {'; '.join(small)}: found too small")
    shares = [n for n in ("flops_share", "bandwidth_share") if not _is_share(values.get(n, 1))]
    rates = values.get("element_rates", {})
    if not isinstance(rates, dict) or not all(map(_is_positive, rates.values())):
        shares.append("element_rates")
    if not _is_positive(values.get("launch_seconds", 1)):
        shares.append("launch_seconds")
    if shares:
        raise CardError(
            f"the card file {name!r}: shares lie in (0, 1], launch_seconds and each of "
            f"element_rates are positive; found wrong: {shares}"
        )
    return Card(**values)


def card_toml(card: Card) -> str:
    """The card as a file that `load_card` reads."""
    plain = card.to_dict()
    rates = plain.pop("element_rates")
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items()]
    lines += ["", "[element_rates]  # elements a second"]
    return "\n".join([*lines, *(f"{name} = {rate:.4g}" for name, rate in rates.items()), ""])


def _toml(value: str | float) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        return f'"{escaped}"'
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _is_positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf


def _whole(value: Any) -> Any:
    """A whole number that is written with a point or an exponent, like 2e9, as one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_share(value: Any) -> bool:
    return _is_positive(value) and value <= 1


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
