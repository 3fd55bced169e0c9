"""Every column of the frames in words: the record's columns, the parameters, the ranking's own.

The record (`spaces/record.py`) describes what a trial leaves behind; here stand the parameters,
whose types are read from the config dataclasses, and the table that the README shows.
"""

from collections.abc import Iterable
from dataclasses import fields
from enum import Enum

from ..spaces.configs import BaselineConfig, HeadConfig, Optimisation, ScratchConfig
from ..spaces.heads import HEADS
from ..spaces.record import COLUMNS, COMPARISON_COLUMNS, RANKING_COLUMNS, Column, State

NOT_PARAMETERS = frozenset({"kind", "model", "backbone", "mode", "head", "optimisation"})


def _chosen(name: str, unit: str, text: str) -> Column:
    return Column(name=name, unit=unit, origin="chosen", text=text)


PARAMETERS = (
    _chosen("pooling", "", "how token states become one vector: first, mean, max or attention"),
    _chosen(
        "dropout", "", "heads: before the classifier; scratch models: in the blocks; in [0, 1)"
    ),
    _chosen("bottleneck", "", "width inside adapter, lightweight and grn; grn: 0 is full width"),
    _chosen("activation", "", "adapter: gelu or relu"),
    _chosen("layer_norm", "", "adapter: LayerNorm before the bottleneck"),
    _chosen("init", "", "adapter: houlsby (both matrices N(0, 1e-3)) or zero (W_up = 0)"),
    _chosen("variant", "", "lightweight: residual or inner"),
    _chosen("attention_width", "", "tiny_attention: width of queries, keys and values"),
    _chosen("structure_dropout", "", "inside adapter, tiny_attention and grn; in [0, 1)"),
    _chosen("blocks", "", "scratch models: Transformer blocks"),
    _chosen("attention_heads", "", "scratch models: attention heads of a block"),
    _chosen("width", "", "scratch models: width of the token states"),
    _chosen("feed_forward", "", "scratch models: width inside the feed-forward part"),
    _chosen("classifier_dropout", "", "scratch models: before the classifier; in [0, 1)"),
    _chosen("vocabulary", "sub-words", "scratch models: size of the tokenizer at most"),
    _chosen("experts", "", "moe: experts of a block"),
    _chosen("capacity_factor", "", "moe: an expert takes at most this times tokens / experts"),
    _chosen("balance_weight", "", "moe: weight of the load-balance loss"),
    _chosen("router_noise", "", "moe: router inputs times U(1 - noise, 1 + noise) in training"),
    _chosen("last_k", "layers", "mode last_k: layers that train, counted from the top"),
    _chosen("lora_rank", "", "mode lora: width of the additions"),
    _chosen("lora_alpha", "", "mode lora: the additions are scaled by lora_alpha / lora_rank"),
    _chosen("checkpointing", "", "whether activations are computed twice to save memory"),
    _chosen("optimiser", "", "adamw, sgd (with momentum) or adafactor"),
    _chosen("learning_rate", "", "the optimiser's peak rate; tfidf_mlp: Adam's rate"),
    _chosen("weight_decay", "", "decoupled in adamw and adafactor, part of the gradient in sgd"),
    _chosen("warmup_share", "", "linear warm-up, a share of the study's steps, in [0, 1)"),
    _chosen("batch_size", "notes", "notes in memory at once"),
    _chosen("accumulation", "batches", "batches of a training step"),
    _chosen("class_weights", "", "whether the loss is weighed by inverse class frequency"),
    _chosen("ngrams", "words", "baselines: words in a term at most"),
    _chosen("min_notes", "notes", "baselines: notes that a term must be in"),
    _chosen("inverse_regularisation", "", "tfidf_lr: scikit-learn's C"),
    _chosen("balanced", "", "tfidf_lr: whether the loss is weighed by inverse class frequency"),
    _chosen("hidden", "", "tfidf_mlp: width of the hidden layer"),
    _chosen("features", "terms", "tfidf_mlp: the most frequent terms that it sees"),
)

# A config carries fields that its model does not read; in a frame they are missing.
UNREAD = {
    "transformer": {"experts", "capacity_factor", "balance_weight", "router_noise"},
    "tfidf_lr": {"hidden", "learning_rate", "features"},
    "tfidf_mlp": {"inverse_regularisation", "balanced"},
}

