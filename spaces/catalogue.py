"""The spaces that a search can be asked for by name: functions from an Optuna trial to a config.

Parameter names are unique within a space, and a conditional parameter is an `if`: TPE with
`group=True` models each branch. A space of your own is any function of the same form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import BaseTrial

from .comparison import (
    ASKED,
    LORA,
    NAME,
    structures,
    suggest_mode,
    suggest_step,
)
from .configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    Mode,
    Optimisation,
    Pooling,
    ScratchConfig,
)
from .finetune import TRAINED_MODES, finetuned_references, suggest_finetuned
from .heads import HEADS

SCRATCH_MODELS = ("transformer", "moe")
CONTROLS = (BaselineConfig(model="tfidf_lr"), BaselineConfig(model="tfidf_mlp"))
USUAL_TRIALS = 40  # of a search that names no budget
# Of a study's steps: half an epoch of ten, an epoch of twenty. A trial that still warms up at the
# first rung is stopped there for no fault of its own (decision 31).
LONGEST_WARMUP, USUAL_WARMUP = 0.05, 0.02


@dataclass(frozen=True, slots=True)
class SpaceOptions:
    """What a study settles before its space is searched."""

    backbones: tuple[str, ...] = ()  # those that heads may stand on
    batch_limit: int = 8  # notes in memory at once; the study's card held 8
    layers: int = 12  # of the shallowest backbone: no more of them can train


@dataclass(frozen=True, slots=True)
class Space:
    """What may vary, where a search starts in it, and what controls it."""

    name: str
    suggest: Callable[[BaseTrial], Config]
    references: tuple[Mapping[str, Any], ...] = ()  # tried first; what they leave out is sampled
    asked: tuple[Mapping[str, Any], ...] = ()  # likewise, then: parts of what the sampler proposes
    controls: tuple[Config, ...] = CONTROLS  # run before all else, unknown to the sampler
    modes: frozenset[Mode] = frozenset(Mode)  # that its heads may ask for: decides what is encoded
    usual_trials: int = USUAL_TRIALS  # where no budget is named

    @property
    def first_trials(self) -> int:
        """Trials that it names before the sampler is free; those that do not fit among them."""
        return len(self.controls) + len(self.references) + len(self.asked)


def batch_sizes(limit: int) -> list[int]:
    """The batch sizes that a search tries: the limit and its halves, three at most.

    >>> batch_sizes(8), batch_sizes(1)
    ([2, 4, 8], [1])
    """
    sizes = [limit]
    while len(sizes) < 3 and sizes[0] > 1:
        sizes.insert(0, sizes[0] // 2)
    return sizes


def suggest_optimisation(
    trial: BaseTrial, prefix: str, *, rates: tuple[float, float], batch_limit: int
) -> Optimisation:
    """Learning rate, weight decay, warm-up, batch size and class weights."""
    return Optimisation(
        learning_rate=trial.suggest_float(f"{prefix}_learning_rate", *rates, log=True),
        weight_decay=trial.suggest_float(f"{prefix}_weight_decay", 1e-4, 1e-1, log=True),
        warmup_share=trial.suggest_float(f"{prefix}_warmup_share", 0.0, LONGEST_WARMUP),
        batch_size=trial.suggest_categorical(f"{prefix}_batch_size", batch_sizes(batch_limit)),
        class_weights=trial.suggest_categorical(f"{prefix}_class_weights", [False, True]),
    )


def suggest_head(trial: BaseTrial, kind: str, options: SpaceOptions) -> HeadConfig:
    """A head of this kind on one of the study's backbones."""
    backbones = list(options.backbones)
    several = len(backbones) > 1
    return HeadConfig(
        backbone=trial.suggest_categorical("backbone", backbones) if several else backbones[0],
        head=HEADS[kind].suggest(trial),
        pooling=Pooling(trial.suggest_categorical("pooling", [p.value for p in Pooling])),
        dropout=trial.suggest_float("head_dropout", 0.0, 0.5),
        optimisation=suggest_optimisation(
            trial, "head", rates=(1e-4, 1e-2), batch_limit=options.batch_limit
        ),
    )


