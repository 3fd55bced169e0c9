"""What a trial really takes, read beside its training: memory at its peak, and a GPU's energy.

A GPU's allocator tells its own peak. A CPU's does not, so there the largest batches of the first
epoch are watched, and those of later epochs that are larger still: what stands beforehand is added
up from the tensors, and the rest is the allocator's own record (by PyTorch's profiler), with
nothing of the bookkeeping that made the estimate. Each size is rounded as a GPU's allocator does,
so that the figure stands beside the modelled one. Nothing that is computed changes.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile  # torch.profiler's would import PyTorch's compiler

from .cap import Cap, DeviceFunctions, TooLargeError
from .memory import WORKSPACE_BYTES, rounded
from .meter import EnergyMeter, energy_meter

NUMBER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one epoch; what could not be read is None."""

    peak_bytes: int | None = None  # most that tensors took
    reserved_bytes: int | None = None  # most that a GPU's allocator held: with its cache and gaps
    energy_joules: float | None = None


class Gauge:
    """Reads nothing; the others read in its places."""

    def begin_epoch(self) -> None:
        """Read from here."""

    def end_epoch(self) -> Reading:
        """What was read since.

        Raises:
            TooLargeError: the trial took more than its limit.
        """
        return Reading()

    def choose(
        self, batches: Sequence[np.ndarray], lengths: np.ndarray, accumulation: int
    ) -> frozenset[int]:
        """The places of the micro-batches to watch: larger than any before; none: nothing is."""
        del batches, lengths, accumulation
        return frozenset()

    def around(
        self, model: nn.Module, *optimisers: torch.optim.Optimizer, update: bool = False
    ) -> AbstractContextManager[None]:
        """Watch a chosen micro-batch with its loading, an update, or a batch of validation.

        Raises:
            TooLargeError: the trial took more than its limit.
        """
        del model, optimisers, update
        return nullcontext()


class DeviceGauge(Gauge):
    """A GPU's allocator and its board's counter."""

    def __init__(self, device: DeviceFunctions, meter: EnergyMeter | None) -> None:
        self._device, self._meter = device, meter

    def begin_epoch(self) -> None:
        """The peaks go on: they are the trial's."""
        if self._meter:
            self._meter.begin()

    def end_epoch(self) -> Reading:
        """Energy by the share of the device that the trial holds."""
        allocated, reserved = self._device.peak_bytes()
        return Reading(allocated, reserved, self._meter.joules() if self._meter else None)


class HostGauge(Gauge):
    """A CPU's allocator, watched where a trial takes most."""

    def __init__(self, limit_bytes: int | None, allowance_bytes: int = WORKSPACE_BYTES) -> None:
        """Prepare.

        Args:
            limit_bytes: that the trial may take; None: any.
            allowance_bytes: for workspaces that a GPU's libraries take from its allocator.
        """
        self._limit, self._allowance = limit_bytes, allowance_bytes
        self._seen: list[_Seen] = []
        self._state_bytes = 0  # of the optimiser, once it is there
        self._largest: dict[str, float] = {}  # of the micro-batches chosen so far, by each measure

    def choose(
        self, batches: Sequence[np.ndarray], lengths: np.ndarray, accumulation: int
    ) -> frozenset[int]:
        """The largest by padded tokens and by their pairs, which attention holds.

        The same among those that others' gradients stand beside.
        """
        longest = np.array([lengths[notes].max() for notes in batches])
        tokens = longest * [len(notes) for notes in batches]
        behind = np.arange(len(batches)) % accumulation > 0
        chosen = set()
        for name, sizes in (
            ("tokens", tokens),
            ("pairs", tokens * longest),
            ("tokens behind", tokens * behind),
            ("pairs behind", tokens * longest * behind),
        ):
            place = int(sizes.argmax())
            if sizes[place] > self._largest.get(name, 0):
                self._largest[name] = sizes[place]
                chosen.add(place)
        return frozenset(chosen)

    @contextmanager
    def around(
        self, model: nn.Module, *optimisers: torch.optim.Optimizer, update: bool = False
    ) -> Iterator[None]:
        """Record every allocation and release inside."""
        before = _state_bytes(optimisers)
        standing = _held(_of_model(model)) + before
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would tell standard error of each start
        recorded = profile(use_kineto=True, profile_memory=True)
        with recorded:
            yield
        self._state_bytes = _state_bytes(optimisers)
        self._seen.append(_Seen(standing + _most(_changes(recorded)), before, update))
        self._hold()

    def end_epoch(self) -> Reading:
        """The peak of all that was watched; None where nothing was."""
        if not self._seen:
            return Reading()
        self._hold()
        return Reading(peak_bytes=self._peak_bytes)

    @property
    def _peak_bytes(self) -> int:
        # In the first step the optimiser's state is not there yet; in all others it is.
        return self._allowance + max(
            seen.bytes + (0 if seen.update else self._state_bytes - seen.state_bytes)
            for seen in self._seen
        )

    def _hold(self) -> None:
        if self._limit is not None and self._peak_bytes > self._limit:
            raise TooLargeError(self._peak_bytes, self._limit, "the card leaves")


@dataclass(frozen=True, slots=True)
class _Seen:
    bytes: int  # at the peak of what was watched
    state_bytes: int  # the optimiser's among them
    update: bool  # in which the state may appear


def gauge_of(cap: Cap, device: torch.device, share: float) -> Gauge:
    """The gauge of a trial that holds this share of the device."""
    if cap.device is None:
        return HostGauge(cap.limit_bytes)
    return DeviceGauge(cap.device, energy_meter(device, share))


def _of_model(model: nn.Module) -> Iterator[Tensor]:
    yield from model.buffers()
    for parameter in model.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad


def _state_bytes(optimisers: Sequence[torch.optim.Optimizer]) -> int:
    states = [state for optimiser in optimisers for state in optimiser.state.values()]
    return _held(t for state in states for t in state.values() if isinstance(t, Tensor))


def _held(tensors: Iterable[Tensor]) -> int:
    """Bytes of these tensors' storages, each once, as a GPU's allocator hands them out."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(rounded(size) for size in storages.values())


def _changes(recorded: profile) -> list[int]:
    """Bytes of each allocation, negative of each release, in their order."""
    results = recorded.kineto_results
    if results is None:
        raise RuntimeError("PyTorch's profiler kept no record of the memory")
    # torch's stubs leave the bytes of a kineto event out.
    events: list[Any] = [event for event in results.events() if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def _most(changes: Iterable[int]) -> int:
    """Most bytes that stand at once.

    >>> _most([512, 1000, -512, 100, -1000, -100])
    1536
    """
    now = most = 0
    for change in changes:
        # A single number, as a product keeps its factor, stays in the host's memory on a GPU too.
        now += rounded(change) if abs(change) > NUMBER_BYTES else 0
        most = max(most, now)
    return most
