"""Run one assignment: choose the network and its inputs, train, keep its state on disk.

Everything that one trial does on a worker, as a plain generator without Ray. It raises nothing that
a trial can cause: one that diverges or crashes ends as failed, with a reason that quotes no note,
and one that needs more memory than the card has ends as infeasible, with what it needed beyond.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..spaces.configs import (
    BaselineConfig,
    HeadConfig,
    Mode,
    Pooling,
    ScratchConfig,
    backbone_label,
    config_hash,
)
from ..spaces.record import EpochReport, Outcome, Scoring, State
from .assignment import Assignment, Materials, TrainingSettings, lesson_of
from .card.cap import Cap, ShortOfMemoryError, TooLargeError, cap_of
from .card.gauge import Gauge, gauge_of
from .examination import examine, scoring
from .models.backbones import BackboneError, empty_encoder, load_config, load_encoder
from .models.classifier import HeadModel, fixed_pooling
from .models.finetuned import TunedModel
from .models.scratch import ScratchModel
from .notes.cache import read_meta
from .notes.corpus import Corpus
from .notes.split import Part
from .notes.tokens import encode_tokens
from .steps import Step
from .training.batches import Ragged
from .training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from .training.loop import DivergedError, Epoch, Task, train
from .training.metrics import score
from .training.states import Kind, Saved, StateStore, storage_problem
from .uncompiled import on_meta

if TYPE_CHECKING:
    from .models.baselines import FittedBaseline

TRAINED_BEFORE = "all epochs were trained before it was resumed"


def run_trial(
    assignment: Assignment,
    corpus: Corpus,
    materials: Materials,
    *,
    device: torch.device,
    device_fraction: float,
    cap: Cap | None = None,
) -> Iterator[Step]:
    """Yield the trial's steps; the last one carries its outcome.

    Args:
        assignment: which trial.
        corpus: the notes.
        materials: what the study's trials share.
        device: where it trains.
        device_fraction: share of a GPU that it holds; 0 without one.
        cap: of this process; made from the materials' limit where none is given.

    Raises:
        ShortOfMemoryError: the machine had less memory than the trial may take; a step has said so.
            Nothing is wrong with the trial: its process shall end, and it be tried again.
    """
    cap = cap or cap_of(device, materials.limit_bytes)
    cap.begin()
    ended = Ending.on(device, device_fraction)
    try:
        if isinstance(assignment.config, BaselineConfig):
            report, parameters, test = _baseline(assignment, corpus, materials)
            ended.sizes.update(trainable_parameters=parameters, total_parameters=parameters)
            yield ended.step(report, "fitted", test)
            return
        gauge = gauge_of(cap, device, device_fraction)
        for told in _network(assignment, corpus, materials, device, ended.sizes, gauge):
            yield ended.step(*told)
    except (DivergedError, BackboneError) as error:  # their messages are ours, and quote no note
        problem, memory, why = "", None, str(error)
    except Exception as error:
        problem, memory, why = storage_problem(error), cap.judge(error), crash_reason(error)
    else:
        return
    # Not in the handlers: while one stands still, its error keeps the trial's tensors.
    if problem:
        yield Step(None, ended(State.RUNNING, problem), problem)
        return
    match memory:
        case TooLargeError():
            yield Step(None, ended(State.INFEASIBLE, str(memory), memory.excess_bytes))
        case ShortOfMemoryError():
            yield Step(None, ended(State.RUNNING, str(memory)))
            raise memory
        case None:
            yield Step(None, ended(State.FAILED, why))


@dataclass(frozen=True, slots=True)
class Ending:
    """Makes a trial's outcomes."""

    device: str  # its name
    device_fraction: float
    sizes: dict[str, int] = field(default_factory=dict)  # of its network, once they are known

    @classmethod
    def on(cls, device: torch.device, device_fraction: float) -> "Ending":
        """Of a trial that holds this share of the device."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return cls(name, device_fraction)

    def __call__(
        self,
        state: State,
        reason: str,
        excess_bytes: int | None = None,
        test: Scoring | None = None,
    ) -> Outcome:
        """The trial's, at this moment."""
        return Outcome(
            state=state,
            reason=reason,
            device=self.device,
            device_fraction=self.device_fraction,
            excess_bytes=excess_bytes,
            test=test,
            **self.sizes,
        )

    def step(self, report: EpochReport, reason: str, test: Scoring | None = None) -> Step:
        """An epoch, with which the trial is complete where there is a reason."""
        state = State.COMPLETE if reason else State.RUNNING
        return Step(report, self(state, reason, test=test))


