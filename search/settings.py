"""What a search is asked: what a study is made with, and what a run of it is told."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..spaces import comparison
from ..stores import Place
from ..trainables.assignment import TrainingSettings
from ..trainables.notes.corpus import Columns, Corpus, read_corpus
from .plan import Budget

MOST_HOURS = 1_000_000
MOST_SLOTS = 100_000
# Options with numbers, and the most that they may be: above it they are slips of the hand.
MOST = {
    "max_epochs": 100_000,
    "patience": 100_000,
    "max_tokens": 1_000_000,
    "batch_limit": 100_000,
    "slots": MOST_SLOTS,
    "together": 10_000,
}
MOST_OF_BUDGET = {
    "trials": 1_000_000_000,
    "card_hours": MOST_HOURS,
    "gpu_hours": MOST_HOURS,
    "wall_hours": MOST_HOURS,
    "stop_margin": 1,  # of F1
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a study is made with, and cannot change when it goes on."""

    space: str = "heads"
    backbones: tuple[str, ...] = ()
    objective: tuple[str, ...] = ("f1",)
    sampler: str = "tpe"
    seed: int = 0
    max_epochs: int = 10
    patience: int = 4  # epochs without a better F1; 0: never stop early
    rungs: bool = True
    card: str = "p620"
    max_tokens: int = 256
    batch_limit: int = 8
    precision: str = "auto"  # of the encoding: auto | fp32 | bf16
    conflicting: str = "keep"  # identical texts with different labels: keep | drop
    train_fraction: float = 1.0
    min_document_frequency: int = 1  # patients whose notes a word must be in to be learned
    text_column: str = "text"
    label_column: str = "label"
    patient_column: str = "patient_id"
    split_column: str = "split"
    checkpoints: str = ""  # folder or fsspec URL of trials' states; "": in the study's own folder

    @classmethod
    def stored(cls, manifest: Mapping[str, Any]) -> "Settings":
        """What a study was made with; one from before an option was has its default."""
        values = {**asdict(cls()), **manifest["settings"]}
        for name in ("backbones", "objective"):
            values[name] = tuple(values[name])
        return cls(**values)

    @property
    def columns(self) -> Columns:
        """Of the notes."""
        return Columns(
            text=self.text_column,
            label=self.label_column,
            patient=self.patient_column or None,
            split=self.split_column or None,
        )

    @property
    def training(self) -> TrainingSettings:
        """What of them a trial's training needs."""
        return TrainingSettings(
            max_epochs=self.max_epochs,
            patience=self.patience,
            batch_limit=self.batch_limit,
            max_tokens=self.max_tokens,
            min_document_frequency=self.min_document_frequency,
        )

    def read_corpus(self, notes: Path) -> Corpus:
        """The corpus that a study on this file has.

        Raises:
            CorpusError: all that is wrong with the file.
        """
        return read_corpus(
            notes,
            columns=self.columns,
            conflicting=self.conflicting,
            seed=self.seed,
            train_fraction=self.train_fraction,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for; None among the settings is what was not said."""

    notes: Path
    study: str
    store: Place
    resume: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)  # settings that were named
    budget: Budget = field(default_factory=Budget)
    slots: int | None = None
    together: int = 1  # heads of one shape that a worker trains in one pass, at most
    mps: bool = False  # hold workers to their share of a device by NVIDIA's MPS
    address: str | None = None
    allow_open: bool = False  # use a Ray that asks nobody for a token


def usual(space: str) -> dict[str, Any]:
    """What a study of this space is made with where it is not said, and other spaces' are not.

    A comparison has no rungs: a model whose trials were all pruned would be a row without a score.
    """
    if space != comparison.NAME:
        return {}
    return {"backbones": comparison.ENCODERS, "rungs": False}


def comparison_problems(settings: Settings) -> list[str]:
    """Bounds of the study's comparison that are passed."""
    if settings.space != comparison.NAME:
        return []
    bounds = {"batch_limit": comparison.MOST_NOTES, "max_tokens": comparison.MOST_TOKENS}
    return [
        f"{option_name(name)} must be at most {most} in the space {comparison.NAME!r}, as in the "
        f"study; got {told(value)}: leave it out, or search another space"
        for name, most in bounds.items()
        if (value := getattr(settings, name)) > most
    ]


def told(value: object) -> str:
    """A value for a message, cut where it is absurdly long."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def most_problems(values: Mapping[str, Any], most: Mapping[str, float]) -> list[str]:
    """Options that are above what they may be."""
    return [
        f"{option_name(name)} must be at most {limit:,}; got {told(values[name])}"
        for name, limit in most.items()
        if values[name] is not None and values[name] > limit
    ]


def budget_problems(budget: Budget) -> list[str]:
    """Numbers of a budget that are none."""
    values = asdict(budget)
    return [
        f"{option_name(name)} must be a positive number; got {told(value)}"
        for name, value in values.items()
        if value is not None and not 0 < value < math.inf
    ] + most_problems(
        {name: None if v == math.inf else v for name, v in values.items()}, MOST_OF_BUDGET
    )


def option_name(field: str) -> str:
    """How the command line calls it."""
    return f"--{field.replace('_', '-')}"
