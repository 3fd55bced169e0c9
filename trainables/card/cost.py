"""What a piece of work costs on a card: a roofline over its operations.

Each operation takes the larger of three: its FLOPs over the card's rate, its bytes over the card's
bandwidth, and, on a calibrated device, its elements over the rate measured for that very operation;
then a launch. After Williams, Waterman and Patterson, "Roofline" (CACM 52(4), 2009), applied to
one operation at a time. Work knows no card, so one trace tells the cost on every one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .cards import Card

PREPARING = "prepare"  # a note's rows copied into its padded batch, by the host
# Calls that the host makes for a batch, and for each of its notes; counted in `batches`.
BATCH_CALLS, NOTE_CALLS = 8, 3


class Operation(NamedTuple):
    """One operation at one shape."""

    name: str  # PyTorch's, without its overload
    flops: int
    moved_bytes: int  # of all arguments and results
    elements: int  # of the largest of them


@dataclass(frozen=True, slots=True)
class Work:
    """Operations, and how often each is done."""

    counts: Mapping[Operation, int] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products."""
        return sum(operation.flops * count for operation, count in self.counts.items())

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written, as if no cache kept any."""
        return sum(operation.moved_bytes * count for operation, count in self.counts.items())

    @property
    def launches(self) -> int:
        """Operations in all."""
        return sum(self.counts.values())

    def times(self, repeats: int) -> "Work":
        """So many of it."""
        return Work({operation: count * repeats for operation, count in self.counts.items()})

    def plus(self, other: "Work") -> "Work":
        """Both."""
        counts = dict(self.counts)
        for operation, count in other.counts.items():
            counts[operation] = counts.get(operation, 0) + count
        return Work(counts)

    def seconds(self, card: Card) -> float:
        """On this card."""
        return sum(seconds(operation, card) * n for operation, n in self.counts.items())


def seconds(operation: Operation, card: Card) -> float:
    """What one operation takes on a card.

    >>> from .cards import CARDS
    >>> one = Operation("mm", flops=10**12, moved_bytes=10**6, elements=10**5)
    >>> round(seconds(one, CARDS["p620"]), 2)  # 1 TFLOP at 70 % of 1.386 TFLOP/s
    1.03
    """
    bounds = [
        operation.flops / (card.flops * card.flops_share),
        operation.moved_bytes / (card.bandwidth * card.bandwidth_share),
    ]
    if operation.name in card.element_rates:
        bounds.append(operation.elements / card.element_rates[operation.name])
    return max(bounds) + card.launch_seconds


def preparation(notes: int, row_bytes: int, padded_bytes: int) -> Work:
    """A batch made from the stored notes: each copied into its place, the rest zeros.

    Args:
        notes: of the batch.
        row_bytes: of one note as it is stored.
        padded_bytes: of one note in the batch.
    """
    copied = Operation(PREPARING, 0, row_bytes + 2 * padded_bytes, 0)
    call = Operation(PREPARING, 0, 0, 0)
    return Work({copied: notes, call: BATCH_CALLS + (NOTE_CALLS - 1) * notes})
