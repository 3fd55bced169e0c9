"""Heads on a backbone that trains: its last layers, all of it, or low-rank additions to it.

Beside the mode, this is where a search chooses what makes a large model fit a small card: how many
notes are in memory at once, gradient checkpointing, and what the optimiser remembers. The frozen
mode is not here: the space `heads` is.
"""

from collections.abc import Callable, Sequence
from typing import Any

from optuna.trial import BaseTrial

from .configs import HeadConfig, Mode, Optimisation, Optimiser, Pooling
from .heads import HEADS

TRAINED_MODES = (Mode.LAST_K, Mode.FULL, Mode.LORA)
EFFECTIVE_BATCHES = (8, 16, 32)  # notes a step, about: as whole micro-batches make them up
LAST_LAYERS = (1, 2, 4)
# Peak rates. AdamW's around what BERT's and LoRA's authors used; SGD's steps are not normalised,
# and Adafactor's are a share of a matrix's own size (0.04 a number in a BERT), hence far larger.
RATES: dict[Optimiser, tuple[float, float]] = {
    Optimiser.ADAMW: (1e-5, 3e-4),
    Optimiser.SGD: (1e-3, 1e-1),
    Optimiser.ADAFACTOR: (3e-4, 1e-2),
}
LORA_FACTOR = 10.0  # additions that start at zero take larger steps


# From a trial and the batch limit: notes of a micro-batch, and micro-batches of a step.
SuggestStep = Callable[[BaseTrial, int], tuple[int, int]]


def suggest_effective_step(trial: BaseTrial, batch_limit: int) -> tuple[int, int]:
    """Notes of a micro-batch, and how many of them come nearest to a step's effective batch."""
    in_memory = trial.suggest_categorical("tuned_batch_size", batch_sizes_in_memory(batch_limit))
    effective = trial.suggest_categorical("effective_batch", effective_batches(batch_limit))
    batch_size = min(in_memory, effective)
    return batch_size, round(effective / batch_size)


def suggest_finetuned(
    trial: BaseTrial,
    kind: str,
    mode: Mode,
    *,
    backbones: Sequence[str],
    batch_limit: int,
    layers: int,
    suggest_step: SuggestStep = suggest_effective_step,
) -> HeadConfig:
    """A head of this kind on one of the backbones, which trains in this mode."""
    several = len(backbones) > 1
    rank = trial.suggest_int("lora_rank", 2, 32, log=True) if mode is Mode.LORA else 0
    return HeadConfig(
        backbone=trial.suggest_categorical("backbone", list(backbones))
        if several
        else backbones[0],
        mode=mode,
        head=HEADS[kind].suggest(trial),
        pooling=Pooling(trial.suggest_categorical("pooling", [p.value for p in Pooling])),
        dropout=trial.suggest_float("head_dropout", 0.0, 0.5),
        last_k=_suggest_last_k(trial, layers) if mode is Mode.LAST_K else 0,
        lora_rank=rank,
        lora_alpha=2 * rank,  # a scale of 2, as in the official code for RoBERTa: 16 over 8
        checkpointing=trial.suggest_categorical("checkpointing", [False, True]),
        optimisation=_suggest_optimisation(trial, mode, batch_limit, suggest_step),
    )


def finetuned_references(
    *, backbones: Sequence[str], batch_limit: int, layers: int
) -> tuple[dict[str, Any], ...]:
    """Where a search starts: the linear head in each mode. LoRA's is the study's LoRA arm."""
    step = min(n for n in effective_batches(batch_limit) if n >= batch_limit)
    shared: dict[str, Any] = {
        "model": "linear",
        **({"backbone": backbones[0]} if len(backbones) > 1 else {}),
        "effective_batch": step,
    }
    return tuple(
        {
            **shared,
            "mode": mode.value,
            **tuned_reference(mode, batch_limit=batch_limit, layers=layers),
        }
        for mode in (Mode.LORA, Mode.LAST_K, Mode.FULL)
    )


def tuned_reference(mode: Mode, *, batch_limit: int, layers: int) -> dict[str, Any]:
    """Where a mode starts, whatever the head: AdamW, and as many notes as may be in memory."""
    shared: dict[str, Any] = {
        "pooling": "mean",
        "head_dropout": 0.1,
        "checkpointing": False,
        "optimiser": Optimiser.ADAMW.value,
        "tuned_weight_decay": 0.01,
        "tuned_warmup_share": 0.1,
        "tuned_batch_size": batch_limit,
        "tuned_class_weights": False,
    }
    if mode is Mode.LORA:
        return {**shared, "lora_rank": 8, "lora_adamw_learning_rate": 5e-4}
    shared["adamw_learning_rate"] = 5e-5
    return shared | ({"last_k": last_layers(layers)[-1]} if mode is Mode.LAST_K else {})


def batch_sizes_in_memory(limit: int) -> list[int]:
    """The limit and its halves, down to one note: the smallest are what fits.

    >>> batch_sizes_in_memory(8), batch_sizes_in_memory(6)
    ([1, 2, 4, 8], [1, 3, 6])
    """
    return [limit >> halvings for halvings in reversed(range(limit.bit_length()))]


def effective_batches(limit: int) -> list[int]:
    """Notes a step that a search tries; the limit too, where it allows more than any.

    >>> effective_batches(8), effective_batches(64)
    ([8, 16, 32], [8, 16, 32, 64])
    """
    return sorted({*EFFECTIVE_BATCHES, max(limit, *EFFECTIVE_BATCHES)})


def last_layers(layers: int) -> list[int]:
    """How many layers may train in mode last_k: fewer than all.

    >>> last_layers(12), last_layers(3), last_layers(1)
    ([1, 2, 4], [1, 2], [1])
    """
    return [k for k in LAST_LAYERS if k < layers] or [1]


def _suggest_last_k(trial: BaseTrial, layers: int) -> int:
    return trial.suggest_categorical("last_k", last_layers(layers))


def _suggest_optimisation(
    trial: BaseTrial, mode: Mode, batch_limit: int, suggest_step: SuggestStep
) -> Optimisation:
    optimiser = Optimiser(trial.suggest_categorical("optimiser", [o.value for o in Optimiser]))
    low, high = RATES[optimiser]
    name = f"{optimiser.value}_learning_rate"
    if mode is Mode.LORA:  # a parameter of its own: one name has one range
        low, high, name = LORA_FACTOR * low, LORA_FACTOR * high, f"lora_{name}"
    batch_size, accumulation = suggest_step(trial, batch_limit)
    return Optimisation(
        learning_rate=trial.suggest_float(name, low, high, log=True),
        weight_decay=trial.suggest_float("tuned_weight_decay", 1e-4, 1e-1, log=True),
        warmup_share=trial.suggest_float("tuned_warmup_share", 0.0, 0.3),
        batch_size=batch_size,
        class_weights=trial.suggest_categorical("tuned_class_weights", [False, True]),
        optimiser=optimiser,
        accumulation=accumulation,
    )
