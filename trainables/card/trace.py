"""Run a training step without data, memory or GPU, and see what it would take.

Under `FakeTensorMode` every operation is seen with its shapes and computes nothing. What is run is
the loop's own code: `add_gradients` and `update`. Costs follow a roofline, operation by operation.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from ...spaces.configs import Optimisation
from ..training.loop import add_gradients
from ..training.optimisers import make_optimiser, update
from .memory import MemoryLog, MemoryParts

ATTAINED_SHARE = 0.7  # of a card's peak rates: an assumption, the same for all models
LAUNCH_SECONDS = 8e-6  # of one operation, from Python to the device: an assumption likewise

Inputs = tuple[Tensor, Tensor]  # what a network's forward takes: states or numbers, and the mask


@dataclass(frozen=True, slots=True)
class Cost:
    """What some operations take on a card with these rates."""

    flops: int = 0
    moved_bytes: int = 0
    seconds: float = 0.0

    def times(self, count: int) -> "Cost":
        """So many of it."""
        return Cost(self.flops * count, self.moved_bytes * count, self.seconds * count)

    def plus(self, other: "Cost") -> "Cost":
        """Both."""
        return Cost(
            self.flops + other.flops,
            self.moved_bytes + other.moved_bytes,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """A card's peak rates."""

    flops: float  # a second
    bandwidth: float  # bytes a second


@dataclass(frozen=True, slots=True)
class TrainingTrace:
    """A step and a validation batch, at the largest batch; times at other lengths beside."""

    memory: MemoryParts  # at the peak of both
    trainable: int  # parameters that training moves
    parameters: int  # and all
    micro_batch: Cost  # forward and backward
    update: Cost  # of the weights, whatever the batch
    validation: Cost  # a batch of it
    other_lengths: tuple[float, ...]  # seconds of a micro-batch at the lengths asked for


@dataclass(frozen=True, slots=True)
class InferenceTrace:
    """A forward pass without gradients."""

    memory: MemoryParts
    parameters: int
    cost: Cost
    other_lengths: tuple[float, ...]  # seconds at the lengths asked for