def suggest_scratch(trial: BaseTrial, model: str, options: SpaceOptions) -> ScratchConfig:
    """A small Transformer around the probable templates: 1 block, 2 heads, width 32."""
    moe = model == "moe"
    return ScratchConfig(
        model=model,
        blocks=trial.suggest_int("blocks", 1, 2),
        attention_heads=trial.suggest_categorical("attention_heads", [2, 4]),
        width=trial.suggest_categorical("width", [32, 64, 128]),
        feed_forward=trial.suggest_categorical("feed_forward", [32, 64, 128]),
        dropout=trial.suggest_float("block_dropout", 0.0, 0.3),
        classifier_dropout=trial.suggest_float("classifier_dropout", 0.0, 0.5),
        vocabulary=trial.suggest_categorical("vocabulary", [5_000, 20_000]),
        pooling=Pooling(trial.suggest_categorical("scratch_pooling", ["mean", "max", "attention"])),
        experts=trial.suggest_categorical("experts", [4, 10]) if moe else 0,
        optimisation=suggest_optimisation(
            trial, "scratch", rates=(3e-4, 1e-2), batch_limit=options.batch_limit
        ),
    )


def suggest_baseline(trial: BaseTrial) -> BaselineConfig:
    """Terms and regularisation of the baselines."""
    model = trial.suggest_categorical("model", ["tfidf_lr", "tfidf_mlp"])
    ngrams = trial.suggest_int("ngrams", 1, 3)
    min_notes = trial.suggest_int("min_notes", 1, 5)
    if model == "tfidf_lr":
        return BaselineConfig(
            model=model,
            ngrams=ngrams,
            min_notes=min_notes,
            inverse_regularisation=trial.suggest_float(
                "inverse_regularisation", 0.1, 1e2, log=True
            ),
            balanced=trial.suggest_categorical("balanced", [False, True]),
        )
    return BaselineConfig(
        model=model,
        ngrams=ngrams,
        min_notes=min_notes,
        hidden=trial.suggest_int("hidden", 16, 128, log=True),
        learning_rate=trial.suggest_float("mlp_learning_rate", 1e-4, 1e-2, log=True),
        features=trial.suggest_categorical("features", [5_000, 20_000]),
    )


def _scratch_reference(model: str, batch_limit: int) -> dict[str, Any]:
    reference = {
        "model": model,
        "blocks": 1,
        "attention_heads": 2,
        "width": 32,
        "feed_forward": 32,
        "block_dropout": 0.1,
        "classifier_dropout": 0.25 if model == "moe" else 0.1,
        "vocabulary": 20_000,
        "scratch_pooling": "mean",
        "scratch_learning_rate": 1e-3,
        "scratch_weight_decay": 0.01,
        "scratch_warmup_share": USUAL_WARMUP,
        "scratch_batch_size": batch_limit,
        "scratch_class_weights": False,
    }
    return reference | ({"experts": 10} if model == "moe" else {})


def _head_reference(kind: str, options: SpaceOptions) -> dict[str, Any]:
    return {
        "model": kind,
        **_on(options.backbones[0], options),
        **HEADS[kind].reference,
        **_frozen_reference(options.batch_limit),
    }


def _on(backbone: str, options: SpaceOptions) -> dict[str, str]:
    """The choice of this backbone, where there is one."""
    return {"backbone": backbone} if len(options.backbones) > 1 else {}


def _frozen_reference(batch_limit: int) -> dict[str, Any]:
    return {
        "pooling": "mean",
        "head_dropout": 0.1,
        "head_learning_rate": 1e-3,
        "head_weight_decay": 0.01,
        "head_warmup_share": USUAL_WARMUP,
        "head_batch_size": batch_limit,
        "head_class_weights": False,
    }


