"""What a config would need on the card: peak bytes, and hours for this corpus, without a GPU.

Memory is that of the worst batch: the config's notes at once, each as long as the longest of all.
Time follows the batches' real lengths: costs are traced at three lengths and a parabola is laid
through them (attention is quadratic, the rest linear). A baseline uses no GPU and has none of this.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...spaces.configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    Mode,
    Optimisation,
    Pooling,
    ScratchConfig,
)
from ...spaces.heads import LinearHead
from ...spaces.record import Footprint
from ..models.backbones import empty_encoder, position_limit
from ..models.classifier import HeadModel, fixed_pooling
from ..models.finetuned import TunedModel
from ..models.scratch import ScratchModel
from ..models.skeleton import Geometry, Skeleton, geometry_of
from ..notes.features import ENCODING_NOTES
from ..training.batches import evaluation_batches, training_batches
from ..training.loop import optimiser_steps
from .cards import Card
from .cost import Work, preparation
from .memory import WORKSPACE_BYTES
from .trace import (
    Inputs,
    TrainingTrace,
    states_of_an_encoder,
    trace_inference,
    trace_lengths,
    trace_training,
)


@dataclass(frozen=True)
class Workload:
    """The corpus as one kind of input sees it."""

    lengths: np.ndarray  # tokens of each note, [notes] int64
    training: np.ndarray  # [training notes] int64
    validation: np.ndarray  # [validation notes] int64
    limit: int | None = None  # tokens of a note that may come; None: as long as the longest here

    @property
    def longest(self) -> int:
        """Tokens of the longest note, which decides the memory."""
        return int(self.lengths.max()) if self.limit is None else self.limit


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """What the footprint needs to know of a backbone: its configuration, no weights."""

    name: str
    width: int
    max_tokens: int  # that its positions allow
    build: Callable[[], nn.Module]  # the encoder with plain attention, empty

    @classmethod
    def of(cls, name: str, config: Any) -> "BackboneShape":
        """From transformers' configuration, or from the sizes alone."""
        geometry = config if isinstance(config, Geometry) else geometry_of(config.to_dict())
        build = partial(Skeleton, geometry) if geometry else partial(empty_encoder, config)
        return cls(name, config.hidden_size, position_limit(config), build)


