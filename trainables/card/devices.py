"""What a machine has to run on: its CUDA devices, what is free there, what a context takes.

A context lives outside PyTorch's allocator and differs by device, driver and MPS, so it is
measured: free memory before and after another process has made one and trained a step. Free memory
is asked of NVML, which costs nothing; without NVML, or where it sees other devices than CUDA does,
it is asked of CUDA, which costs the asking process a context of its own.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .cards import MIB
from .nvml import Board, board

USUAL_CONTEXT_BYTES = 500 * MIB  # where it cannot be measured: the careful end
PLAUSIBLE_CONTEXT_BYTES = (16 * MIB, 2048 * MIB)  # outside of it somebody else came or went
MEASUREMENTS = 3
MPS_CLIENTS = 48  # that a device serves under one MPS daemon, by NVIDIA's documentation


@dataclass(frozen=True, slots=True)
class Device:
    """One CUDA device."""

    name: str
    uuid: str
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What one machine has."""

    devices: tuple[Device, ...] = ()
    context_bytes: int = 0  # of a process that trains, outside PyTorch's allocator
    looking_bytes: int = 0  # on each device, taken by the process that looks
    mps: bool = False  # whether an MPS control daemon runs


class Looks(Protocol):
    """What looks at a machine's devices; tests bring their own."""

    def survey(self) -> Survey:
        """All that does not change while a search runs; takes seconds."""
        ...

    def free_bytes(self) -> tuple[int, ...]:
        """Free on each device now, in the survey's order."""
        ...


class CudaLooks:
    """Looks at the devices that this process may use."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        self._boards = self._boards_of_nvml()

    def survey(self) -> Survey:
        """The devices, with the context of the first one: machines rarely mix drivers."""
        if not self._count:
            return Survey(mps=mps_runs())
        context = measure_context(lambda: self.free_bytes()[0], trained_process)
        return Survey(
            devices=tuple(
                Device(p.name, str(p.uuid), p.total_memory) for p in map(self._of, self._indices)
            ),
            context_bytes=context,
            looking_bytes=0 if self._boards else context,
            mps=mps_runs(),
        )

    def free_bytes(self) -> tuple[int, ...]:
        """Free on each device now."""
        told = [found.free_bytes() for found in self._boards]
        free = [count for count in told if count is not None]
        if free and len(free) == len(told):
            return tuple(free)
        self._boards = []  # one that NVML lost it seldom finds again
        return tuple(self._torch.cuda.mem_get_info(i)[0] for i in self._indices)

    @property
    def _indices(self) -> range:
        return range(self._count)

    def _of(self, index: int) -> Any:
        return self._torch.cuda.get_device_properties(index)

    def _boards_of_nvml(self) -> list[Board]:
        """NVML's board for each device, or none where it has not the same devices as CUDA."""
        boards = []
        for properties in map(self._of, self._indices):
            found = board(properties.uuid)
            total = found.total_bytes() if found else None
            if found is None or total is None:
                return []
            if abs(total - properties.total_memory) > 0.1 * total:  # a slice of the board
                return []
            boards.append(found)
        return boards


def measure_context(
    free_bytes: Callable[[], int],
    trained: Callable[[], AbstractContextManager[int | None]],
) -> int:
    """What a training process takes of a device beside its allocator's share.

    Args:
        free_bytes: free on the device now.
        trained: a process that has trained a step and stays while the block runs; brings the bytes
            that its allocator holds, or None if it failed.
    """
    least, most = PLAUSIBLE_CONTEXT_BYTES
    for _ in range(MEASUREMENTS):
        before = free_bytes()
        with trained() as allocated:
            taken = before - free_bytes()
        if allocated is None:
            break
        if least <= taken - allocated <= most:
            return taken - allocated
    return USUAL_CONTEXT_BYTES


@contextmanager
def trained_process(command: Sequence[str] | None = None) -> Iterator[int | None]:
    """A process that has trained a step; it ends with the block, or with this process."""
    command = command or (sys.executable, "-m", __name__)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        said = process.stdout.readline().strip()
        try:
            yield int(said) if said.isdigit() else None
        finally:
            process.stdin.close()


def _train_a_step() -> int:
    """What loads the kernels that trials use; the bytes that the allocator then holds."""
    import torch
    from torch import nn

    device = torch.device("cuda")
    network = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 2))
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters())
    outputs = network(torch.randn(8, 16, 64, device=device)).softmax(-1).mean(1)
    nn.functional.cross_entropy(outputs, torch.zeros(8, dtype=torch.long, device=device)).backward()
    optimiser.step()
    torch.cuda.synchronize()
    return torch.cuda.memory_reserved()


def mps_folder() -> Path:
    """Where the MPS control daemon has its pipes."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")


def mps_runs() -> bool:
    """Whether an MPS control daemon has its pipe here."""
    return (mps_folder() / "control").exists()


def mps_limits(limit_bytes: int, trials: int) -> dict[str, str]:
    """The environment in which CUDA holds an MPS client to its share of a device.

    `limit_bytes` counts the client's context. The share of the multiprocessors is rounded up to a
    whole percent: a client with too few would stand still. A worker sees one device: number 0.

    >>> mps_limits(2248 * 1024**2, 63)
    {'CUDA_MPS_PINNED_DEVICE_MEM_LIMIT': '0=2248M', 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE': '2'}
    """
    return {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": f"0={-(-limit_bytes // MIB)}M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(max(1, -(-100 // trials))),
    }


if __name__ == "__main__":
    print(_train_a_step(), flush=True)
    sys.stdin.read()  # until who asked has looked
