"""Run a training step without data, memory or GPU, and see what it would take.

Everything is on the meta device: each operation is seen with its shapes, and computes nothing. What
is run is the loop's own code: `add_gradients` and `update`. Of each operation its storages are
logged, and its work is counted; what that costs on a card stands in `cost`.
"""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ...spaces.configs import Optimisation
from ..models.skeleton import RNG_STATE_BYTES, Skeleton
from ..training.loop import add_gradients
from ..training.optimisers import make_optimiser, update
from ..uncompiled import on_meta
from .cost import Operation, Work
from .lookup import look_up, tensors_in
from .memory import MemoryLog, MemoryParts

Inputs = tuple[Tensor, Tensor]  # what a network's forward takes: states or numbers, and the mask


@dataclass(frozen=True, slots=True)
class TrainingTrace:
    """A step and a validation batch, at the largest batch."""

    memory: MemoryParts  # at the peak of both
    trainable: int  # parameters that training moves
    parameters: int  # and all
    micro_batch: Work  # forward and backward
    update: Work  # of the weights, whatever the batch
    validation: Work  # a batch of it


@dataclass(frozen=True, slots=True)
class InferenceTrace:
    """A forward pass without gradients."""

    memory: MemoryParts
    parameters: int
    work: Work
    other_lengths: tuple[Work, ...]  # at the lengths asked for