class Footprinter:
    """Footprints of the configs of one study, looked up where the shapes repeat."""

    def __init__(
        self,
        card: Card,
        *,
        classes: int,
        max_tokens: int,
        batch_limit: int,
        backbones: dict[str, BackboneShape],
        backbone_workloads: dict[str, Workload],
        scratch_workload: Callable[[int], tuple[Workload, int]],
    ) -> None:
        """Prepare.

        Args:
            card: whose memory and rates count.
            classes: labels of the corpus.
            max_tokens: tokens of a note at most.
            batch_limit: notes of a validation batch.
            backbones: by the name that configs carry.
            backbone_workloads: by the same names.
            scratch_workload: vocabulary asked for -> workload and sub-words that it really has.
        """
        self.card = card
        self.classes, self.max_tokens, self.batch_limit = classes, max_tokens, batch_limit
        self._backbones, self._backbone_workloads = backbones, backbone_workloads
        self._scratch_workload = scratch_workload
        self._shape_of = lru_cache(maxsize=4096)(self._trace_shape)
        self._below = lru_cache(maxsize=4096)(self._trace_below)
        self._head_alone = lru_cache(maxsize=4096)(self._trace_head)
        self._encoding_of = lru_cache(maxsize=None)(self._trace_encoding)

    def __call__(self, config: Config) -> Footprint | None:
        """The config's footprint; None for a baseline."""
        if isinstance(config, BaselineConfig):
            return None
        shape, workload = self._shape_of(_shape_alone(config)), self._workload(config)
        encoding = _NO_ENCODING
        if isinstance(config, HeadConfig) and config.mode is Mode.FROZEN:
            encoding = self._encoding_of(config.backbone)
        trace, memory, optimisation = shape.trace, shape.trace.memory, config.optimisation
        step = trace.micro_batch.times(optimisation.accumulation).plus(trace.update)
        training = training_batches(
            workload.training, workload.lengths, batch_size=optimisation.batch_size, seed=0
        )
        validation = evaluation_batches(
            workload.validation, workload.lengths, batch_size=self.batch_limit
        )
        updates = optimiser_steps(len(workload.training), optimisation)
        return Footprint(
            peak_bytes=max(memory.peak, encoding.peak_bytes) + WORKSPACE_BYTES,
            limit_bytes=self.card.limit_bytes,
            trainable_parameters=trace.trainable,
            total_parameters=trace.parameters + encoding.parameters,
            step_flops=step.flops,
            step_bytes=step.moved_bytes,
            epoch_seconds=_sum_over(training, workload.lengths, shape.training_cost)
            + updates * shape.update_seconds
            + _sum_over(validation, workload.lengths, shape.validation_cost),
            encoding_seconds=encoding.seconds,
            parameter_bytes=memory.parameters,
            gradient_bytes=memory.gradients,
            optimiser_bytes=memory.optimiser,
            activation_bytes=memory.activations,
            rounding_bytes=memory.rounding,
            encoding_bytes=encoding.peak_bytes,
            workspace_bytes=WORKSPACE_BYTES,
            reserve_bytes=self.card.reserve_bytes,
        )

    @property
    def traced(self) -> int:
        """Shapes that were traced, not looked up."""
        return self._shape_of.cache_info().misses

    def training_peak_bytes(self, config: HeadConfig | ScratchConfig) -> int:
        """Peak of training and validation alone, without what they cost: a third of the tracing."""
        trace = self._trace(_shape_alone(config))
        return trace.memory.peak + WORKSPACE_BYTES

    def encoding_peak_bytes(self, backbone: str) -> int:
        """Peak of encoding with this backbone on the card."""
        return self._encoding_of(backbone).peak_bytes + WORKSPACE_BYTES

    def _workload(self, config: HeadConfig | ScratchConfig) -> Workload:
        if not isinstance(config, HeadConfig):
            return self._scratch_workload(config.vocabulary)[0]
        workload = self._backbone_workloads[config.backbone]
        if fixed_pooling(config):  # one vector a note
            return replace(workload, lengths=np.ones_like(workload.lengths), limit=1)
        return workload

    def _limit(self, config: HeadConfig | ScratchConfig) -> int:
        """Tokens of the longest note that the model meets."""
        limit = min(self.max_tokens, self._workload(config).longest)
        if isinstance(config, HeadConfig):
            return min(limit, self._backbones[config.backbone].max_tokens)
        return limit

    def _network(self, config: HeadConfig | ScratchConfig) -> Callable[[], nn.Module]:
        if isinstance(config, ScratchConfig):
            vocabulary = self._scratch_workload(config.vocabulary)[1]
            return lambda: ScratchModel(config, vocabulary, self.classes, self.max_tokens)
        shape = self._backbones[config.backbone]
        if config.mode is Mode.FROZEN:
            return lambda: HeadModel(shape.width, self.classes, config)
        return lambda: TunedModel(shape.build(), self.classes, config)

    def _batch(self, config: HeadConfig | ScratchConfig, notes: int, tokens: int) -> Inputs:
        mask = torch.ones(notes, tokens, dtype=torch.bool)
        if isinstance(config, HeadConfig) and config.mode is Mode.FROZEN:
            return torch.zeros(notes, tokens, self._backbones[config.backbone].width), mask
        return torch.zeros(notes, tokens, dtype=torch.int64), mask

    def _trace_shape(self, config: HeadConfig | ScratchConfig) -> "_Shape":
        *shorter, longest = lengths = _probe_lengths(self._limit(config))
        trace = self._trace(config)
        works = [*self._at_lengths(config, tuple(shorter)), trace.micro_batch]
        micro_batches = [
            work.plus(self._preparation(config, config.optimisation.batch_size, tokens))
            for work, tokens in zip(works, lengths, strict=True)
        ]
        curve = _parabola(lengths, [work.seconds(self.card) for work in micro_batches])
        validation = trace.validation.plus(self._preparation(config, self.batch_limit, longest))
        # A forward pass grows with the length as the whole micro-batch does.
        share = validation.seconds(self.card) / micro_batches[-1].seconds(self.card)
        return _Shape(
            trace,
            training_cost=curve,
            validation_cost=curve * share,
            update_seconds=trace.update.seconds(self.card),
        )

    def _trace(self, config: HeadConfig | ScratchConfig) -> TrainingTrace:
        longest = self._limit(config)
        return trace_training(
            self._network(config),
            lambda tokens: self._batch(config, config.optimisation.batch_size, tokens),
            lambda: self._batch(config, self.batch_limit, longest),
            config.optimisation,
            tokens=longest,
        )

    def _at_lengths(
        self, config: HeadConfig | ScratchConfig, lengths: tuple[int, ...]
    ) -> list[Work]:
        """The work of a micro-batch; that of an encoder is looked up, whatever the head on it."""
        notes = config.optimisation.batch_size
        if isinstance(config, ScratchConfig) or config.mode is Mode.FROZEN:
            return trace_lengths(
                self._network(config), lambda tokens: self._batch(config, notes, tokens), lengths
            )
        plain = replace(
            config,
            head=LinearHead(),
            pooling=Pooling.MEAN,
            dropout=0.0,
            optimisation=Optimisation(batch_size=notes),
        )
        below, heads = self._below(plain, lengths), self._head_alone(_head_alone(config), lengths)
        return [one.plus(other) for one, other in zip(below, heads, strict=True)]

    def _trace_below(self, plain: HeadConfig, lengths: tuple[int, ...]) -> list[Work]:
        """What a micro-batch takes in the encoder that trains: all of it, less this head."""
        notes = plain.optimisation.batch_size
        works = trace_lengths(
            self._network(plain), lambda tokens: self._batch(plain, notes, tokens), lengths
        )
        heads = self._head_alone(_head_alone(plain), lengths)
        return [work.plus(head.times(-1)) for work, head in zip(works, heads, strict=True)]

    def _trace_head(self, config: HeadConfig, lengths: tuple[int, ...]) -> list[Work]:
        """On states that want gradients."""
        notes, width = config.optimisation.batch_size, self._backbones[config.backbone].width

        def batch(tokens: int) -> Inputs:
            mask = torch.ones(notes, tokens, dtype=torch.bool)
            return states_of_an_encoder(notes, tokens, width), mask

        return trace_lengths(lambda: HeadModel(width, self.classes, config), batch, lengths)

    def _preparation(self, config: HeadConfig | ScratchConfig, notes: int, tokens: int) -> Work:
        """Of a batch: half-precision states or small numbers become single or large ones."""
        if isinstance(config, HeadConfig) and config.mode is Mode.FROZEN:
            width = self._backbones[config.backbone].width
            stored = 4 if fixed_pooling(config) else 2  # bytes a number
            return preparation(notes, stored * width * tokens, 4 * width * tokens)
        return preparation(notes, 4 * tokens, 8 * tokens)

    def _trace_encoding(self, backbone: str) -> "_Encoding":
        workload = self._backbone_workloads[backbone]
        limit = min(self.max_tokens, self._backbones[backbone].max_tokens)
        *shorter, longest = lengths = _probe_lengths(min(limit, workload.longest))
        notes = math.ceil(ENCODING_NOTES * limit / longest)  # more of short ones in a batch

        def batch(tokens: int) -> dict[str, Tensor]:
            return {
                "input_ids": torch.zeros(notes, tokens, dtype=torch.int64),
                "attention_mask": torch.ones(notes, tokens, dtype=torch.int64),
            }

        trace = trace_inference(
            self._backbones[backbone].build,
            batch,
            tokens=longest,
            other_tokens=shorter,
        )
        everything = evaluation_batches(
            np.arange(len(workload.lengths)), workload.lengths, batch_size=notes
        )
        works = [*trace.other_lengths, trace.work]
        curve = _parabola(lengths, [work.seconds(self.card) for work in works])
        return _Encoding(
            peak_bytes=trace.memory.peak,
            parameters=trace.parameters,
            seconds=_sum_over(everything, workload.lengths, curve),
        )


