"""The device that the report is about, behind what a test can play.

`gpu_machine` is a real one. Whatever must begin from nothing (the context, the workspaces of the
matrix library, another setting of the allocator, trials side by side) runs in processes of its own.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import torch

from headhunt.trainables.card.calibration import board_watts, calibrate, real_card
from headhunt.trainables.card.cap import CudaFunctions, DeviceFunctions
from headhunt.trainables.card.cards import MIB, Card
from headhunt.trainables.card.meter import EnergyMeter, energy_meter
from headhunt.trainables.card.nvml import driver_version

from .processes import Workers, apart, open_workers

ANY_WATTS = 1.0  # of a calibrated card; no time depends on them
PACKAGES = ("torch", "transformers", "peft", "ray", "optuna", "nvidia-ml-py")


class OpenWorkers(Protocol):
    """Begins processes that run trials, and ends them."""

    def __call__(
        self, count: int, *, limit_bytes: int, fraction: float
    ) -> AbstractContextManager[Workers]:
        """So many of them, each capped."""
        ...


class Apart(Protocol):
    """Runs a function of a module in a process that begins from nothing."""

    def __call__(
        self,
        function: Callable[..., Any],
        *given: Any,
        environment: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> Any:
        """Its result."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A device and what is asked of it."""

    device: torch.device
    functions: DeviceFunctions
    facts: Callable[[], list[tuple[str, str]]]
    calibrated: Callable[[], Card]
    known: Callable[[], Card]  # by its data sheet; raises CardError
    meter: Callable[[], EnergyMeter | None]
    apart: Apart
    open_workers: OpenWorkers
    context: Callable[[], "Context"]
    running: Callable[[], AbstractContextManager[object]] = nullcontext  # around what is measured

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The allocator may take all of the device before and after."""
        self.functions.set_limit(self.functions.total_bytes())
        try:
            yield
        finally:
            self.functions.set_limit(self.functions.total_bytes())
            self.functions.release()


@dataclass(frozen=True, slots=True)
class Context:
    """What a process takes of a device outside PyTorch's allocator."""

    begun_bytes: int  # with the first tensor
    trained_bytes: int  # with the libraries and kernels of a training step


@dataclass(frozen=True, slots=True)
class Workspaces:
    """What the matrix library takes from PyTorch's allocator."""

    forward_bytes: int  # stays, after the first product
    backward_bytes: int  # stays beside it, after the first backward pass
    passing_bytes: int  # comes and goes with a layer that has a bias


def gpu_machine() -> Machine:
    """The first GPU of this machine."""
    device = torch.device("cuda", 0)
    functions = CudaFunctions(device)
    return Machine(
        device=device,
        functions=functions,
        facts=lambda: gpu_facts(device),
        calibrated=lambda: calibrate(ANY_WATTS),
        known=real_card,
        meter=lambda: energy_meter(device, 1.0),
        apart=apart,
        open_workers=lambda count, *, limit_bytes, fraction: open_workers(
            count, device="cuda:0", limit_bytes=limit_bytes, fraction=fraction
        ),
        context=lambda: gpu_context(functions),
    )


def gpu_facts(device: torch.device) -> list[tuple[str, str]]:
    """What it is, and the versions that ran."""
    found: Any = torch.cuda.get_device_properties(device)
    watts = board_watts(found)
    return [
        ("device", found.name),
        ("memory", f"{found.total_memory / MIB:,.0f} MiB"),
        ("compute capability", f"{found.major}.{found.minor}"),
        ("multiprocessors", str(found.multi_processor_count)),
        ("driver", driver_version() or "NVML does not tell"),
        ("power limit", f"{watts:.0f} W" if watts else "NVML does not tell"),
        ("CUDA of torch", str(torch.version.cuda)),
        ("Python", platform.python_version()),
        ("processors", str(os.cpu_count())),
        *((name, _version(name)) for name in PACKAGES),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def gpu_context(functions: DeviceFunctions) -> Context:
    """By what the device has less, in the eyes of this process, while another one begins."""
    torch.zeros(1, device="cuda")  # this process's own context is there
    torch.cuda.synchronize()
    with open_workers(0) as pool:
        free = functions.free_bytes()
        one = pool.add()
        begun = one.ask(begin_context)
        after_first = free - functions.free_bytes() - begun
        held = one.ask(train_a_little)
        after_step = free - functions.free_bytes() - held
    return Context(after_first, after_step)


def begin_context() -> int:
    """A first tensor; what the allocator holds for it. In a process of its own."""
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()
    return torch.cuda.memory_reserved()


def train_a_little() -> int:
    """A few layers' training step, so that libraries and kernels are loaded; what is held."""
    parts = [torch.nn.Linear(256, 256), torch.nn.LayerNorm(256), torch.nn.GELU()]
    model = torch.nn.Sequential(torch.nn.Embedding(100, 256), *parts, *parts).to("cuda")
    optimiser = torch.optim.AdamW(model.parameters(), foreach=False)
    for _ in range(2):
        states = model(torch.zeros(8, 64, dtype=torch.int64, device="cuda"))
        (states @ states.transpose(1, 2)).softmax(-1).sum().backward()
        optimiser.step()
    torch.cuda.synchronize()
    return torch.cuda.memory_reserved()


def gpu_workspaces() -> Workspaces:
    """What stays allocated when all tensors are gone. In a process of its own."""
    device = torch.device("cuda", 0)
    torch.zeros(1, device=device)
    before = torch.cuda.memory_allocated()

    def product(backward: bool) -> int:
        one = torch.randn(2048, 768, device=device, requires_grad=backward)
        other = torch.randn(768, 768, device=device, requires_grad=backward)
        out = one @ other
        if backward:
            out.sum().backward()
        del one, other, out
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() - before

    forward = product(backward=False)
    both = product(backward=True)
    layer = torch.nn.Linear(768, 768, device=device)
    given = torch.randn(2048, 768, device=device)
    with torch.inference_mode():
        layer(given)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        standing = torch.cuda.memory_allocated()
        out = layer(given)
        torch.cuda.synchronize()
    passing = torch.cuda.max_memory_allocated() - standing - out.numel() * out.element_size()
    return Workspaces(forward, both - forward, passing)
