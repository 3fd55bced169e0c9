"""What of a study may leave the lab, named field by field and column by column.

What is not named here stays at home, so whatever a study records from some day on is left out until
somebody decides about it. Values are held to a form as well: no text gets through that could be a
path, a machine, or a person's words. Reading a bundle goes by the same list, for it may be forged.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from ..spaces.catalogue import SCRATCH_MODELS, SPACES
from ..spaces.configs import Mode, Optimiser, Pooling
from ..spaces.heads import HEADS
from ..spaces.ranges import BASELINES
from ..spaces.record import Role, State

LONGEST = 200  # characters of a text
OWN_SPACE = "own"  # a space from somebody's own file
CORPUS_HASH = "digest"  # in the manifest's corpus: shared if asked for

# Encoders that everybody may name: those with a name in headhunt, and their ids on the hub.
PUBLIC_BACKBONES = frozenset(
    {
        *("minilm", "camembert-bio", "drbert", "alibert"),
        *("almanach/camembert-bio-base", "Dr-BERT/DrBERT-7GB", "quinten-datalab/AliBERT-7GB"),
    }
)

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Something short that a terminal can show."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


def _is_number(value: Any) -> bool:
    """Or a yes or no, or nothing."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _is_time(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _like(pattern: str) -> Check:
    form = re.compile(pattern, re.ASCII)
    return lambda value: is_text(value) and form.fullmatch(value) is not None


def _one_of(values: Iterable[str]) -> Check:
    known = frozenset(map(str, values))
    return lambda value: isinstance(value, str) and value in known


def _all_are(check: Check) -> Check:
    return lambda values: isinstance(values, list) and all(map(check, values))


_is_word = _like(r"[a-z][a-z0-9-]{0,30}")
_is_version = _like(r"\d[\d.]*(?:(?:a|b|rc|\.post|\.dev)\d+)*(?:\+(?:cpu|cu\d+|rocm[\d.]+))?")
_is_hash = _like(r"[0-9a-f]{1,64}")
is_hub_id = _like(r"\w[\w.-]*(?:/[\w.-]+)?(?:@[\w.-]+)?")  # not each that is like one is one

# A field's check, or the fields inside it. A name that is `...` stands for any name.
MANIFEST: Mapping[Any, Any] = {
    "study": is_text,
    "space": _one_of((*SPACES, OWN_SPACE)),
    "seed": _is_number,
    "sampler": _is_word,
    "objective": _all_are(_is_word),
    "max_epochs": _is_number,
    "precision": _is_word,
    "card": {
        "name": is_text,
        **dict.fromkeys(
            ("memory_bytes", "reserve_bytes", "flops", "bandwidth", "watts", "flops_share"),
            _is_number,
        ),
        **dict.fromkeys(("bandwidth_share", "launch_seconds"), _is_number),
    },
    "backbones": {...: _is_hash},
    "corpus": {
        CORPUS_HASH: _is_hash,
        "notes": _is_number,
        "classes": _all_are(is_text),
        "parts": dict.fromkeys(("train", "validation", "test"), _is_number),
    },
    "budget": dict.fromkeys(
        ("trials", "card_hours", "gpu_hours", "wall_hours", "stop_margin"), _is_number
    ),
    "settings": {
        "space": _one_of((*SPACES, OWN_SPACE)),
        "objective": _all_are(_is_word),
        **dict.fromkeys(("sampler", "precision", "conflicting"), _is_word),
        **dict.fromkeys(("seed", "max_epochs", "patience", "rungs", "max_tokens"), _is_number),
        **dict.fromkeys(("batch_limit", "train_fraction", "min_document_frequency"), _is_number),
    },
    "versions": dict.fromkeys(("python", "headhunt", "torch", "ray", "optuna"), _is_version),
    "commit": _like(r"[0-9a-f]{40}\+?"),
    "created_at": _is_time,
}

_MODELS = (*HEADS, *SCRATCH_MODELS, *BASELINES)
_NEEDS = r"needs \d+ MiB(?: to encode the notes with its backbone)?, \d+ MiB more than the \d+ MiB "
REASONS = (  # headhunt's own words alone
    r"fitted",
    r"all \d+ epochs trained",
    r"no better F1 for \d+ epochs",
    r"all epochs were trained before it was resumed",
    r"not among the best of its family at epoch \d+",
    rf"(?:measured: )?{_NEEDS}that the (?:card leaves|device had free)"
    r"(?: \(encoding the notes with its backbone\))?",
    r"diverged: the (?:training|validation) loss of epoch \d+ is not finite",
    r"diverged: what it says of the test part is not finite",
    r"crashed(?:: [A-Z][A-Za-z]+)?",
    r"its process died \d+ times",
    r"left out of the bundle",
)
# Columns of texts, and what a cell may say. Other columns hold numbers, times, yes or no.
TEXTS: Mapping[str, Check] = {
    "state": _one_of(State),
    "reason": _like("|".join(REASONS)),
    "role": _one_of(Role),
    "family": _like(r"\w[\w.@-]{0,199}(?: (?:from scratch|frozen|last_k|full|lora))?"),
    "backbone": is_hub_id,
    "mode": _one_of(Mode),
    "device": _like(r"[\w. ()+-]{1,80}"),
    "config_hash": _is_hash,
    "pooling": _one_of(Pooling),
    "optimiser": _one_of(Optimiser),
    "activation": _one_of(("gelu", "relu")),
    "init": _one_of(("houlsby", "zero")),
    "variant": _one_of(("residual", "inner")),
    "verdict": _one_of(("better", "worse", "undecided", "baseline", "a", "b")),
    **dict.fromkeys(("model", "model_a", "model_b"), _one_of(_MODELS)),
}

