"""The card's memory as a limit on the trials of this process, and what running out of it means.

On a GPU PyTorch's allocator is held to what the card leaves, and what a trial held is given back
before the next one. A CPU's allocator cannot be held: there `gauge` measures. How many trials share
a device is not decided here.
"""

import errno
import gc
import math
import re
from dataclasses import dataclass
from typing import Protocol

import torch
from safetensors import SafetensorError

from .cards import MIB

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|KiB|MiB|GiB)", re.IGNORECASE)
# What comes from the driver or a library that allocates past PyTorch: the device itself is full.
# cuBLAS does not call it by its name when it has no room to begin in.
_DEVICE_FULL = re.compile(
    r"CUDA (driver )?error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC"
    r"|CUBLAS_STATUS_NOT_INITIALIZED when calling .?cublasCreate"
)
_HOST_FULL = re.compile(r"DefaultCPUAllocator:|Cannot allocate memory")

HOST_SHORTAGE = "out of memory on this machine, and not for the trial's sake alone"


class TooLargeError(RuntimeError):
    """A trial needs more than its limit: that is so wherever it is run."""

    def __init__(self, needed_bytes: int, limit_bytes: int, whose: str) -> None:
        self._given = needed_bytes, limit_bytes, whose
        self.excess_bytes = max(1, needed_bytes - limit_bytes)
        needed, excess = limit_bytes + self.excess_bytes, self.excess_bytes
        super().__init__(
            f"measured: needs {needed / MIB:.0f} MiB, {math.ceil(excess / MIB)} MiB more than the "
            f"{limit_bytes / MIB:.0f} MiB that {whose}"
        )

    def __reduce__(self) -> tuple[type["TooLargeError"], tuple[int, int, str]]:
        """From one process to another."""
        return TooLargeError, self._given


class ShortOfMemoryError(RuntimeError):
    """The machine had less than the trial's limit: that says nothing of its config."""


class DeviceFunctions(Protocol):
    """What is asked of a GPU and its allocator; a test plays one."""

    def total_bytes(self) -> int:
        """Memory of the device."""
        ...

    def free_bytes(self) -> int:
        """What nobody holds, in this process or another."""
        ...

    def held_bytes(self) -> int:
        """What this process's allocator holds, its cache included: the limit counts this."""
        ...

    def peak_bytes(self) -> tuple[int, int]:
        """Most that tensors took, and most that the allocator held, since `forget_peak`."""
        ...

    def forget_peak(self) -> None:
        """Let the peaks begin anew."""
        ...

    def release(self) -> None:
        """Give the allocator's cache back to the device."""
        ...

    def set_limit(self, limit_bytes: int) -> None:
        """Let the allocator hold no more than this."""
        ...


