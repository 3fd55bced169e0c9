"""Train several heads of one shape in one batched pass: a plain generator, as `train` is.

Each keeps what it has alone: its seed and first weights, its order of notes and its batches, its
own dropout, learning rate, class weights and stop. Its numbers equal those of training alone but
for the order in which floats are added. What is shared: the launches of the kernels, the lookups of
notes, and the time, which is divided among the members of a round.
"""

import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from ...spaces.configs import Optimisation
from ..assignment import TrainingSettings
from ..card.gauge import Gauge, Reading
from ..uncompiled import on_meta
from .batches import Gathered, evaluation_batches
from .checkpoints import Checkpoint
from .drawing import Drawing
from .loop import DivergedError, Epoch, Seconds, Task, begin, micro_shares
from .metrics import Scores, score
from .stack import Stack

Watch = Callable[[], AbstractContextManager[None]]
Found = dict[int, Epoch | DivergedError]  # of a round, by the member's place


@dataclass(frozen=True, slots=True)
class Member:
    """One of those that are trained together, with what `train` would be given for it."""

    build: Callable[[], nn.Module]  # equal in all but the shares of dropout
    optimisation: Optimisation  # of one batch size, accumulation and kind of optimiser
    seed: int
    checkpoint: Checkpoint | None = None


def train_together(
    members: Sequence[Member],
    task: Task,
    settings: TrainingSettings,
    *,
    device: torch.device,
    gauge: Gauge | None = None,
    resident_bytes: int = 0,
) -> Generator[Found, Collection[int], None]:
    """Yield after each round, an epoch of every member that still runs, what each one found.

    A member that is over, or whose loss is not finite, leaves by itself. `send` the places of those
    that shall leave too; `next` lets all go on.

    Args:
        members: at their own epochs; one whose checkpoint has nothing to go on with never runs.
        task: what all of them learn.
        settings: of the study.
        device: where they train.
        gauge: reads the group's memory, which is no member's and stands in no report, and a GPU's
            energy, of which each has its share.
        resident_bytes: that the features may take of the device for the whole training.

    Raises:
        TooLargeError: the gauge saw more memory than a trial may take.
    """
    group = _Group(members, task, settings, device, gauge or Gauge(), resident_bytes)
    while group.running:
        found = group.round()
        told = yield found
        over = {p for p, e in found.items() if isinstance(e, DivergedError) or e.ended}
        group.drop(over | set(told or ()))


