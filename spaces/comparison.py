"""The study's comparison: its encoders, what stands on them by mode, and the bounds that it states.

What the study leaves unknown is not here: it is searched, from starts that are not its values.
"""

from typing import Any

from optuna.trial import BaseTrial

from .configs import Mode
from .finetune import batch_sizes_in_memory, tuned_reference
from .heads import HEADS

NAME = "study"  # of the space
ENCODERS = (  # on the Hugging Face hub: CamemBERT-bio, DrBERT, AliBERT
    "almanach/camembert-bio-base",
    "Dr-BERT/DrBERT-7GB",
    "quinten-datalab/AliBERT-7GB",
)
MOST_NOTES = 8  # of a step
MOST_TOKENS = 256  # of a note
LORA = "lora"  # a structure of its own here: the linear head in mode lora
HEAD_MODES = (Mode.FROZEN, Mode.LAST_K, Mode.FULL)  # of all other structures
ASKED = 2  # trials more of what has one start alone: LoRA on each encoder, and the scratch models


def suggest_mode(trial: BaseTrial, model: str) -> tuple[str, Mode]:
    """The head that a structure stands for, and how the backbone under it trains."""
    if model == LORA:
        return "linear", Mode.LORA
    return model, Mode(trial.suggest_categorical("mode", [m.value for m in HEAD_MODES]))


def suggest_step(trial: BaseTrial, batch_limit: int) -> tuple[int, int]:
    """Notes of a micro-batch; a step has as many, or micro-batches up to the limit."""
    notes = trial.suggest_categorical("tuned_batch_size", batch_sizes_in_memory(batch_limit))
    whole = batch_limit // notes
    accumulates = whole > 1 and trial.suggest_categorical("accumulates", [False, True])
    return notes, whole if accumulates else 1


def structures(*, batch_limit: int, layers: int) -> list[tuple[Mode, dict[str, Any]]]:
    """The reference of each structure in each of its modes, the cheapest modes first.

    It has the values of the structure's official code, and lacks the encoder and, in mode frozen,
    what all frozen heads share.
    """
    references: list[tuple[Mode, dict[str, Any]]] = []
    for mode in (Mode.FROZEN, Mode.LORA, Mode.LAST_K, Mode.FULL):
        tuned = {}
        if mode is not Mode.FROZEN:
            tuned = tuned_reference(mode, batch_limit=batch_limit, layers=layers)
        if mode is Mode.LORA:
            references.append((mode, {"model": LORA, **tuned}))
            continue
        references += [
            (mode, {"model": kind, "mode": mode.value, **choice.reference, **tuned})
            for kind, choice in HEADS.items()
        ]
    return references