class _Meter(TorchDispatchMode):
    """Logs the storages, and adds up FLOPs and bytes of every operation below it."""

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self.rate, self.bandwidth = rates.flops * ATTAINED_SHARE, rates.bandwidth * ATTAINED_SHARE
        self.log = MemoryLog()
        self._alive: dict[int, tuple[int, Any]] = {}  # id of a storage -> serial, weak reference
        self._flops = self._moved = 0
        self._seconds = 0.0

    @contextmanager
    def costs(self) -> Iterator[list[Cost]]:
        """What the operations inside cost: one entry, there when they are done."""
        before, found = (self._flops, self._moved, self._seconds), []
        yield found
        flops, moved, seconds = before
        found.append(Cost(self._flops - flops, self._moved - moved, self._seconds - seconds))

    def serials(self, tensors: Iterable[Tensor | None]) -> list[int]:
        """The tensors' storages, which are logged from now on where they were not."""
        return [self._keep(tensor) for tensor in tensors if tensor is not None]

    def _keep(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._alive:
            serial = self.log.add(storage.nbytes())
            self._alive[key] = (serial, weakref.ref(storage, lambda _: self._free(key)))
        return self._alive[key][0]

    def _free(self, key: int) -> None:
        self.log.free(self._alive.pop(key)[0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            # A number is read. None decides a shape; a mask must not be skipped as all true.
            return False if args[0].dtype is torch.bool else 1.0
        out = func(*args, **kwargs)
        outputs = [t for t in tree_iter(out) if isinstance(t, Tensor)]
        self.serials(outputs)
        self.log.pass_through(_inside(func._overloadpacket, args))
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=out) if count else 0
        if outputs and not func.is_view:  # asking for a shape or a device launches nothing
            tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
            moved = sum(t.numel() * t.element_size() for t in tensors + outputs)
            self._seconds += max(flops / self.rate, moved / self.bandwidth) + LAUNCH_SECONDS
            self._moved += moved
        self._flops += flops
        return out


def _inside(operation: Any, args: Any) -> int:
    """Bytes that an operation holds for itself, beside its arguments and results.

    They come and go inside its kernel, where no dispatch is seen.
    """
    if operation is torch.ops.aten.sum and args[0].dtype in (torch.bool, torch.int32):
        return args[0].numel() * torch.int64.itemsize  # cast before it is summed
    return 0


def trace_training(
    build: Callable[[], nn.Module],
    batch: Callable[[int], Inputs],
    validation: Callable[[], Inputs],
    optimisation: Optimisation,
    *,
    tokens: int,
    other_tokens: Iterable[int],
    rates: Rates,
) -> TrainingTrace:
    """A training step in its steady state, then a validation batch, as the loop runs them.

    Args:
        build: makes the network.
        batch: makes a micro-batch of notes of so many tokens.
        validation: makes the largest validation batch.
        optimisation: the config's.
        tokens: of the longest notes, at which the memory is that of the trial.
        other_tokens: lengths at which only the time of a micro-batch is wanted.
        rates: of the card.
    """
    with _without_data(build, rates) as (meter, model):
        trained = [p for p in model.parameters() if p.requires_grad]
        meter.log.tell(meter.serials([*model.parameters(), *model.buffers()]), "parameters")
        optimiser = make_optimiser(model.train(), optimisation)
        # The optimiser's state appears in the first update: take that one for nothing.
        _give_gradients(meter, trained)
        update(optimiser)
        state = [t for s in optimiser.state.values() for t in s.values() if isinstance(t, Tensor)]
        meter.log.tell(meter.serials(state), "optimiser")
        begin = len(meter.log.events)
        if optimisation.accumulation > 1:  # the micro-batches before have left theirs
            _give_gradients(meter, trained)
        with meter.costs() as micro:
            _micro_batch(model, batch(tokens))
        meter.log.tell(meter.serials(p.grad for p in trained), "gradients")
        with meter.costs() as updated:
            update(optimiser)
        model.eval()
        with meter.costs() as validated, torch.no_grad():
            model(*validation())
        memory = meter.log.at_peak(begin)
        model.train()
        seconds = []
        for other in other_tokens:
            with meter.costs() as found:
                _micro_batch(model, batch(other))
            seconds.append(found[0].seconds)
    return TrainingTrace(
        memory=memory,
        trainable=sum(p.numel() for p in trained),
        parameters=sum(p.numel() for p in model.parameters()),
        micro_batch=micro[0],
        update=updated[0],
        validation=validated[0],
        other_lengths=tuple(seconds),
    )


def trace_inference(
    build: Callable[[], nn.Module],
    batch: Callable[[int], dict[str, Tensor]],
    *,
    tokens: int,
    other_tokens: Iterable[int],
    rates: Rates,
) -> InferenceTrace:
    """One forward pass without gradients; see `trace_training`."""
    with _without_data(build, rates) as (meter, model), torch.no_grad():
        meter.log.tell(meter.serials([*model.parameters(), *model.buffers()]), "parameters")
        model.eval()
        begin = len(meter.log.events)
        with meter.costs() as cost:
            model(**batch(tokens))
        memory = meter.log.at_peak(begin)
        seconds = []
        for other in other_tokens:
            with meter.costs() as found:
                model(**batch(other))
            seconds.append(found[0].seconds)
        parameters = sum(p.numel() for p in model.parameters())
    return InferenceTrace(memory, parameters, cost[0], tuple(seconds))


def _micro_batch(model: nn.Module, given: Inputs) -> None:
    inputs, mask = given
    target = torch.zeros(len(inputs), dtype=torch.int64)
    add_gradients(model, inputs, mask, target, weights=None, share=1.0)


def _give_gradients(meter: _Meter, parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    meter.log.tell(meter.serials(p.grad for p in parameters), "gradients")


@contextmanager
def _without_data(
    build: Callable[[], nn.Module], rates: Rates
) -> Iterator[tuple[_Meter, nn.Module]]:
    """The network with fake parameters, and a meter around all that is done with it.

    It is built on the meta device first: peft cannot build under fake tensors.
    """
    with torch.device("meta"):
        model = build()
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), _Meter(rates) as meter:
        _fake(model)
        yield meter, model


def _fake(model: nn.Module) -> None:
    """Replace parameters and buffers by fake ones on the CPU; shared ones stay shared."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            made[id(tensor)] = (
                nn.Parameter(empty, requires_grad=tensor.requires_grad)
                if isinstance(tensor, nn.Parameter)
                else empty
            )
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = fake(tensor)  # pyright: ignore[reportArgumentType]