STUDY_COLUMN = _chosen("study", "", "the study, in a frame of several")
CURVE_COLUMNS = (
    *(c for c in COLUMNS if c.name in {"trial", "state", "family", "model"}),
    Column(name="epoch", unit="epochs", origin="measured", text="epochs completed, from 1"),
    *(
        Column(name=name, unit=unit, origin="measured", text=f"{text} of this epoch")
        for name, unit, text in (
            ("f1", "", "macro F1 on validation, in [0, 1],"),
            ("accuracy", "", "accuracy on validation, in [0, 1],"),
            ("precision", "", "macro precision on validation, in [0, 1],"),
            ("recall", "", "macro recall on validation, in [0, 1],"),
            ("validation_loss_nats", "nats a note", "cross-entropy on validation"),
            ("train_loss_nats", "nats a note", "mean training loss"),
            ("wall_seconds", "s", "training and validation time"),
            ("cpu_seconds", "s", "processor time"),
        )
    ),
    Column(
        name="card_hours",
        unit="h",
        origin="modelled",
        text="GPU-hours on the study's card up to this epoch, encoding included",
    ),
)

# What a confirmation says (see `confirmation`): its frames in the order of their columns.
_TEST = {
    "f1": "macro F1",
    "accuracy": "accuracy",
    "precision": "macro precision",
    "recall": "macro recall",
}
_LEVEL = "95 % interval over patients and seeds"


def _derived(name: str, unit: str, text: str) -> Column:
    return Column(name=name, unit=unit, origin="derived", text=text)


def _measured(name: str, unit: str, text: str) -> Column:
    return Column(name=name, unit=unit, origin="measured", text=text)


_SEARCHED = _chosen("trial", "", "number of the searched trial that was trained again")
_WHAT = tuple(c for c in COLUMNS if c.name in {"role", "family", "model", "backbone", "mode"})
_SEEDS = _measured("seeds", "", "replicates that are complete: the trial with other seeds")
_TRAINED_ON = _derived("training_notes", "notes", "that each replicate was trained on")
MODEL_COLUMNS = (
    _SEARCHED,
    *_WHAT,
    _SEEDS,
    _measured("failed", "", "replicates that failed or did not fit"),
    _TRAINED_ON,
    _measured("validation_f1", "", "macro F1 on validation, as the search scored it, in [0, 1]"),
    *(
        column
        for name, words in _TEST.items()
        for column in (
            _measured(f"test_{name}", "", f"{words} on test, mean over the seeds, in [0, 1]"),
            _derived(f"test_{name}_low", "", f"lower end of its {_LEVEL}"),
            _derived(f"test_{name}_high", "", f"upper end of its {_LEVEL}"),
        )
    ),
    _derived(
        "gap",
        "",
        "validation_f1 less test_f1: what the choice of the best has flattered; missing where the "
        "training notes were not the search's",
    ),
    _derived("difference", "", "test_f1 less that of the best baseline"),
    _derived("difference_low", "", f"lower end of its {_LEVEL}, paired"),
    _derived("difference_high", "", f"upper end of its {_LEVEL}, paired"),
    _derived("p_value", "", "of a difference so large, were both equally good"),
    _derived("p_value_corrected", "", "the same, by Holm for the number of models compared"),
    _derived(
        "verdict",
        "",
        "against the best baseline by the corrected p value at 0.05: better, worse, undecided, or "
        "baseline (itself)",
    ),
)
PAIR_COLUMNS = (
    _chosen("trial_a", "", "searched trial of the first model"),
    _chosen("model_a", "", "its head, scratch model or baseline"),
    _chosen("trial_b", "", "searched trial of the second model"),
    _chosen("model_b", "", "its head, scratch model or baseline"),
    _derived("difference", "", "test_f1 of the first less that of the second"),
    _derived("difference_low", "", f"lower end of its {_LEVEL}, paired"),
    _derived("difference_high", "", f"upper end of its {_LEVEL}, paired"),
    _derived("p_value", "", "of a difference so large, were both equally good"),
    _derived("p_value_corrected", "", "the same, by Holm for the number of pairs"),
    _derived(
        "verdict", "", "by the corrected p value at 0.05: a, b (which is better) or undecided"
    ),
)
FRACTION_COLUMNS = (
    _SEARCHED,
    *_WHAT,
    _chosen("train_fraction", "", "share of the training notes, by whole patients, in (0, 1]"),
    _TRAINED_ON,
    _derived("training_patients", "", "groups of notes that those are of: patients, or texts"),
    _SEEDS,
    _measured("test_f1", "", "macro F1 on test, mean over the seeds, in [0, 1]"),
    _derived("test_f1_low", "", f"lower end of its {_LEVEL}"),
    _derived("test_f1_high", "", f"upper end of its {_LEVEL}"),
)
SCORING_COLUMNS = (
    _measured("scored_at", "UTC", "when the test part was scored"),
    _chosen("confirming_trial", "", "number of the trial in NAME/confirm"),
    _SEARCHED,
    _chosen("model", "", "the head, scratch model or baseline"),
    _chosen("seed_number", "", "which of its replicates, from 1"),
    _chosen("train_fraction", "", "share of the training notes, by whole patients, in (0, 1]"),
    _measured("test_notes", "notes", "of the test part that were scored"),
    _measured("test_f1", "", "macro F1 of this scoring, in [0, 1]"),
)
CONFIRMATION_COLUMNS = {
    "confirm, a model": MODEL_COLUMNS,
    "confirm, a pair": PAIR_COLUMNS,
    "confirm, a fraction": FRACTION_COLUMNS,
    "confirm, a scoring": SCORING_COLUMNS,
}