@dataclass(frozen=True, slots=True)
class CudaFunctions:
    """Those of a real device."""

    device: torch.device

    def total_bytes(self) -> int:
        """See the protocol, here and below."""
        return torch.cuda.get_device_properties(self.device).total_memory

    def free_bytes(self) -> int:
        """Of the driver."""
        return torch.cuda.mem_get_info(self.device)[0]

    def held_bytes(self) -> int:
        """Reserved memory."""
        return torch.cuda.memory_reserved(self.device)

    def peak_bytes(self) -> tuple[int, int]:
        """Allocated and reserved."""
        allocated = torch.cuda.max_memory_allocated(self.device)
        return allocated, torch.cuda.max_memory_reserved(self.device)

    def forget_peak(self) -> None:
        """Of both."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def release(self) -> None:
        """All blocks in which nothing stands."""
        torch.cuda.empty_cache()

    def set_limit(self, limit_bytes: int) -> None:
        """Of reserved memory, as a fraction of the device."""
        fraction = min(1.0, limit_bytes / self.total_bytes())
        torch.cuda.set_per_process_memory_fraction(fraction, self.device)


class Cap:
    """Holds a warm process's trials to the limit, one after the other."""

    def __init__(self, limit_bytes: int | None, device: DeviceFunctions | None) -> None:
        """Prepare.

        Args:
            limit_bytes: what the card leaves to the allocator; None without a card.
            device: None on a CPU.
        """
        self.device, self._card_bytes = device, limit_bytes
        self.limit_bytes = limit_bytes

    def begin(self) -> None:
        """Before a trial: what the one before held is given back, and the limit stands."""
        if self.device is None:
            return
        gc.collect()  # a network in a cycle would keep its memory
        self.device.release()
        self.device.forget_peak()
        if self._card_bytes is None:  # without a card the device as it is found is the limit
            self.limit_bytes = self.device.held_bytes() + self.device.free_bytes()
        else:
            self.device.set_limit(self._card_bytes)

    def judge(self, error: Exception) -> TooLargeError | ShortOfMemoryError | None:
        """What a trial's error says of memory; None where it says nothing.

        The trial is too large where what it held and what it asked for exceed the limit. Where they
        do not, the device or the machine had less to give than the limit: somebody else's doing.
        """
        if isinstance(error, TooLargeError):
            error.__context__ = None  # nor its frames: they hold the trial's tensors
            return error.with_traceback(None)
        if not is_out_of_memory(error):
            return None
        if self.device is not None and _is_of_host(error):  # whose memory no card limits
            return ShortOfMemoryError(HOST_SHORTAGE)
        allocator = isinstance(error, torch.OutOfMemoryError)
        asked, rounding = _asked_bytes(str(error))
        held = self.device.held_bytes() if self.device else 0
        if self.limit_bytes is not None and (allocator or asked):
            if asked:
                over = held + asked + rounding > self.limit_bytes
            else:  # not told how much: was the device able to give what the limit allows?
                over = self.device is None or self.device.free_bytes() >= self.limit_bytes - held
            if over:
                return TooLargeError(held + asked, self.limit_bytes, self._whose)
        return ShortOfMemoryError(self._shortage(held, asked))

    @property
    def _whose(self) -> str:
        return "the device had free" if self._card_bytes is None else "the card leaves"

    def _shortage(self, held: int, asked: int) -> str:
        if self.device is None:
            return HOST_SHORTAGE
        told = f"out of memory on the device, {self.device.free_bytes() / MIB:.0f} MiB of it free"
        if not asked:
            return f"{told}, while the trial held {held / MIB:.0f} MiB"
        needed = (held + asked) / MIB
        return f"{told}: a trial could not come to {needed:.0f} MiB, which its limit allows"


def cap_of(device: torch.device, limit_bytes: int | None) -> Cap:
    """The cap of this process on this device."""
    return Cap(limit_bytes, CudaFunctions(device) if device.type == "cuda" else None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device or the machine has no more memory: `judge` tells why."""
    of_device = isinstance(error, RuntimeError) and bool(_DEVICE_FULL.search(str(error)))
    return of_device or isinstance(error, torch.OutOfMemoryError) or _is_of_host(error)


def _is_of_host(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM  # a file that could not be mapped
    tells = isinstance(error, RuntimeError | SafetensorError)
    return isinstance(error, MemoryError) or (tells and bool(_HOST_FULL.search(str(error))))


def _asked_bytes(message: str) -> tuple[int, int]:
    """What the allocator was asked for, 0 where the message does not say, and how far it is off.

    >>> _asked_bytes("CUDA out of memory. Tried to allocate 1.50 MiB. GPU 0 has ...")
    (1572864, 5243)
    >>> _asked_bytes("DefaultCPUAllocator: can't allocate memory: you tried to allocate 96 bytes.")
    (96, 0)
    """
    found = _ASKED.search(message)
    if found is None:
        return 0, 0
    number, unit = found[1].rstrip("."), _UNITS.get(found[2], 1)
    decimals = len(number.partition(".")[2])
    rounding = 0 if unit == 1 else math.ceil(unit * 0.5 * 10**-decimals)
    return int(float(number) * unit), rounding
