"""What was allocated and freed, in order: its peak, what stood there at the peak, and its rounding.

The log is of storages, not of tensors: a view costs nothing. The allocator is PyTorch's for CUDA:
it hands out multiples of 512 bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .cards import MIB

ALLOCATION_BYTES = 512  # the CUDA allocator's smallest step

# cuBLAS takes its workspace from PyTorch's allocator, so under the cap: 8 x 4 MiB by the setting
# that makes it deterministic (CUBLAS_WORKSPACE_CONFIG=:4096:8), for the thread of the forward pass
# and for that of the backward pass. An allowance: nothing traced shows it.
WORKSPACE_BYTES = 2 * 8 * 4 * MIB


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
    """Allocations as they come: a storage's serial number, and its bytes, negative when freed."""

    events: list[tuple[int, int]] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)  # serial -> bytes
    kinds: dict[int, str] = field(default_factory=dict)  # serial -> name of a part

    def add(self, size: int) -> int:
        """A storage of this many bytes; its serial number."""
        serial = len(self.sizes)
        self.sizes[serial] = size
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

    def at_peak(self, start: int = 0) -> MemoryParts:
        """What stands there when most is handed out, from event number `start` on."""
        now = peak = 0
        where = len(self.events)
        for place, (_, change) in enumerate(self.events):
            now += rounded(change)
            if place >= start and now > peak:
                peak, where = now, place
        live: dict[int, int] = {}
        for serial, change in self.events[: where + 1]:
            if change > 0:
                live[serial] = change
            else:
                live.pop(serial, None)
        parts: dict[str, int] = {}
        for serial, size in live.items():
            kind = self.kinds.get(serial, "activations")
            parts[kind] = parts.get(kind, 0) + size
        return MemoryParts(**parts, rounding=peak - sum(live.values()) if live else 0)


def rounded(change: int) -> int:
    """Bytes as the allocator hands them out, or takes them back.

    >>> rounded(1), rounded(512), rounded(-513)
    (512, 512, -1024)
    """
    steps = -(-abs(change) // ALLOCATION_BYTES)
    return steps * ALLOCATION_BYTES * (1 if change > 0 else -1)
