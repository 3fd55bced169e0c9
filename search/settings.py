"""What a search is asked: what a study is made with, and what a run of it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..stores import Place
from .plan import Budget


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
    text_column: str = "text"
    label_column: str = "label"
    patient_column: str = "patient_id"
    split_column: str = "split"


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
