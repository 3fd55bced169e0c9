"""What was allocated and freed, in order: its peak, what stood there at the peak, and its rounding.

The log is of storages, not of tensors: a view costs nothing. The allocator is PyTorch's for CUDA:
it hands out multiples of 512 bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .cards import MIB

ALLOCATION_BYTES = 512  # the CUDA allocator's smallest step

# cuBLAS takes its workspace from PyTorch's allocator, so under the cap: 8 x 4 MiB by the setting
# that makes it deterministic (CUBLAS_WORKSPACE_CONFIG=:4096:8), for the thread of the forward pass
# and for that of the backward pass. An allowance: nothing traced shows it.
WORKSPACE_BYTES = 2 * 8 * 4 * MIB
PARTS = ("parameters", "gradients", "optimiser", "activations")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryParts:
    """Bytes at the moment of the peak, by what they are; they add up to it."""

    parameters: int = 0  # a backbone's among them, buffers too
    gradients: int = 0
    optimiser: int = 0  # its state
    activations: int = 0  # all else that the step holds: inputs, activations, temporaries
    rounding: int = 0  # of each of those to what the allocator hands out

    @property
    def exact(self) -> int:
        """Bytes that were asked for."""
        return self.parameters + self.gradients + self.optimiser + self.activations

    @property
    def peak(self) -> int:
        """Bytes that the allocator hands out for them."""
        return self.exact + self.rounding


@dataclass(slots=True)
class MemoryLog:
    """Allocations as they come: a storage's serial number, and its bytes, negative when freed.

    A stretch of events may stand for several like it, one after the other.
    """

    events: list[tuple[int, int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # by serial: bytes
    copies: list[int] = field(default_factory=list)  # by serial: storages that it stands for
    kinds: dict[int, str] = field(default_factory=dict)  # serial -> name of a part
    stretches: list[tuple[int, int]] = field(default_factory=lambda: [(0, 1)])  # begin, times

    def add(self, size: int) -> int:
        """A storage of this many bytes; its serial number."""
        serial = len(self.sizes)
        self.sizes.append(size)
        self.copies.append(self.stretches[-1][1])
        self.events.append((serial, size))
        return serial

    def free(self, serial: int) -> None:
        """The storage is no more."""
        self.events.append((serial, -self.sizes[serial]))

    def pass_through(self, size: int) -> None:
        """An operation holds this much for itself and gives it back."""
        if size > 0:
            self.free(self.add(size))

    def tell(self, serials: Iterable[int], kind: str) -> None:
        """What these storages are, from their beginning on."""
        for serial in serials:
            self.kinds.setdefault(serial, kind)

    def repeat(self, times: int) -> None:
        """What comes until the next call happens so many times."""
        if times != self.stretches[-1][1]:
            self.stretches.append((len(self.events), times))

    def at_peak(self, start: int = 0) -> MemoryParts:
        """What stands there when most is handed out, from event number `start` on."""
        ends = [*(begin for begin, _ in self.stretches[1:]), len(self.events)]
        spans = [(b, end, times) for (b, times), end in zip(self.stretches, ends, strict=True)]
        order = np.concatenate([np.tile(np.arange(b, end), times) for b, end, times in spans])
        first = sum((min(end, start) - b) * times for b, end, times in spans if b < start)
        serials, changes = np.array(self.events, dtype=np.int64)[order].T
        parts = np.full(len(self.sizes), PARTS.index("activations"))
        for serial, kind in self.kinds.items():
            parts[serial] = PARTS.index(kind)
        # Outside its stretch a gradient is freed with its copies. Whatever else is freed there was
        # made by the last round; those of the other rounds were freed on the way.
        once = np.concatenate([np.full((end - b) * times, times == 1) for b, end, times in spans])
        standing = parts[serials] != PARTS.index("activations")
        copies = np.where(once & standing & (changes < 0), np.array(self.copies)[serials], 1)
        steps = -(-abs(changes) // ALLOCATION_BYTES) * ALLOCATION_BYTES * np.sign(changes)
        now = np.cumsum(steps * copies)
        place = first + int(np.argmax(now[first:])) + 1
        live = (changes * copies)[:place]
        found = {p: int(live[parts[serials[:place]] == n].sum()) for n, p in enumerate(PARTS)}
        return MemoryParts(**found, rounding=int(now[place - 1]) - sum(found.values()))


def rounded(change: int) -> int:
    """Bytes as the allocator hands them out, or takes them back.

    >>> rounded(1), rounded(512), rounded(-513)
    (512, 512, -1024)
    """
    steps = -(-abs(change) // ALLOCATION_BYTES)
    return steps * ALLOCATION_BYTES * (1 if change > 0 else -1)
