"""Encoders with random weights at a size, and a corpus of numbers to train them on.

The small size is that of `benchmarks`, so its configs serve here too; the other is BERT-base's.
Nothing is read from disk, and nothing of a real note is in it.
"""

import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import CamembertConfig

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, Optimiser, ScratchConfig
from headhunt.spaces.heads import GrnHead, LinearHead
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.card.cards import Card
from headhunt.trainables.card.footprint import BackboneShape, Footprinter, Workload
from headhunt.trainables.card.trace import TrainingTrace
from headhunt.trainables.models.backbones import empty_encoder
from headhunt.trainables.models.classifier import HeadModel, as_read
from headhunt.trainables.models.finetuned import TunedModel
from headhunt.trainables.models.scratch import ScratchModel
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.loop import Task

CLASSES = 2
NetConfig = HeadConfig | ScratchConfig
Traces = dict[NetConfig, TrainingTrace]


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is."""

    backbone: str  # the name that configs carry
    layers: int
    width: int
    attention_heads: int
    vocabulary: int  # words
    tokens: int  # of the longest note
    notes: int = 8  # of a batch at most

    def encoder_config(self) -> CamembertConfig:
        """Its shape alone."""
        return CamembertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.attention_heads,
            intermediate_size=4 * self.width,
            max_position_embeddings=self.tokens + 2,
            type_vocab_size=1,
            pad_token_id=1,
        )

    def encoder(self) -> Any:
        """With random weights; only the caller may use it."""
        return copy.deepcopy(_encoder(self))

    def network(self, config: NetConfig) -> nn.Module:
        """The config's, with random weights."""
        if isinstance(config, ScratchConfig):
            return ScratchModel(config, config.vocabulary, CLASSES, self.tokens)
        if config.mode is Mode.FROZEN:
            return HeadModel(self.width, CLASSES, config)
        return TunedModel(self.encoder(), CLASSES, config)

    def footprinter(
        self, card: Card, workload: Workload | None = None, traces: Traces | None = None
    ) -> Footprinter:
        """Footprints at this size; by default of notes that are all as long as they may be.

        Those of several cards may share their traces: work knows no card.
        """
        if workload is None:
            ends = np.arange(4 * self.notes), np.arange(self.notes)
            workload = Workload(np.full(4 * self.notes, self.tokens), *ends)
        known = workload
        shape = BackboneShape(
            self.backbone, self.width, self.tokens, lambda: empty_encoder(self.encoder_config())
        )
        return _Traced(
            {} if traces is None else traces,
            card,
            classes=CLASSES,
            max_tokens=self.tokens,
            batch_limit=self.notes,
            backbones={self.backbone: shape},
            backbone_workloads={self.backbone: known},
            scratch_workload=lambda vocabulary: (known, vocabulary),
        )

    def settings(self, epochs: int) -> TrainingSettings:
        """Of a training without an early end."""
        return TrainingSettings(
            max_epochs=epochs,
            patience=0,
            batch_limit=self.notes,
            max_tokens=self.tokens,
            keep_weights=False,
        )

    def task(self, config: NetConfig, workload: Workload) -> Task:
        """Notes of the workload's lengths, with nothing to learn in them."""
        total = int(workload.lengths.sum())
        frozen = isinstance(config, HeadConfig) and config.mode is Mode.FROZEN
        rows = (
            torch.zeros(total, self.width, dtype=torch.float16)
            if frozen
            else torch.full((total,), 5, dtype=torch.int32)
        )
        offsets = np.concatenate([[0], np.cumsum(workload.lengths)])
        labels = np.arange(len(workload.lengths)) % CLASSES
        inputs = as_read(config, Ragged(rows, offsets))
        return Task(inputs, labels, CLASSES, workload.training, workload.validation)

    def worst_workload(self) -> Workload:
        """Notes up to the longest, no two alike, so that masks are needed."""
        count = 4 * self.notes
        lengths = self.tokens - np.arange(count) % (count - self.notes)
        order = np.arange(count)
        return Workload(lengths, order[: -self.notes], order[-self.notes :])

    def mixed_workload(self, training: int, validation: int) -> Workload:
        """Notes from a quarter of the longest on."""
        generator = np.random.default_rng(0)
        lengths = generator.integers(self.tokens // 4, self.tokens + 1, size=training + validation)
        order = np.arange(len(lengths))
        return Workload(lengths, order[:training], order[training:])


class _Traced(Footprinter):
    """Footprints whose traces others may have made."""

    def __init__(self, traces: Traces, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._traces = traces

    def _trace(self, config: NetConfig) -> TrainingTrace:
        if config not in self._traces:
            self._traces[config] = super()._trace(config)
        return self._traces[config]


@lru_cache(maxsize=4)
def _encoder(scale: Scale) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return empty_encoder(scale.encoder_config())


SMALL = Scale("small", layers=4, width=128, attention_heads=4, vocabulary=2000, tokens=128)
BASE = Scale("base", layers=12, width=768, attention_heads=12, vocabulary=32_005, tokens=256)


def large_configs(backbone: str) -> list[tuple[str, HeadConfig]]:
    """Of each mode some, with what makes it fit on a small card."""
    plain = HeadConfig(backbone=backbone, head=LinearHead())
    last = replace(plain, mode=Mode.LAST_K, last_k=2)
    full = replace(plain, mode=Mode.FULL)
    lora = replace(plain, mode=Mode.LORA, lora_rank=8, lora_alpha=16)
    one_note = Optimisation(batch_size=1, accumulation=8, optimiser=Optimiser.SGD)
    adafactor = Optimisation(optimiser=Optimiser.ADAFACTOR)
    return [
        ("frozen, grn head", replace(plain, head=GrnHead())),
        ("last 2 layers, adamw", last),
        ("lora, adamw", lora),
        ("lora, adamw, checkpointing", replace(lora, checkpointing=True)),
        ("full, adamw", full),
        ("full, adamw, checkpointing", replace(full, checkpointing=True)),
        ("full, sgd, 1 note x 8", replace(full, optimisation=one_note)),
        ("full, adafactor", replace(full, optimisation=adafactor)),
    ]
