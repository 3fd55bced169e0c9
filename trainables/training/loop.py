"""Train one network, one report per epoch: a plain generator that a test or a debugger can run.

It knows nothing of Ray. Order, dropout and router noise follow from (seed, epoch), so a checkpoint
needs no random state, and a resumed trial ends with the numbers of one that never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...spaces.configs import Optimisation
from ...spaces.record import EpochReport
from ...spaces.seeds import derive_seed
from ..assignment import TrainingSettings
from ..card.gauge import Gauge, Reading
from ..models.finetuned import load_trained_state, trained_state
from .batches import Ragged, evaluation_batches, training_batches
from .checkpoints import Checkpoint
from .metrics import Scores, score
from .optimisers import dump_optimiser, load_optimiser, make_optimiser, update
from .stopping import why_over


class DivergedError(ArithmeticError):
    """A loss was not finite; the trial ends as failed, with this as its reason."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned: inputs and labels of the training and the validation part."""

    inputs: Ragged
    labels: np.ndarray  # [notes] int64, class codes of the whole corpus
    classes: int
    training: np.ndarray  # [training notes] int64
    validation: np.ndarray  # [validation notes] int64


@dataclass(frozen=True, slots=True)
class Epoch:
    """A finished epoch, with the way to its state while the generator stands still."""

    report: EpochReport
    is_best: bool  # the best F1 of the trial so far
    ended: str  # why the trial is complete, or "" where it goes on
    checkpoint: Callable[[str], Checkpoint]  # config hash -> state
    weights: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Seconds:
    """What an epoch took."""

    wall: float
    cpu: float  # of this process
    group_size: int = 1  # trials among which both were divided


@dataclass(frozen=True, slots=True)
class Training:
    """One trial between two epochs: its model, and how far it is."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    weights: Tensor | None  # of the classes, [classes] float32; None: all alike
    reports: list[EpochReport]  # of all epochs so far
    optimisation: Optimisation
    settings: TrainingSettings
    seed: int

    @property
    def over(self) -> str:
        """Why it is, by itself; "" where it goes on."""
        settings = self.settings
        return why_over(
            self.reports,
            max_epochs=settings.max_epochs,
            patience=settings.patience,
            epochs=settings.epochs,
        )

    @property
    def epoch(self) -> int:
        """The next one, from 1."""
        return len(self.reports) + 1

    @property
    def noise_seed(self) -> int:
        """Of what the next epoch draws in its forward passes."""
        return derive_seed(self.seed, "epoch", self.epoch)

    def batches(self, task: Task, epoch: int) -> list[np.ndarray]:
        """Notes of each micro-batch of an epoch, in order."""
        return training_batches(
            task.training,
            task.inputs.lengths,
            batch_size=self.optimisation.batch_size,
            seed=derive_seed(self.seed, "order", epoch),
        )

    def rates(self, notes: int) -> list[float]:
        """The learning rate at each step of the next epoch over so many notes."""
        chosen = self.optimisation
        each = optimiser_steps(notes, chosen)
        share = partial(
            rate_share, steps=each * self.settings.max_epochs, warmup_share=chosen.warmup_share
        )
        first = (self.epoch - 1) * each
        return [chosen.learning_rate * share(first + place) for place in range(each)]

    def checked(self, kind: str, loss: float) -> float:
        """The next epoch's loss of this kind, which must be finite.

        Raises:
            DivergedError: it is not.
        """
        if not math.isfinite(loss):
            raise DivergedError(f"diverged: the {kind} loss of epoch {self.epoch} is not finite")
        return loss

    def conclude(
        self, train_loss: float, scores: Scores, seconds: Seconds, reading: Reading
    ) -> Epoch:
        """Count an epoch as trained."""
        peak = max((r.peak_bytes or 0 for r in self.reports), default=0)
        reserved = max((r.reserved_bytes or 0 for r in self.reports), default=0)
        is_best = scores.f1 > max((r.f1 for r in self.reports), default=-1.0)
        report = EpochReport(
            epoch=self.epoch,
            f1=scores.f1,
            accuracy=scores.accuracy,
            precision=scores.precision,
            recall=scores.recall,
            validation_loss=scores.loss,
            train_loss=train_loss,
            wall_seconds=seconds.wall,
            cpu_seconds=seconds.cpu,
            group_size=seconds.group_size,
            peak_bytes=max(peak, reading.peak_bytes or 0) or None,
            reserved_bytes=max(reserved, reading.reserved_bytes or 0) or None,
            energy_joules=reading.energy_joules,
        )
        self.reports.append(report)
        return Epoch(
            report,
            is_best,
            self.over,
            checkpoint=self._checkpoint,
            weights=lambda: trained_state(self.model),
        )

    def _checkpoint(self, config_hash: str) -> Checkpoint:
        optimiser = dump_optimiser(self.optimiser, self.model)
        return Checkpoint(trained_state(self.model), optimiser, tuple(self.reports), config_hash)


def begin(
    build: Callable[[], nn.Module],
    task: Task,
    optimisation: Optimisation,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
) -> Training:
    """A trial's model and optimiser as its seed makes them, or as the checkpoint left them."""
    torch.manual_seed(derive_seed(seed, "init"))
    model = build().to(device)
    optimiser = make_optimiser(model, optimisation)
    reports: list[EpochReport] = []
    if checkpoint is not None:
        load_trained_state(model, checkpoint.model)
        load_optimiser(optimiser, model, checkpoint.optimiser)
        reports = list(checkpoint.reports)
    weights = _class_weights(task, device) if optimisation.class_weights else None
    return Training(model, optimiser, weights, reports, optimisation, settings, seed)


