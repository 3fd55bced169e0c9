"""One trial's choices, as frozen dataclasses, with the way to JSON and back and the hash.

A config says what is trained and how. What belongs to the study (corpus, card, maximum of epochs,
length limit) is not in it, so that rungs compare like with like.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any, ClassVar

from .heads import HEADS, HeadSettings


class Pooling(StrEnum):
    """How a note's token states become one vector; never over padding."""

    FIRST = "first"
    MEAN = "mean"
    MAX = "max"
    ATTENTION = "attention"


class Mode(StrEnum):
    """How the backbone trains."""

    FROZEN = "frozen"  # not at all: the head reads states that were computed once
    LAST_K = "last_k"  # its last layers
    FULL = "full"  # all of it, embeddings included
    LORA = "lora"  # low-rank additions to its attention, itself unchanged


class Optimiser(StrEnum):
    """What takes the steps; they differ most in what they remember a parameter."""

    ADAMW = "adamw"  # two numbers a parameter
    SGD = "sgd"  # with momentum: one number a parameter
    ADAFACTOR = "adafactor"  # a row and a column a matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimisation:
    """How a network is trained: linear warm-up and decay to zero, whatever the optimiser.

    A step is taken after `accumulation` micro-batches, so the effective batch is
    `batch_size * accumulation` notes, with the memory of `batch_size`.
    """

    learning_rate: float = 1e-3  # peak rate; adafactor takes it times a matrix's own size
    weight_decay: float = 0.01
    warmup_share: float = 0.1  # of the study's optimiser steps, in [0, 1)
    batch_size: int = 8  # notes a micro-batch: what is in memory at once
    class_weights: bool = False  # weigh the loss by inverse class frequency
    optimiser: Optimiser = Optimiser.ADAMW
    accumulation: int = 1  # micro-batches a step, at least 1

    def __post_init__(self) -> None:
        if self.accumulation < 1 or self.batch_size < 1:
            raise ValueError(
                f"a step needs batch_size >= 1 and accumulation >= 1; got {self.batch_size=} and "
                f"{self.accumulation=}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """A head on a backbone's last hidden states, and how the backbone under it trains.

    What a mode does not read must stay at its default: equal trials would hash differently.
    """

    kind: ClassVar[str] = "head"
    backbone: str  # a known name, a Hugging Face id or a local directory, as the user gave it
    mode: Mode = Mode.FROZEN
    head: HeadSettings
    pooling: Pooling = Pooling.MEAN
    dropout: float = 0.1  # before the classifier, in [0, 1)
    optimisation: Optimisation = field(default_factory=Optimisation)
    last_k: int = 0  # last_k only: layers that train, counted from the top
    lora_rank: int = 0  # lora only: width of the additions
    lora_alpha: int = 0  # lora only: the additions are scaled by lora_alpha / lora_rank
    checkpointing: bool = False  # not frozen: compute activations twice, keep a layer's at a time

    def __post_init__(self) -> None:
        wanted = {
            "last_k": self.mode is Mode.LAST_K,
            "lora_rank": self.mode is Mode.LORA,
            "lora_alpha": self.mode is Mode.LORA,
        }
        wrong = [name for name, used in wanted.items() if (getattr(self, name) > 0) is not used]
        if self.checkpointing and self.mode is Mode.FROZEN:
            wrong.append("checkpointing")
        if wrong:
            raise ValueError(
                "last_k > 0 must hold in mode last_k alone, lora_rank > 0 and lora_alpha > 0 in "
                f"mode lora alone, and frozen has no checkpointing; wrong in {self.mode=}: "
                f"{ {name: getattr(self, name) for name in wrong} }"
            )

    @property
    def model(self) -> str:
        """What the table calls it."""
        return self.head.kind

    @property
    def family(self) -> str:
        """What it may be compared with at a rung: one backbone and mode with its heads."""
        return f"{backbone_label(self.backbone)} {self.mode}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchConfig:
    """A small Transformer trained from nothing.

    The defaults are probable templates, not the paper's values, which are unknown.
    """

    kind: ClassVar[str] = "scratch"
    model: str = "transformer"  # transformer | moe
    blocks: int = 1
    attention_heads: int = 2  # must divide width
    width: int = 32
    feed_forward: int = 32
    dropout: float = 0.1  # in the blocks, in [0, 1)
    classifier_dropout: float = 0.1  # before the classifier, in [0, 1)
    vocabulary: int = 20_000  # sub-words at most; the tokenizer is trained on the training part
    pooling: Pooling = Pooling.MEAN
    experts: int = 0  # moe only
    capacity_factor: float = 1.0  # moe only: an expert takes at most this times tokens / experts
    balance_weight: float = 0.01  # moe only: weight of the load-balance loss
    router_noise: float = 0.1  # moe only: router inputs times U(1 - noise, 1 + noise) in training
    optimisation: Optimisation = field(default_factory=Optimisation)

    @property
    def family(self) -> str:
        """One scratch model is one family."""
        return f"{self.model} from scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineConfig:
    """TF-IDF with logistic regression or an MLP: the control. It uses no GPU."""

    kind: ClassVar[str] = "baseline"
    model: str = "tfidf_lr"  # tfidf_lr | tfidf_mlp
    ngrams: int = 2  # words in a term at most
    min_notes: int = 2  # notes that a term must be in
    inverse_regularisation: float = 10.0  # tfidf_lr: scikit-learn's C
    balanced: bool = True  # tfidf_lr: weigh the loss by inverse class frequency
    hidden: int = 64  # tfidf_mlp: width of the hidden layer
    learning_rate: float = 1e-3  # tfidf_mlp: Adam's rate
    features: int = 20_000  # tfidf_mlp: the most frequent terms that it sees

    @property
    def family(self) -> str:
        """All baselines are one family."""
        return "baselines"


Config = HeadConfig | ScratchConfig | BaselineConfig
_KINDS: dict[str, type[Config]] = {c.kind: c for c in (HeadConfig, ScratchConfig, BaselineConfig)}
# Fields that came after the first studies. They are written only where they say something, so that
# a config from before has the hash that its study knows it by.
_LATER_HEAD = ("last_k", "lora_rank", "lora_alpha", "checkpointing")
_LATER_OPTIMISATION = ("optimiser", "accumulation")


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as JSON values; `config_from_dict` is its inverse."""
    stored: dict[str, Any] = {"kind": config.kind, **_plain(config)}
    if isinstance(config, HeadConfig):
        stored["head"] = {"kind": config.head.kind, **stored["head"]}
        _leave_out_defaults(stored, HeadConfig, _LATER_HEAD)
    if "optimisation" in stored:
        _leave_out_defaults(stored["optimisation"], Optimisation, _LATER_OPTIMISATION)
    return stored


def _leave_out_defaults(stored: dict[str, Any], kind: type, names: tuple[str, ...]) -> None:
    defaults = {f.name: f.default for f in fields(kind)}
    for name in names:
        if stored[name] == defaults[name]:
            del stored[name]


def _plain(settings: Any) -> dict[str, Any]:
    """Fields as JSON values; 0 where a float stands is 0.0, so that equal configs hash alike."""
    values: dict[str, Any] = {}
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            value = _plain(value)
        elif entry.type in (float, "float"):
            value = float(value)
        values[entry.name] = value
    return values


def config_from_dict(stored: Mapping[str, Any]) -> Config:
    """The config that `config_to_dict` wrote.

    Raises:
        ValueError: the kind of config, or of head, is not known here.
    """
    values = dict(stored)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"a config is one of {sorted(_KINDS)}; got {kind=}")
    if "optimisation" in values:
        chosen = dict(values["optimisation"])
        chosen["optimiser"] = Optimiser(chosen.get("optimiser", Optimiser.ADAMW))
        values["optimisation"] = Optimisation(**chosen)
    if "pooling" in values:
        values["pooling"] = Pooling(values["pooling"])
    if kind == HeadConfig.kind:
        head = dict(values["head"])
        head_kind = head.pop("kind", None)
        if head_kind not in HEADS:
            raise ValueError(f"a head is one of {sorted(HEADS)}; got {head_kind=}")
        values["head"] = HEADS[head_kind].settings(**head)
        values["mode"] = Mode(values["mode"])
    return _KINDS[kind](**values)


def config_hash(config: Config) -> str:
    """Sixteen hexadecimal digits that are equal for equal configs, on every machine."""
    canonical = json.dumps(config_to_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def backbone_label(backbone: str) -> str:
    """A short name of a backbone: the last telling part of its id or of its directory.

    >>> backbone_label("almanach/camembert-bio-base"), backbone_label("/hub/minilm/model")
    ('camembert-bio-base', 'minilm')
    """
    parts = [part for part in PurePath(backbone).parts if part not in ("/", "model", "snapshots")]
    return parts[-1] if parts else backbone


def model_label(model: str, backbone: str = "", mode: str = "") -> str:
    """A model in words: a head on what, and how that trains where it does.

    >>> model_label("grn", "Dr-BERT/DrBERT-7GB", "lora"), model_label("transformer")
    ('grn on DrBERT-7GB, lora', 'transformer')
    """
    if not backbone:
        return model
    return f"{model} on {backbone_label(backbone)}{'' if mode == Mode.FROZEN else f', {mode}'}"