class _Group:
    """The members that still run."""

    def __init__(
        self,
        members: Sequence[Member],
        task: Task,
        settings: TrainingSettings,
        device: torch.device,
        gauge: Gauge,
        resident_bytes: int,
    ) -> None:
        self._members, self._task, self._settings = members, task, settings
        self._device, self._gauge = device, gauge
        self._notes = Gathered(task.inputs, device, resident_bytes)
        self._labels = torch.tensor(task.labels, device=device)
        begun = [
            begin(
                member.build,
                task,
                member.optimisation,
                settings,
                seed=member.seed,
                device=device,
                checkpoint=member.checkpoint,
            )
            for member in members
        ]
        self.running = {place: each for place, each in enumerate(begun) if not each.over}
        self._stacked()

    def drop(self, places: Collection[int]) -> None:
        """Let these leave; the others move together."""
        if self.running.keys() & set(places):
            self.running = {p: each for p, each in self.running.items() if p not in places}
            self._stacked()

    def _stacked(self) -> None:
        if not self.running:
            return
        with on_meta():
            models = [self._members[place].build() for place in self.running]
        trainings = list(self.running.values())
        self._template = models[0]
        self._drawing = Drawing(models, self._task.inputs.width, self._device)
        self._stack = Stack(trainings)
        alike = torch.ones(self._task.classes, device=self._device)
        weights = [alike if each.weights is None else each.weights for each in trainings]
        self._weights = torch.stack(weights)  # [models, classes]
        self._models = nn.ModuleList(each.model for each in trainings)  # as the gauge reads them

    def round(self) -> Found:
        """An epoch of each."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._gauge.begin_epoch()
        losses, watch = self._learn()
        found = self._checked(losses, self._predict(watch))
        reading, share = self._gauge.end_epoch(), 1 / len(self.running)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        seconds = Seconds(wall * share, cpu * share, group_size=len(self.running))
        joules = reading.energy_joules
        own = Reading(energy_joules=None if joules is None else joules * share)
        return {
            place: result
            if isinstance(result, DivergedError)
            else self.running[place].conclude(*result, seconds, own)
            for place, result in found.items()
        }

    def _checked(
        self, losses: Sequence[float], probabilities: np.ndarray
    ) -> dict[int, tuple[float, Scores] | DivergedError]:
        """Each one's training loss and scores, or why it has none."""
        labels = self._task.labels[self._task.validation]
        found: dict[int, tuple[float, Scores] | DivergedError] = {}
        for (place, training), loss, own in zip(
            self.running.items(), losses, probabilities, strict=True
        ):
            try:
                training.checked("training", loss)
                scores = score(own, labels)
                if len(labels):
                    training.checked("validation", scores.loss)
            except DivergedError as error:
                found[place] = error.with_traceback(None)  # whose frames hold tensors
            else:
                found[place] = loss, scores
        return found

    def _learn(self) -> tuple[list[float], Watch]:
        """Each one's mean loss over its epoch; and what stands around validation's largest."""
        task, gauge, running = self._task, self._gauge, list(self.running.values())
        own = [training.batches(task, training.epoch) for training in running]
        batches = [np.stack(notes) for notes in zip(*own, strict=True)]  # each [models, notes]
        accumulation = running[0].optimisation.accumulation
        watched = gauge.choose([b.ravel() for b in batches], task.inputs.lengths, accumulation)
        watch = partial(gauge.around, self._models, *(each.optimiser for each in running))
        self._drawing.seed([training.noise_seed for training in running])
        self._template.train()
        totals = torch.zeros(len(running), device=self._device)
        steps = self._stack.begin_epoch(len(task.training))
        for place in range(steps):
            first = place * accumulation
            micro = batches[first : first + accumulation]
            shares = self._shares(micro)
            for which, (notes, share) in enumerate(zip(micro, shares, strict=True), start=first):
                with watch() if which in watched else nullcontext():
                    totals += self._add_gradients(notes, share) * notes.shape[1]
            last = place == steps - 1
            with watch(update=True) if watched and last else nullcontext():
                self._stack.update(place)
        means = (totals / len(task.training)).tolist()
        return means, watch if watched else nullcontext

    def _shares(self, micro: list[np.ndarray]) -> Sequence[Tensor | float]:
        """Of each micro-batch in its step, [models] each."""
        if len(micro) == 1:
            return [1.0]
        shares = [
            micro_shares([notes[row] for notes in micro], self._task, training.weights)
            for row, training in enumerate(self.running.values())
        ]
        return list(torch.tensor(shares, dtype=torch.float32, device=self._device).T)

    def _add_gradients(self, notes: np.ndarray, share: Tensor | float) -> Tensor:
        """Forward and backward over a batch of each, [models, notes]; mean losses, [models]."""
        states, mask = self._notes.batch(notes)
        longest = self._task.inputs.lengths[notes].max(axis=1).tolist()
        drawn = self._drawing.draw(notes.shape[1], longest)
        forward = vmap(self._forward)
        logits = forward(self._stack.leaves, states, mask, drawn.kept, drawn.scales)
        target = self._labels[torch.from_numpy(notes).to(self._device)]
        each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        weights = self._weights.gather(1, target)
        losses = (each.view_as(weights) * weights).sum(dim=1) / weights.sum(dim=1)
        (losses * share).sum().backward()
        return losses.detach()

    def _forward(
        self,
        leaves: dict[str, Tensor],
        states: Tensor,
        mask: Tensor,
        kept: list[Tensor],
        scales: list[Tensor],
    ) -> Tensor:
        """One model's logits in training, under `vmap`."""
        with self._drawing.used(kept, scales):
            return self._logits(leaves, states, mask)

    def _logits(self, leaves: dict[str, Tensor], states: Tensor, mask: Tensor) -> Tensor:
        """One model's, [notes, classes], under `vmap`."""
        return functional_call(self._template, leaves, (states, mask)).logits

    @torch.inference_mode()
    def _predict(self, watch: Watch) -> np.ndarray:
        """As `predict`, of each: [models, notes, classes] float64; all read the same notes."""
        task, lengths = self._task, self._task.inputs.lengths
        if not len(task.validation):
            return np.empty((len(self.running), 0, task.classes))
        self._template.eval()
        forward = vmap(self._logits, in_dims=(0, None, None))
        limit = self._settings.batch_limit
        batches = evaluation_batches(task.validation, lengths, batch_size=limit)
        largest = int(np.argmax([len(notes) * lengths[notes].max() for notes in batches]))
        logits = []
        for which, notes in enumerate(batches):
            with watch() if which == largest else nullcontext():
                logits.append(forward(self._stack.leaves, *self._notes.batch(notes)))
        found = torch.cat(logits, dim=1).double().softmax(dim=-1).cpu().numpy()
        place = np.empty(len(task.labels), dtype=np.int64)
        place[np.concatenate(batches)] = np.arange(len(task.validation))
        return found[:, place[task.validation]]