def crash_reason(error: BaseException) -> str:
    """What crashed and where, without the message: it might quote a note."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{Path(__file__).parent}" in f.filename] or frames
    where = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"crashed: {type(error).__name__}{where}"


def _network(
    assignment: Assignment,
    corpus: Corpus,
    materials: Materials,
    device: torch.device,
    sizes: dict[str, int],
    gauge: Gauge,
) -> Iterator[tuple[EpochReport, str, Scoring | None]]:
    """Train the assignment's network; epochs that only the checkpoint knows are told first.

    The network's parameter counts go into `sizes`. A confirming trial is scored on test with its
    last epoch.
    """
    config = cast("HeadConfig | ScratchConfig", assignment.config)
    corpus, settings = lesson_of(assignment, corpus, materials)
    network = network_of(config, corpus, materials)
    sizes |= network.sizes
    state = StoredState.of(assignment, materials, network.backbone)
    checkpoint = state.load()
    epochs = train(
        network.build,
        network.task(corpus),
        config.optimisation,
        settings,
        seed=assignment.seed,
        device=device,
        checkpoint=checkpoint,
        gauge=gauge,
    )
    stored = checkpoint.reports if checkpoint else ()
    for report in stored[assignment.known_epochs :]:
        yield report, "", None
    # Killed after the last epoch, before its end was recorded, it trains none.
    report, why = (stored[-1], TRAINED_BEFORE) if stored else (None, "")
    for epoch in epochs:
        state.save(epoch)
        report, why = epoch.report, epoch.ended
        del epoch  # it holds the network, which must not stand beside the one that is examined
        if not why:
            yield report, why, None
    del epochs
    if report and why:
        limit = settings.batch_limit
        yield report, why, examined(assignment, network, corpus, state, limit, device)


def examined(
    assignment: Assignment,
    network: "Network",
    corpus: Corpus,
    state: "StoredState",
    batch_limit: int,
    device: torch.device,
) -> Scoring | None:
    """The test score of a confirming trial that has ended; None of a searched one.

    It is that of the best epoch's weights, or of the last one's where the epochs were fixed.

    Raises:
        DivergedError: what the network says is not finite.
        FileNotFoundError: the weights are gone.
    """
    again = assignment.replicate
    if again is None:
        return None
    return examine(
        network.build,
        state.weights(Kind.CHECKPOINT if again.epochs else Kind.BEST),
        network.task(corpus),
        corpus.indices(Part.TEST),
        batch_limit=batch_limit,
        device=device,
    )


@dataclass(frozen=True, slots=True)
class StoredState:
    """A trial's states, in their store."""

    states: StateStore
    trial: int
    identity: str  # hash of its config
    backbone: str  # identity of the one whose frozen part is not stored; "" without
    keep_weights: bool

    @classmethod
    def of(cls, assignment: Assignment, materials: Materials, backbone: str) -> "StoredState":
        """The assignment's."""
        return cls(
            states=materials.states,
            trial=assignment.number,
            identity=config_hash(assignment.config),
            backbone=backbone,
            keep_weights=materials.settings.keep_weights,
        )

    def load(self) -> Checkpoint | None:
        """What there is to go on from."""
        return load_checkpoint(self.states, self.trial, self.identity, self.backbone)

    def weights(self, kind: Kind) -> dict[str, Tensor]:
        """Of the best epoch or of the last one.

        Raises:
            FileNotFoundError: they are not there.
        """
        if kind is Kind.CHECKPOINT:
            checkpoint = self.load()
            found = checkpoint.model if checkpoint else None
        else:
            saved = self.states.find(self.trial, kind)
            own = (s for s in saved if s.metadata.get("config_hash") == self.identity)
            found = next((dict(each.tensors) for each in own), None)
        if found is None:
            raise FileNotFoundError(f"the weights of trial {self.trial} are gone")
        return found

    def save(self, epoch: Epoch) -> None:
        """Write what the trial goes on from after this epoch, and its weights if they are best."""
        if epoch.is_best and self.keep_weights:
            metadata = {"config_hash": self.identity, "backbone": self.backbone}
            best = Saved(epoch.report.epoch, epoch.weights(), metadata)
            self.states.put(self.trial, Kind.BEST, best)
        checkpoint = replace(epoch.checkpoint(self.identity), backbone=self.backbone)
        save_checkpoint(self.states, self.trial, checkpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a config trains, and on what."""

    build: Callable[[], nn.Module]
    inputs: Ragged  # the notes as it reads them
    trainable: int  # parameters that training moves
    frozen: int = 0  # parameters that it does not, a frozen backbone's among them
    backbone: str = ""  # identity of the backbone whose frozen part is inside the network

    @property
    def sizes(self) -> dict[str, int]:
        """As an outcome states them."""
        return {
            "trainable_parameters": self.trainable,
            "total_parameters": self.trainable + self.frozen,
        }

    def task(self, corpus: Corpus) -> Task:
        """What it learns of the corpus."""
        return Task(
            inputs=self.inputs,
            labels=corpus.labels,
            classes=len(corpus.label_names),
            training=corpus.indices(Part.TRAIN),
            validation=corpus.indices(Part.VALIDATION),
        )


def network_of(config: HeadConfig | ScratchConfig, corpus: Corpus, materials: Materials) -> Network:
    """The config's network: a head on stored features, a scratch model, or a backbone that trains.

    Raises:
        BackboneError: a backbone's files here are not those that the study was made with.
    """
    classes = len(corpus.label_names)
    limit = materials.settings.max_tokens
    if isinstance(config, ScratchConfig):
        folder = encode_tokens(
            corpus,
            materials.cache,
            vocabulary=config.vocabulary,
            max_tokens=limit,
            min_document_frequency=materials.settings.min_document_frequency,
        )
        vocabulary = cast("int", read_meta(folder)["vocabulary"])
        return _whole(lambda: ScratchModel(config, vocabulary, classes, limit), _open(folder))
    if config.mode is not Mode.FROZEN:
        return _tuned(config, classes, materials)
    folder = materials.features[config.backbone]
    inputs = _pooled(folder, pooling) if (pooling := fixed_pooling(config)) else _open(folder)
    frozen = cast("int", read_meta(folder)["parameters"])
    return _whole(lambda: HeadModel(inputs.width, classes, config), inputs, frozen)


def _whole(build: Callable[[], nn.Module], inputs: Ragged, frozen: int = 0) -> Network:
    """A network all of whose own parameters train."""
    with on_meta():
        trainable = sum(p.numel() for p in build().parameters())
    return Network(build=build, inputs=inputs, trainable=trainable, frozen=frozen)


def _tuned(config: HeadConfig, classes: int, materials: Materials) -> Network:
    folder, place = materials.tokens[config.backbone], materials.place_of(config.backbone)
    expected = cast("str", read_meta(folder)["identity"])

    def build() -> nn.Module:
        with torch.random.fork_rng():  # what loading draws must not decide how the head starts
            encoder, found = load_encoder(place, materials.cache)
        if found != expected:
            raise BackboneError(
                f"the files of the backbone {backbone_label(config.backbone)!r} differ between the "
                "machines of this study: bring the same ones to each"
            )
        return TunedModel(encoder, classes, config)

    with on_meta():
        empty = TunedModel(empty_encoder(load_config(place)), classes, config)
    trainable = sum(p.numel() for p in empty.parameters() if p.requires_grad)
    return Network(
        build=build,
        inputs=_open(folder),
        trainable=trainable,
        frozen=sum(p.numel() for p in empty.parameters()) - trainable,
        backbone=expected,
    )


@lru_cache(maxsize=16)
def _open(folder: Path) -> Ragged:
    """Map a folder once a process: a warm worker opens nothing twice."""
    return Ragged.open(folder)


@lru_cache(maxsize=16)
def _pooled(folder: Path, pooling: Pooling) -> Ragged:
    """The features pooled, once a process."""
    return _open(folder).pooled(pooling)


def fitted_baseline(
    config: BaselineConfig, seed: int, corpus: Corpus, settings: TrainingSettings
) -> "FittedBaseline":
    """The baseline, fitted on the training part.

    Raises:
        ValueError: the notes cannot be learned from.
    """
    # Imported here: a driver needs no scikit-learn.
    from .models.baselines import fit_baseline

    training = corpus.indices(Part.TRAIN)
    return fit_baseline(
        config,
        [corpus.texts[i] for i in training],
        corpus.labels[training],
        seed,
        len(corpus.label_names),
        frequency=settings.min_document_frequency,
        groups=corpus.groups[training].tolist(),
    )


def _baseline(
    assignment: Assignment, corpus: Corpus, materials: Materials
) -> tuple[EpochReport, int, Scoring | None]:
    """Fit a baseline and score it as one epoch; its parameters; its scoring on test, if asked."""
    config, again = cast("BaselineConfig", assignment.config), assignment.replicate
    corpus, settings = lesson_of(assignment, corpus, materials)
    wall, cpu = time.perf_counter(), time.process_time()
    training, validation = corpus.indices(Part.TRAIN), corpus.indices(Part.VALIDATION)
    fitted = fitted_baseline(config, assignment.seed, corpus, settings)
    scores = score(
        fitted.predict_proba([corpus.texts[i] for i in validation]), corpus.labels[validation]
    )
    learned = score(
        fitted.predict_proba([corpus.texts[i] for i in training]), corpus.labels[training]
    )
    report = EpochReport(
        epoch=1,
        f1=scores.f1,
        accuracy=scores.accuracy,
        precision=scores.precision,
        recall=scores.recall,
        validation_loss=scores.loss,
        train_loss=learned.loss,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
    )
    if again is None:
        return report, fitted.parameters, None
    test = corpus.indices(Part.TEST)
    probabilities = fitted.predict_proba([corpus.texts[i] for i in test])
    return report, fitted.parameters, scoring(probabilities, corpus.labels[test])
