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
from ..card.gauge import Gauge
from ..models.finetuned import load_trained_state, trained_state
from .batches import Ragged, evaluation_batches, training_batches
from .checkpoints import Checkpoint
from .metrics import score
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
    ((loss + output.balance_loss) * share).backward()
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
    torch.manual_seed(derive_seed(seed, "init"))
    model = build().to(device)
    optimiser = make_optimiser(model, optimisation)
    reports: list[EpochReport] = []
    if checkpoint is not None:
        load_trained_state(model, checkpoint.model)
        load_optimiser(optimiser, model, checkpoint.optimiser)
        reports = list(checkpoint.reports)
    weights = _class_weights(task, device) if optimisation.class_weights else None
    lengths = task.inputs.lengths
    epoch_steps = optimiser_steps(len(task.training), optimisation)
    steps = epoch_steps * settings.max_epochs
    batches_of = partial(
        training_batches, task.training, lengths, batch_size=optimisation.batch_size
    )
    for earlier in reports:  # what was watched before is known, and need not be again
        batches = batches_of(seed=derive_seed(seed, "order", earlier.epoch))
        gauge.choose(batches, lengths, optimisation.accumulation)
    stops = partial(why_over, max_epochs=settings.max_epochs, patience=settings.patience)
    while not stops(reports):
        epoch = len(reports) + 1
        wall, cpu = time.perf_counter(), time.process_time()
        gauge.begin_epoch()
        batches = batches_of(seed=derive_seed(seed, "order", epoch))
        peak = max((r.peak_bytes or 0 for r in reports), default=0)
        reserved = max((r.reserved_bytes or 0 for r in reports), default=0)
        accumulation = optimisation.accumulation
        watched = gauge.choose(batches, lengths, accumulation)
        watch = partial(gauge.around, model, optimiser)
        torch.manual_seed(derive_seed(seed, "epoch", epoch))
        model.train()
        total = torch.zeros((), device=device)
        for place in range(epoch_steps):
            step = (epoch - 1) * epoch_steps + place
            share = rate_share(step, steps=steps, warmup_share=optimisation.warmup_share)
            optimiser.param_groups[0]["lr"] = optimisation.learning_rate * share
            first = place * accumulation
            micro = batches[first : first + accumulation]
            shares = _shares(micro, task, weights)
            for which, (notes, part) in enumerate(zip(micro, shares, strict=True), start=first):
                with watch() if which in watched else nullcontext():
                    inputs, mask = task.inputs.batch(notes, device)
                    target = torch.from_numpy(task.labels[notes]).to(device)
                    loss = add_gradients(model, inputs, mask, target, weights=weights, share=part)
                    total += loss * len(notes)
                    del inputs, mask, target, loss  # or they stand beside the next batch
            last = place == epoch_steps - 1
            with watch(update=True) if watched and last else nullcontext():
                update(optimiser)
        train_loss = total.item() / len(task.training)
        if not math.isfinite(train_loss):
            raise DivergedError(f"diverged: the training loss of epoch {epoch} is not finite")
        probabilities = predict(
            model, task, settings.batch_limit, device, watch if watched else nullcontext
        )
        scores = score(probabilities, _validation_labels(task))
        if not math.isfinite(scores.loss):  # the epoch's last step made it so
            raise DivergedError(f"diverged: the validation loss of epoch {epoch} is not finite")
        reading = gauge.end_epoch()
        is_best = scores.f1 > max((r.f1 for r in reports), default=-1.0)
        report = EpochReport(
            epoch=epoch,
            f1=scores.f1,
            accuracy=scores.accuracy,
            precision=scores.precision,
            recall=scores.recall,
            validation_loss=scores.loss,
            train_loss=train_loss,
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
            peak_bytes=max(peak, reading.peak_bytes or 0) or None,
            reserved_bytes=max(reserved, reading.reserved_bytes or 0) or None,
            energy_joules=reading.energy_joules,
        )
        reports.append(report)
        yield Epoch(
            report,
            is_best,
            stops(reports),
            checkpoint=lambda config_hash: Checkpoint(
                trained_state(model),
                dump_optimiser(optimiser, model),
                tuple(reports),
                config_hash,
            ),
            weights=lambda: trained_state(model),
        )


@torch.inference_mode()
def predict(
    model: nn.Module,
    task: Task,
    batch_size: int,
    device: torch.device,
    watch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> np.ndarray:
    """Class probabilities of the validation notes in their order, [notes, classes] float64.

    `watch` stands around the largest batch.
    """
    model.eval()
    place = np.empty(len(task.labels), dtype=np.int64)
    place[task.validation] = np.arange(len(task.validation))
    probabilities = np.empty((len(task.validation), task.classes))
    batches = evaluation_batches(task.validation, task.inputs.lengths, batch_size=batch_size)
    sizes = [len(notes) * int(task.inputs.lengths[notes].max()) for notes in batches]
    largest = int(np.argmax(sizes))
    for which, notes in enumerate(batches):
        with watch() if which == largest else nullcontext():
            inputs, mask = task.inputs.batch(notes, device)
            logits = model(inputs, mask).logits
            probabilities[place[notes]] = logits.double().softmax(dim=1).cpu().numpy()
            del inputs, mask, logits
    return probabilities


def _validation_labels(task: Task) -> np.ndarray:
    return task.labels[task.validation]


def _shares(micro: list[np.ndarray], task: Task, weights: Tensor | None) -> list[float]:
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