def _networks(name: str, models: tuple[str, ...], options: SpaceOptions) -> Space:
    """The space over these heads and scratch models; each one's reference is tried first."""

    def suggest(trial: BaseTrial) -> Config:
        model = trial.suggest_categorical("model", list(models))
        if model in HEADS:
            return suggest_head(trial, model, options)
        return suggest_scratch(trial, model, options)

    references = tuple(
        _head_reference(m, options) if m in HEADS else _scratch_reference(m, options.batch_limit)
        for m in models
    )
    return Space(name, suggest, references, modes=frozenset({Mode.FROZEN}))


def heads_space(options: SpaceOptions) -> Space:
    """Heads on the study's backbones, with their dimensions, pooling and optimisation."""
    return _networks("heads", tuple(HEADS), options)


def finetune_space(options: SpaceOptions) -> Space:
    """Heads on backbones that train: last layers, all of it, or LoRA, made to fit."""
    given: dict[str, Any] = {
        "backbones": options.backbones,
        "batch_limit": options.batch_limit,
        "layers": options.layers,
    }

    def suggest(trial: BaseTrial) -> Config:
        kind = trial.suggest_categorical("model", list(HEADS))
        mode = Mode(trial.suggest_categorical("mode", [m.value for m in TRAINED_MODES]))
        return suggest_finetuned(trial, kind, mode, **given)

    references = finetuned_references(**given)
    return Space("finetune", suggest, references, modes=frozenset(TRAINED_MODES))


def scratch_space(options: SpaceOptions) -> Space:
    """The two small Transformers trained from nothing."""
    return _networks("scratch", SCRATCH_MODELS, options)


def baselines_space(options: SpaceOptions) -> Space:
    """TF-IDF with logistic regression or an MLP."""
    del options
    return Space("baselines", suggest_baseline)


def all_space(options: SpaceOptions) -> Space:
    """Every head and both scratch models, beside the baselines."""
    return _networks("all", (*HEADS, *SCRATCH_MODELS), options)


def study_space(options: SpaceOptions) -> Space:
    """The study's comparison: every structure by mode on each encoder, and both scratch models.

    Each is tried once as its official code has it; then what that leaves with one trial alone is
    asked for twice more.
    """
    tuned: dict[str, Any] = {
        "backbones": options.backbones,
        "batch_limit": options.batch_limit,
        "layers": options.layers,
        "suggest_step": suggest_step,
    }
    models = (*HEADS, LORA, *SCRATCH_MODELS)

    def suggest(trial: BaseTrial) -> Config:
        model = trial.suggest_categorical("model", list(models))
        if model in SCRATCH_MODELS:
            return suggest_scratch(trial, model, options)
        kind, mode = suggest_mode(trial, model)
        if mode is Mode.FROZEN:
            return suggest_head(trial, kind, options)
        return suggest_finetuned(trial, kind, mode, **tuned)

    scratch = [_scratch_reference(model, options.batch_limit) for model in SCRATCH_MODELS]
    shared = {Mode.FROZEN: _frozen_reference(options.batch_limit)}
    heads = [
        {**reference, **shared.get(mode, {}), **_on(backbone, options)}
        for mode, reference in structures(batch_limit=options.batch_limit, layers=options.layers)
        for backbone in options.backbones
    ]
    seldom = [{"model": LORA, **_on(backbone, options)} for backbone in options.backbones]
    space = Space(
        NAME,
        suggest,
        references=(*scratch, *heads),
        asked=(*seldom, *({"model": model} for model in SCRATCH_MODELS)) * ASKED,
    )
    return replace(space, usual_trials=2 * space.first_trials)


SPACES: dict[str, Callable[[SpaceOptions], Space]] = {
    "heads": heads_space,
    "finetune": finetune_space,
    "scratch": scratch_space,
    "baselines": baselines_space,
    "all": all_space,
    NAME: study_space,
}
NEEDS_BACKBONE = frozenset({"heads", "finetune", "all", NAME})