@dataclass(frozen=True, slots=True)
class _Shape:
    trace: TrainingTrace
    training_cost: np.ndarray  # polynomial: padded tokens of a note -> seconds a micro-batch
    validation_cost: np.ndarray
    update_seconds: float  # of one update of the weights


@dataclass(frozen=True, slots=True)
class _Encoding:
    peak_bytes: int
    parameters: int
    seconds: float


_NO_ENCODING = _Encoding(peak_bytes=0, parameters=0, seconds=0.0)


def _shape_alone(config: HeadConfig | ScratchConfig) -> HeadConfig | ScratchConfig:
    """The config with everything reset that does not change a tensor's shape."""
    optimisation = Optimisation(
        batch_size=config.optimisation.batch_size,
        optimiser=config.optimisation.optimiser,
        # One micro-batch is traced, with gradients before it or without.
        accumulation=min(config.optimisation.accumulation, 2),
    )
    if isinstance(config, ScratchConfig):
        return replace(
            config,
            optimisation=optimisation,
            dropout=_whether(config.dropout),
            classifier_dropout=_whether(config.classifier_dropout),
        )
    head: Any = config.head
    if hasattr(head, "structure_dropout"):
        head = replace(head, structure_dropout=_whether(head.structure_dropout))
    return replace(config, head=head, dropout=_whether(config.dropout), optimisation=optimisation)


def _head_alone(config: HeadConfig) -> HeadConfig:
    """The head and its batch, whatever the encoder below does."""
    return HeadConfig(
        backbone=config.backbone,
        head=config.head,
        pooling=config.pooling,
        dropout=config.dropout,
        optimisation=Optimisation(batch_size=config.optimisation.batch_size),
    )


def _whether(dropout: float) -> float:
    return 0.1 if dropout > 0 else 0.0


def _probe_lengths(max_tokens: int) -> list[int]:
    return sorted({max(1, max_tokens // 4), max(1, max_tokens // 2), max_tokens})


def _parabola(lengths: list[int], seconds: list[float]) -> np.ndarray:
    return np.polyfit(lengths, seconds, deg=len(lengths) - 1)


def _sum_over(batches: list[np.ndarray], lengths: np.ndarray, cost: np.ndarray) -> float:
    """Seconds of all batches, each padded to its longest note; there may be none."""
    if not batches:
        return 0.0
    begins = np.cumsum([0, *(len(batch) for batch in batches[:-1])])
    longest = np.maximum.reduceat(lengths[np.concatenate(batches)], begins)
    return float(np.polyval(cost, longest).clip(min=0).sum())