class _Meter(TorchDispatchMode):
    """Logs the storages of every operation below it, and counts its work."""

    def __init__(self, *, work_alone: bool = False) -> None:
        super().__init__()
        self._work_alone = work_alone  # no memory
        self.log = MemoryLog()
        self._alive: dict[int, tuple[int, Any]] = {}  # id of a storage -> serial, weak reference
        self._counts: Counter[Operation] = Counter()
        self._times = 1  # that what is seen now happens
        self._copies: dict[int, int] = {}  # id of a parameter -> parameters that it stands for
        self._updating: list[int] = []  # of the parameters that an update moves: copies
        self._idle = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here: PyTorch's compiler, a second of imports, is left alone."""
        return False

    @contextmanager
    def work(self) -> Iterator[list[Work]]:
        """The work of the operations inside: one entry, there when they are done."""
        before, self._counts, found = self._counts, Counter(), []
        yield found
        found.append(Work(self._counts))
        self._counts = before

    @contextmanager
    def idle(self) -> Iterator[None]:
        """What is done inside is for nothing."""
        self._idle = True
        yield
        self._idle = False

    @contextmanager
    def updating(self, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
        """Inside, what is done with a parameter is done with all that it stands for."""
        self._updating = [self._copies[id(parameter)] for parameter in parameters]
        yield
        self._updating = []
        self.repeat(1)

    def follow(self, model: nn.Module) -> None:
        """Count what a layer does as often as there are layers that it stands for."""
        for encoder in model.modules():
            if isinstance(encoder, Skeleton):
                if self._work_alone:
                    encoder.shorten()
                for layer in encoder.kept():
                    self._follow_layer(layer, layer.copies)
        self._copies = {id(p): self._copies.get(id(p), 1) for p in model.parameters()}

    def _follow_layer(self, layer: nn.Module, copies: int) -> None:
        def back(_: nn.Module, __: object, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda _: self.repeat(copies))
            if self._work_alone:
                self.repeat(1)

        layer.register_forward_pre_hook(lambda *_: self.repeat(copies))
        layer.register_forward_hook(back)
        self._copies.update((id(parameter), copies) for parameter in layer.parameters())

    def repeat(self, times: int) -> None:
        """What comes until the next call happens so many times."""
        self._times = times
        self.log.repeat(times)

    def numbers(self, parameters: Iterable[nn.Parameter]) -> int:
        """Of all that these stand for."""
        return sum(p.numel() * self._copies[id(p)] for p in parameters)

    def stand(self, kind: str, owned: Iterable[tuple[Tensor | None, Tensor | None]]) -> None:
        """These stand from now on, as often as their parameter does, where they have one."""
        for tensor, owner in owned:
            self.repeat(self._copies[id(owner)] if owner is not None else 1)
            self.log.tell(self.serials([tensor]), kind)
        self.repeat(1)

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
        if args and isinstance(args[0], list) and func._opname.endswith("_"):
            return self._update_together(func, args)
        for given in args if self._updating else ():
            if (times := self._copies.get(id(given))) is not None:
                self.repeat(times)
        if func is _SCALAR:
            # A number is read. None decides a shape; a mask must not be skipped as all true.
            return False if args[0].dtype is torch.bool else 1.0
        if func is _UNSAFE_VIEW:
            func = _VIEW  # the same, and found faster
        if _launches_nothing(func):
            out = func(*args, **kwargs or {})
            if not func.is_view and not self._idle:
                self.serials(tensors_in(out))
            return out
        known, out = look_up(func, args, kwargs or {})
        if self._idle:
            return out
        if not known.in_place and not self._work_alone:
            self.serials(tensors_in(out))
            self.log.pass_through(known.inside_bytes)
        if known.operation:
            self._counts[known.operation] += self._times
        return out

    def _update_together(self, func: Any, lists: Any) -> None:
        """One kernel for many parameters, in place: read are all lists, written what it changes."""
        packet = func._overloadpacket
        written = _WRITTEN.get(packet, (0,))
        moved = largest = 0
        for which, tensors in enumerate(one for one in lists if isinstance(one, list)):
            sizes = [t.nbytes * n for t, n in zip(tensors, self._updating, strict=False)]
            moved += sum(sizes) * (2 if which in written else 1)
            largest = max([largest, *(t.numel() for t in tensors)])
        self._counts[Operation(packet.__name__, 0, moved, largest)] += 1


# Lists of a fused update's arguments that it changes: parameters and both moments.
_WRITTEN = {torch.ops.aten._fused_adamw_: (0, 2, 3)}


@cache
def _launches_nothing(func: Any) -> bool:
    """Memory is looked at in another shape; or it is none of the tensors' own operations."""
    return func.is_view or func.namespace != "aten" or torch.Tag.inplace_view in func.tags


_SCALAR = torch.ops.aten._local_scalar_dense.default
_UNSAFE_VIEW, _VIEW = torch.ops.aten._unsafe_view.default, torch.ops.aten.view.default


def trace_training(
    build: Callable[[], nn.Module],
    batch: Callable[[int], Inputs],
    validation: Callable[[], Inputs],
    optimisation: Optimisation,
    *,
    tokens: int,
) -> TrainingTrace:
    """A training step in its steady state, then a validation batch, as the loop runs them.

    Args:
        build: makes the network.
        batch: makes a micro-batch of notes of so many tokens.
        validation: makes the largest validation batch.
        optimisation: the config's.
        tokens: of the longest notes, at which the memory is that of the trial.
    """
    with _without_data(build) as (meter, model):
        trained = [p for p in model.parameters() if p.requires_grad]
        # The optimiser's state appears in the first update: take that one for nothing.
        with meter.idle(), torch.device("meta"):
            optimiser = make_optimiser(model.train(), optimisation)
            _make_state(optimiser, trained)
            total = torch.zeros(())  # the loop's running loss
            if optimisation.accumulation > 1:  # the micro-batches before have left theirs
                _give_gradients(trained)
        states = ((t, p) for p, s in optimiser.state.items() for t in s.values())
        meter.stand("optimiser", ((t, p) for t, p in states if isinstance(t, Tensor)))
        begin = len(meter.log.events)
        meter.stand("gradients", ((p.grad, p) for p in trained))
        meter.stand("activations", [(total, None)])
        with meter.work() as micro:
            _micro_batch(model, batch, tokens)
        meter.log.tell(meter.serials(p.grad for p in trained), "gradients")
        with meter.work() as updated, meter.updating(trained), torch.device("meta"):
            update(optimiser)
        model.eval()
        with meter.work() as validated, torch.no_grad():
            with torch.device("meta"):
                given = validation()
            model(*given)
            del given
        memory = meter.log.at_peak(begin)
        if any(getattr(m, "gradient_checkpointing", False) is True for m in model.modules()):
            # While a layer is computed again, the generator's present state is kept too.
            memory = replace(memory, activations=memory.activations + RNG_STATE_BYTES)
        return TrainingTrace(
            memory=memory,
            trainable=meter.numbers(trained),
            parameters=meter.numbers(model.parameters()),
            micro_batch=micro[0],
            update=updated[0],
            validation=validated[0],
        )


def trace_lengths(
    build: Callable[[], nn.Module], batch: Callable[[int], Inputs], lengths: Iterable[int]
) -> list[Work]:
    """The work of micro-batches alone, one after the other, of notes of so many tokens."""
    works = []
    with _without_data(build, work_alone=True) as (meter, model):
        model.train()
        for tokens in lengths:
            with meter.work() as found:
                _micro_batch(model, batch, tokens)
            works.append(found[0])
    return works


def states_of_an_encoder(notes: int, tokens: int, width: int) -> Tensor:
    """Hidden states, [notes, tokens, width], that want a gradient, as from a network below."""
    return cast("Tensor", _Below.apply(torch.empty((), requires_grad=True), notes, tokens, width))


class _Below(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *shape: int) -> Tensor:
        del ctx, anchor
        return torch.empty(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        del ctx, gradients
        return None, None, None, None


def trace_inference(
    build: Callable[[], nn.Module],
    batch: Callable[[int], dict[str, Tensor]],
    *,
    tokens: int,
    other_tokens: Iterable[int],
) -> InferenceTrace:
    """One forward pass without gradients; see `trace_training`."""
    with _without_data(build) as (meter, model), torch.no_grad():
        model.eval()
        begin = len(meter.log.events)
        memory, works = MemoryParts(), []
        for length in (tokens, *other_tokens):
            with meter.work() as found:
                with torch.device("meta"):
                    given = batch(length)
                model(**given)
                del given
            if not works:
                memory = meter.log.at_peak(begin)
            works += found
        parameters = meter.numbers(model.parameters())
    return InferenceTrace(memory, parameters, works[0], tuple(works[1:]))


def _micro_batch(model: nn.Module, batch: Callable[[int], Inputs], tokens: int) -> None:
    with torch.device("meta"):
        inputs, mask = batch(tokens)
        target = torch.zeros(len(inputs), dtype=torch.int64)
    add_gradients(model, inputs, mask, target, weights=None, share=1.0)


def _make_state(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """By an update of one parameter of each shape that was not met; the others' is like it."""
    kind = type(optimiser)
    new = {p.shape: p for p in parameters if (kind, p.shape) not in _STATES}
    _give_gradients(new.values())
    update(optimiser)
    _STATES.update({(kind, shape): optimiser.state[p] for shape, p in new.items()})
    for parameter in parameters:
        optimiser.state[parameter] = {
            name: torch.empty_like(value) if isinstance(value, Tensor) else value
            for name, value in _STATES[kind, parameter.shape].items()
        }


_STATES: dict[tuple[type, torch.Size], dict[str, Any]] = {}  # what optimisers keep, on no device


def _give_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)


@contextmanager
def _without_data(
    build: Callable[[], nn.Module], *, work_alone: bool = False
) -> Iterator[tuple[_Meter, nn.Module]]:
    """The network on the meta device, and a meter around all that is done with it."""
    with sdpa_kernel(SDPBackend.MATH), _no_collection():
        with on_meta():
            model = build()
        with _Meter(work_alone=work_alone) as meter:
            meter.follow(model)
            owned = [*((p, p) for p in model.parameters()), *((b, None) for b in model.buffers())]
            meter.stand("parameters", owned)
            with _random_states_logged(meter):
                yield meter, model


@contextmanager
def _random_states_logged(meter: _Meter) -> Iterator[None]:
    """Checkpointing keeps the random generator's state a layer, so that dropout drops the same.

    No operation shows it.
    """
    plain = torch.get_rng_state

    def logged() -> Tensor:
        state = plain()
        meter.serials([state])
        return state

    torch.get_rng_state = logged
    try:
        yield
    finally:
        torch.get_rng_state = plain


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: it would take longer than all else, and finds nothing."""
    _keep_what_was_imported()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def _keep_what_was_imported() -> None:
    """Nor need it look, between two traces, at PyTorch's million objects."""
    gc.freeze()


def count_launches(model: nn.Module, run: Callable[[], object]) -> int:
    """Operations that the run launches, of a model that is on the meta device already."""
    with torch.device("meta"), _Meter() as meter:
        meter.serials(model.parameters())
        with meter.work() as work:
            run()
    return work[0].launches
