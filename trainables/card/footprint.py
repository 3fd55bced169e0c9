"""What a config would need on the card: peak bytes, and hours for this corpus, without a GPU.

Memory is that of the worst batch: as many notes as the config's batch, each as long as the limit.
Time follows the batches' real lengths: costs are traced at three lengths and a parabola is laid
through them (attention is quadratic, the rest linear). A baseline uses no GPU and has none of this.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...spaces.configs import BaselineConfig, Config, HeadConfig, Optimisation, ScratchConfig
from ...spaces.record import Footprint
from ..models.classifier import HeadModel
from ..models.scratch import ScratchModel
from ..notes.features import ENCODING_NOTES
from ..training.batches import evaluation_batches, training_batches
from .cards import Card
from .trace import Trace, trace_gradients, trace_inference, trace_training


@dataclass(frozen=True)
class Workload:
    """The corpus as one kind of input sees it."""

    lengths: np.ndarray  # tokens of each note, [notes] int64
    training: np.ndarray  # [training notes] int64
    validation: np.ndarray  # [validation notes] int64


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """What the footprint needs to know of a backbone: its configuration, no weights."""

    name: str
    width: int
    max_tokens: int  # that its positions allow
    build: Callable[[], nn.Module]  # the encoder, made under fake tensors


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
        self._encoding_of = lru_cache(maxsize=None)(self._trace_encoding)
        self._rates = {"flops": card.flops, "bandwidth": card.bandwidth}

    def __call__(self, config: Config) -> Footprint | None:
        """The config's footprint; None for a baseline."""
        if isinstance(config, BaselineConfig):
            return None
        shape = self._shape_of(_shape_alone(config))
        workload = self._workload(config)
        peak, encoding_seconds, frozen = shape.peak_bytes, 0.0, 0
        if isinstance(config, HeadConfig):
            encoding = self._encoding_of(config.backbone)
            peak = max(peak, encoding.peak_bytes)
            encoding_seconds, frozen = encoding.seconds, encoding.parameters
        training = training_batches(
            workload.training,
            workload.lengths,
            batch_size=config.optimisation.batch_size,
            seed=0,
        )
        validation = evaluation_batches(
            workload.validation, workload.lengths, batch_size=self.batch_limit
        )
        return Footprint(
            peak_bytes=peak,
            limit_bytes=self.card.limit_bytes,
            trainable_parameters=shape.parameters,
            total_parameters=shape.parameters + frozen,
            step_flops=shape.step.flops,
            step_bytes=shape.step.moved_bytes,
            epoch_seconds=_sum_over(training, workload.lengths, shape.training_cost)
            + _sum_over(validation, workload.lengths, shape.validation_cost),
            encoding_seconds=encoding_seconds,
        )

    def encoding_peak_bytes(self, backbone: str) -> int:
        """Peak of encoding with this backbone on the card."""
        return self._encoding_of(backbone).peak_bytes

    def _workload(self, config: HeadConfig | ScratchConfig) -> Workload:
        if isinstance(config, HeadConfig):
            return self._backbone_workloads[config.backbone]
        return self._scratch_workload(config.vocabulary)[0]

    def _limit(self, config: HeadConfig | ScratchConfig) -> int:
        """Tokens of the longest note that the model can meet."""
        if isinstance(config, HeadConfig):
            return min(self.max_tokens, self._backbones[config.backbone].max_tokens)
        return self.max_tokens

    def _network(self, config: HeadConfig | ScratchConfig) -> Callable[[], nn.Module]:
        if isinstance(config, HeadConfig):
            width = self._backbones[config.backbone].width
            return lambda: HeadModel(width, self.classes, config)
        vocabulary = self._scratch_workload(config.vocabulary)[1]
        return lambda: ScratchModel(config, vocabulary, self.classes, self.max_tokens)

    def _inputs(self, config: HeadConfig | ScratchConfig, notes: int, tokens: int) -> Any:
        def make() -> tuple[Tensor, ...]:
            mask = torch.ones(notes, tokens, dtype=torch.bool)
            if isinstance(config, HeadConfig):
                width = self._backbones[config.backbone].width
                return torch.zeros(notes, tokens, width), mask
            return torch.zeros(notes, tokens, dtype=torch.int64), mask

        return make

    def _trace_shape(self, config: HeadConfig | ScratchConfig) -> "_Shape":
        build = self._network(config)
        batch = config.optimisation.batch_size

        def loss(output: Any) -> Tensor:
            target = torch.zeros(output.logits.shape[0], dtype=torch.int64)
            return F.cross_entropy(output.logits, target) + output.balance_loss

        limit = self._limit(config)
        lengths = _probe_lengths(limit)
        training = trace_training(build, self._inputs(config, batch, limit), loss, **self._rates)
        gradients = [
            trace_gradients(build, self._inputs(config, batch, tokens), loss, **self._rates).seconds
            for tokens in lengths[:-1]
        ]
        gradients.append(training.step.seconds - training.update_seconds)
        validation = trace_inference(
            build, self._inputs(config, self.batch_limit, limit), **self._rates
        )
        curve = _parabola(lengths, gradients)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in build().parameters())
        return _Shape(
            step=training.step,
            peak_bytes=max(training.step.peak_bytes, validation.peak_bytes),
            parameters=parameters,
            training_cost=_plus(curve, training.update_seconds),
            # A forward pass grows with the length as the whole step does.
            validation_cost=curve * (validation.seconds / gradients[-1]),
        )

    def _trace_encoding(self, backbone: str) -> "_Encoding":
        shape = self._backbones[backbone]
        workload = self._backbone_workloads[backbone]
        lengths = _probe_lengths(min(self.max_tokens, shape.max_tokens))

        def inputs(tokens: int) -> Callable[[], dict[str, Tensor]]:
            return lambda: {
                "input_ids": torch.zeros(ENCODING_NOTES, tokens, dtype=torch.int64),
                "attention_mask": torch.ones(ENCODING_NOTES, tokens, dtype=torch.int64),
            }

        traces = [trace_inference(shape.build, inputs(t), **self._rates) for t in lengths]
        everything = evaluation_batches(
            np.arange(len(workload.lengths)), workload.lengths, batch_size=ENCODING_NOTES
        )
        with torch.device("meta"):
            parameters = sum(p.numel() for p in shape.build().parameters())
        return _Encoding(
            peak_bytes=traces[-1].peak_bytes,
            parameters=parameters,
            seconds=_sum_over(
                everything, workload.lengths, _parabola(lengths, [t.seconds for t in traces])
            ),
        )