_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}
TIME = "datetime64[us, UTC]"
_INTEGERS = ("trial", "epoch", "best_epoch", "epochs", "group_size", "seed", "trainable_parameters")
_COUNTS = ("rank", "trials", *State)
_STRINGS = ("study", "state", "reason", "role", "family", "model", "backbone", "mode", "device")
DTYPES = {
    **dict.fromkeys(
        (c.name for c in (*COLUMNS, *CURVE_COLUMNS, *RANKING_COLUMNS, *COMPARISON_COLUMNS)),
        "float64",
    ),
    **dict.fromkeys((*_INTEGERS, *_COUNTS, "total_parameters"), "Int64"),
    **dict.fromkeys((*_STRINGS, "config_hash"), "string"),
    "pareto": "boolean",
    **dict.fromkeys(("started_at", "ended_at"), TIME),
}
_CONFIRMED_INTEGERS = {
    *("trial", "trial_a", "trial_b", "confirming_trial", "seed_number", "seeds", "failed"),
    *("training_notes", "training_patients", "test_notes"),
}
_CONFIRMED_STRINGS = {
    *("role", "family", "model", "backbone", "mode", "model_a", "model_b", "verdict"),
}


def confirmed_dtype(name: str) -> str:
    """The pandas dtype of a column of a confirmation."""
    if name == "scored_at":
        return TIME
    if name in _CONFIRMED_INTEGERS:
        return "Int64"
    return "string" if name in _CONFIRMED_STRINGS else "float64"


def parameter_dtypes() -> dict[str, str]:
    """Each parameter's pandas dtype, by the types of the config dataclasses' fields."""
    dtypes: dict[str, str] = {}
    settings = (head.settings for head in HEADS.values())
    for part in (HeadConfig, *settings, ScratchConfig, Optimisation, BaselineConfig):
        for field in fields(part):
            if field.name not in NOT_PARAMETERS:
                dtypes[field.name] = _dtype(field.type)
    return dtypes


def _dtype(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "string"
    return _DTYPES.get(kind, "string") if isinstance(kind, type) else "string"


def described(names: Iterable[str], columns: Iterable[Column]) -> dict[str, dict[str, str]]:
    """Unit, origin and text of these names, as JSON values (Parquet keeps a frame's attrs so)."""
    known = {column.name: column for column in (*PARAMETERS, STUDY_COLUMN, *columns)}
    unknown = _chosen("", "", "a parameter that this version of headhunt does not describe")
    described = ((name, known.get(name, unknown)) for name in names)
    return {name: {"unit": c.unit, "origin": c.origin, "text": c.text} for name, c in described}


def columns_markdown() -> str:
    """The README's table: every column of `headhunt trials`, `rank`, `compare` and `confirm`."""
    lines = ["| column | in | unit | origin | what it is |", "|---|---|---|---|---|"]
    for where, columns in (
        ("trials", COLUMNS),
        ("trials, a parameter", PARAMETERS),
        ("rank", RANKING_COLUMNS),
        ("compare", COMPARISON_COLUMNS),
        *CONFIRMATION_COLUMNS.items(),
    ):
        for c in columns:
            text = c.text.replace("|", "\\|")
            lines.append(f"| `{c.name}` | {where} | {c.unit} | {c.origin} | {text} |")
    return "\n".join(lines)