_WHAT = ("role", "family", "model", "backbone", "mode")
_METRICS = ("f1", "accuracy", "precision", "recall")
_LOSSES = ("validation_loss_nats", "train_loss_nats")
_DIFFERENCE = ("difference", "difference_low", "difference_high", "p_value", "p_value_corrected")
TRIALS, CURVES = "trials", "curves"
MODELS, PAIRS = "confirmed_models", "confirmed_pairs"
FRACTIONS, SCORINGS = "confirmed_fractions", "confirmed_scorings"
PARAMETERS = (
    *("pooling", "dropout", "bottleneck", "activation", "layer_norm", "init", "variant"),
    *("attention_width", "structure_dropout", "blocks", "attention_heads", "width"),
    *("feed_forward", "classifier_dropout", "vocabulary", "experts", "capacity_factor"),
    *("balance_weight", "router_noise", "last_k", "lora_rank", "lora_alpha", "checkpointing"),
    *("optimiser", "learning_rate", "weight_decay", "warmup_share", "batch_size"),
    *("accumulation", "class_weights", "ngrams", "min_notes", "inverse_regularisation"),
    *("balanced", "hidden", "features"),
)
# The columns of each table, in their order; of the parameters those that a study has.
TABLES: Mapping[str, tuple[str, ...]] = {
    TRIALS: (
        *("trial", "state", "reason", *_WHAT, *_METRICS, *_LOSSES, "best_epoch", "epochs"),
        *("card_hours", "card_hours_marginal", "gpu_hours", "card_energy_kwh", "energy_kwh"),
        *("cpu_seconds", "wall_seconds", "group_size", "device", "device_fraction", "peak_mib"),
        *("measured_peak_mib", "measured_reserved_mib", "excess_mib", "measured_excess_mib"),
        *("step_gflop", "trainable_parameters", "total_parameters", "config_hash", "seed"),
        *("started_at", "ended_at"),
    ),
    CURVES: (
        *("trial", "state", "family", "model", "epoch", *_METRICS, *_LOSSES),
        *("wall_seconds", "cpu_seconds", "card_hours"),
    ),
    MODELS: (
        *("trial", *_WHAT, "seeds", "failed", "training_notes", "validation_f1"),
        *(f"test_{name}{end}" for name in _METRICS for end in ("", "_low", "_high")),
        *("gap", *_DIFFERENCE, "verdict"),
    ),
    PAIRS: ("trial_a", "model_a", "trial_b", "model_b", *_DIFFERENCE, "verdict"),
    FRACTIONS: (
        *("trial", *_WHAT, "train_fraction", "training_notes", "training_patients", "seeds"),
        *("test_f1", "test_f1_low", "test_f1_high"),
    ),
    SCORINGS: (
        *("scored_at", "confirming_trial", "trial", "model", "seed_number", "train_fraction"),
        *("test_notes", "test_f1"),
    ),
}
NEEDED = ("trial", "state", "epoch")  # where a table has them, no row is without


def shared_fields(values: Any, fields: Mapping[Any, Any] = MANIFEST) -> dict[str, Any]:
    """The fields that are on the list and have its form."""
    shared: dict[str, Any] = {}
    for name, value in values.items() if isinstance(values, Mapping) else ():
        rule = fields.get(name, fields.get(...) if is_hub_id(name) else None)
        if isinstance(rule, Mapping) and isinstance(value, Mapping):
            shared[name] = shared_fields(value, rule)
        elif isinstance(rule, Mapping) and value is None:  # a study without a card
            shared[name] = None
        elif callable(rule) and rule(value):
            shared[name] = value
    return shared


def left_out_fields(
    values: Mapping[str, Any], shared: Mapping[str, Any], path: str = ""
) -> list[str]:
    """The names, with dots, of the fields that a sharing leaves out."""
    names: list[str] = []
    for name, value in values.items():
        if name not in shared:
            names.append(f"{path}{name}")
        elif isinstance(value, Mapping) and isinstance(shared[name], Mapping):
            names += left_out_fields(value, shared[name], f"{path}{name}.")
    return names


def shared_frame(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The columns that are on the list; texts of another form are missing."""
    names = [name for name in TABLES[table] if name in frame]
    names += [name for name in PARAMETERS if table == TRIALS and name in frame]
    shared = frame[names].copy()
    for name in names:
        if isinstance(shared[name].dtype, pd.StringDtype):
            check = TEXTS.get(name, lambda _: False)
            held = [value if check(value) else None for value in shared[name]]
            shared[name] = pd.Series(held, index=shared.index, dtype="string")
    return shared