@dataclass(frozen=True, slots=True)
class _Shape:
    step: Trace  # a training step at the worst batch
    peak_bytes: int
    parameters: int
    training_cost: np.ndarray  # polynomial: padded tokens of a note -> seconds a batch
    validation_cost: np.ndarray


@dataclass(frozen=True, slots=True)
class _Encoding:
    peak_bytes: int
    parameters: int
    seconds: float


def _shape_alone(config: HeadConfig | ScratchConfig) -> HeadConfig | ScratchConfig:
    """The config with everything reset that does not change a tensor's shape."""
    optimisation = Optimisation(batch_size=config.optimisation.batch_size)
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


def _whether(dropout: float) -> float:
    return 0.1 if dropout > 0 else 0.0


def _probe_lengths(max_tokens: int) -> list[int]:
    return sorted({max(1, max_tokens // 4), max(1, max_tokens // 2), max_tokens})


def _parabola(lengths: list[int], seconds: list[float]) -> np.ndarray:
    return np.polyfit(lengths, seconds, deg=len(lengths) - 1)


def _plus(polynomial: np.ndarray, constant: float) -> np.ndarray:
    shifted = polynomial.copy()
    shifted[-1] += constant
    return shifted


def _sum_over(batches: list[np.ndarray], lengths: np.ndarray, cost: np.ndarray) -> float:
    """Seconds of all batches, each padded to its longest note."""
    longest = np.array([lengths[batch].max() for batch in batches])
    return float(np.polyval(cost, longest).clip(min=0).sum())