def rate_share(step: int, *, steps: int, warmup_share: float) -> float:
    """The learning rate at `step` (from 0) of `steps` as a share of its peak.

    Linear warm-up, then linear decay to zero.

    >>> [round(rate_share(s, steps=10, warmup_share=0.2), 3) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    warmup = math.floor(warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def optimiser_steps(notes: int, optimisation: Optimisation) -> int:
    """Steps of an epoch over so many notes; the last one may have fewer micro-batches.

    >>> optimiser_steps(100, Optimisation(batch_size=8)), optimiser_steps(100, Optimisation(
    ...     batch_size=8, accumulation=4))
    (13, 4)
    """
    return math.ceil(math.ceil(notes / optimisation.batch_size) / optimisation.accumulation)


def add_gradients(
    model: nn.Module,
    inputs: Tensor,
    mask: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None,
    share: float,
) -> Tensor:
    """Forward and backward over one micro-batch; the gradients are added to what is there.

    The footprint traces this very function, so that what it counts is what runs.

    Args:
        model: the network.
        inputs: see the network's forward.
        mask: [notes, tokens] bool, True at real tokens.
        target: class codes, [notes] int64.
        weights: of the classes, [classes] float32, or None.
        share: of this micro-batch in its step; they add up to 1.

    Returns:
        the micro-batch's mean loss, detached.
    """
    output = model(inputs, mask)
    loss = F.cross_entropy(output.logits, target, weight=weights)
    aim = loss if output.balance_loss is None else loss + output.balance_loss
    (aim if share == 1.0 else aim * share).backward()
    return loss.detach()


def train(
    build: Callable[[], nn.Module],
    task: Task,
    optimisation: Optimisation,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    gauge: Gauge | None = None,
) -> Iterator[Epoch]:
    """Yield one epoch after the other, continuing after `checkpoint` where one is given.

    The random generator is torch's own, seeded anew each epoch from (seed, epoch). What the `gauge`
    reads goes into the reports and changes nothing else.

    Raises:
        DivergedError: the training or the validation loss of an epoch was not finite.
        TooLargeError: the gauge saw more memory than the trial may take.
    """
    gauge = gauge or Gauge()
    training = begin(
        build, task, optimisation, settings, seed=seed, device=device, checkpoint=checkpoint
    )
    model, optimiser, weights = training.model, training.optimiser, training.weights
    lengths, accumulation = task.inputs.lengths, optimisation.accumulation
    for earlier in training.reports:  # what was watched before is known, and need not be again
        gauge.choose(training.batches(task, earlier.epoch), lengths, accumulation)
    while not training.over:
        wall, cpu = time.perf_counter(), time.process_time()
        gauge.begin_epoch()
        batches = training.batches(task, training.epoch)
        watched = gauge.choose(batches, lengths, accumulation)
        watch = partial(gauge.around, model, optimiser)
        torch.manual_seed(training.noise_seed)
        model.train()
        total = torch.zeros((), device=device)
        rates = training.rates(len(task.training))
        for place, rate in enumerate(rates):
            optimiser.param_groups[0]["lr"] = rate
            first = place * accumulation
            micro = batches[first : first + accumulation]
            shares = micro_shares(micro, task, weights)
            for which, (notes, part) in enumerate(zip(micro, shares, strict=True), start=first):
                with watch() if which in watched else nullcontext():
                    inputs, mask = task.inputs.batch(notes, device)
                    target = torch.from_numpy(task.labels[notes]).to(device)
                    loss = add_gradients(model, inputs, mask, target, weights=weights, share=part)
                    total += loss * len(notes)
                    del inputs, mask, target, loss  # or they stand beside the next batch
            last = place == len(rates) - 1
            with watch(update=True) if watched and last else nullcontext():
                update(optimiser)
        train_loss = training.checked("training", total.item() / len(task.training))
        probabilities = predict(
            model, task, settings.batch_limit, device, watch if watched else nullcontext
        )
        scores = score(probabilities, task.labels[task.validation])
        if len(task.validation):  # the epoch's last step may have made it so
            training.checked("validation", scores.loss)
        reading = gauge.end_epoch()
        seconds = Seconds(time.perf_counter() - wall, time.process_time() - cpu)
        yield training.conclude(train_loss, scores, seconds, reading)


@torch.inference_mode()
def predict(
    model: nn.Module,
    task: Task,
    batch_size: int,
    device: torch.device,
    watch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> np.ndarray:
    """Class probabilities of the validation notes in their order, [notes, classes] float64.

    `watch` stands around the largest batch. There may be no note.
    """
    model.eval()
    place = np.empty(len(task.labels), dtype=np.int64)
    place[task.validation] = np.arange(len(task.validation))
    probabilities = np.empty((len(task.validation), task.classes))
    batches = evaluation_batches(task.validation, task.inputs.lengths, batch_size=batch_size)
    sizes = [len(notes) * int(task.inputs.lengths[notes].max()) for notes in batches]
    largest = int(np.argmax(sizes)) if sizes else -1
    for which, notes in enumerate(batches):
        with watch() if which == largest else nullcontext():
            inputs, mask = task.inputs.batch(notes, device)
            logits = model(inputs, mask).logits
            probabilities[place[notes]] = logits.double().softmax(dim=1).cpu().numpy()
            del inputs, mask, logits
    return probabilities


def micro_shares(micro: list[np.ndarray], task: Task, weights: Tensor | None) -> list[float]:
    """Each micro-batch's part of its step: as the mean over all their notes would weigh it."""
    if len(micro) == 1:
        return [1.0]
    each = np.ones(task.classes) if weights is None else weights.cpu().numpy()
    sums = np.array([each[task.labels[notes]].sum(dtype=np.float64) for notes in micro])
    return (sums / sums.sum()).tolist()


def _class_weights(task: Task, device: torch.device) -> Tensor:
    """Inverse frequencies with mean 1 over the training notes, [classes] float32."""
    counts = np.bincount(task.labels[task.training], minlength=task.classes)
    weights = len(task.training) / (task.classes * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)
