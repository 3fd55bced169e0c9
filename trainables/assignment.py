"""What a trial is told: its number, its config, its seed, and where it goes on.

It crosses from the driver to a worker as JSON, so that nothing executes from it.
"""

import json
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..spaces.configs import Config, config_from_dict, config_to_dict
from ..spaces.record import Replicate
from ..spaces.together import shared_shape
from .notes.corpus import Corpus
from .notes.portion import portion
from .training.states import StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One trial as a worker receives it."""

    number: int
    config: Config
    seed: int  # from (study seed, trial number, replicate)
    known_epochs: int = 0  # epochs whose reports the study already holds
    replicate: Replicate | None = None  # of a confirmation: it is scored on test at its end

    def to_json(self) -> str:
        """As text; `from_json` is its inverse."""
        again = self.replicate.to_dict() if self.replicate else None
        plain = {**_plain(self), "replicate": again}
        return json.dumps({**plain, "config": config_to_dict(self.config)})

    @classmethod
    def from_json(cls, text: str) -> "Assignment":
        """The assignment that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["config"] = config_from_dict(values["config"])
        values["replicate"] = Replicate(**values["replicate"]) if values["replicate"] else None
        return cls(**values)


def _plain(assignment: Assignment) -> dict[str, Any]:
    values = {name: getattr(assignment, name) for name in Assignment.__slots__}
    values.pop("config")
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """What the study, not the config, settles about a trial's training."""

    max_epochs: int  # and the length of the learning-rate schedule
    patience: int  # epochs without a better F1 after which a trial ends; 0: never
    batch_limit: int  # notes a step, and a validation batch, at most
    max_tokens: int  # tokens of a note at most
    min_document_frequency: int = 1  # patients whose notes a word must be in to be learned
    keep_weights: bool = True  # write the best epoch's weights beside the checkpoint
    epochs: int | None = None  # trained, whatever they score; None: `max_epochs` and `patience` say


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Where a worker finds what it trains on, and where it leaves its state."""

    settings: TrainingSettings
    states: StateStore  # where trials' states are kept
    cache: Path  # the store's confidential folder; scratch tokens are made in it when first wanted
    features: dict[str, Path]  # backbone -> folder of its encoded corpus
    tokens: dict[str, Path] = field(default_factory=dict)  # backbone -> the corpus in its tokens
    folders: dict[str, Path] = field(default_factory=dict)  # backbone -> where it lies, if told so
    limit_bytes: int | None = None  # that a trial may take: what the card leaves; None: no card
    seed: int = 0  # of the study: which notes a share of them has

    def place_of(self, backbone: str) -> str:
        """What finds the backbone whatever folder the worker stands in."""
        return str(self.folders.get(backbone, backbone))


def lesson_of(
    assignment: Assignment, corpus: Corpus, materials: Materials
) -> tuple[Corpus, TrainingSettings]:
    """What a trial learns from and for how long: the study's own, but for a confirming trial."""
    again = assignment.replicate
    if again is None:
        return corpus, materials.settings
    learned = portion(
        corpus,
        share=again.train_fraction,
        with_validation=again.with_validation,
        seed=materials.seed,
    )
    return learned, replace(materials.settings, epochs=again.epochs)


def shape_of(config: Config, again: Replicate | None) -> Hashable | None:
    """What trials must have in common to be trained together; None: it is trained alone."""
    shape = shared_shape(config)
    if shape is None or again is None:
        return shape
    return shape, again.train_fraction, again.with_validation, again.epochs
