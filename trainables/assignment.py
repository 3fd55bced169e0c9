"""What a trial is told: its number, its config, its seed, and where it goes on.

It crosses from the driver to a worker as JSON, so that nothing executes from it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..spaces.configs import Config, config_from_dict, config_to_dict
from .training.states import StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One trial as a worker receives it."""

    number: int
    config: Config
    seed: int  # from (study seed, trial number, replicate)
    known_epochs: int = 0  # epochs whose reports the study already holds

    def to_json(self) -> str:
        """As text; `from_json` is its inverse."""
        return json.dumps({**_plain(self), "config": config_to_dict(self.config)})

    @classmethod
    def from_json(cls, text: str) -> "Assignment":
        """The assignment that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "config": config_from_dict(values["config"])})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Where a worker finds what it trains on, and where it leaves its state."""

    settings: TrainingSettings
    states: StateStore  # where trials' states are kept
    cache: Path  # the store's confidential folder; scratch tokens are made in it when first wanted
    features: dict[str, Path]  # backbone -> folder of its encoded corpus
    tokens: dict[str, Path] = field(default_factory=dict)  # backbone -> the corpus in its tokens
    limit_bytes: int | None = None  # that a trial may take: what the card leaves; None: no card
