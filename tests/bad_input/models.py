"""Backbones, spaces and cards that no search can work with, as entries of the table."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from headhunt.trainables.models.backbones import PICKLED, WEIGHTS

from ..trainables.backbone_dirs import edit_json
from .entries import BASELINES, HUGE, SEARCH, Case
from .notes import SECRET

WEIGHT = "encoder.layer.1.output.dense.weight"
BRING = "Bring the backbone's files once more, or name another one"

# --- backbones ------------------------------------------------------------------------------------


def damaged(damage: Callable[[Path], object]) -> Callable[[Path], object]:
    """Makes the folder `broken`, a copy of the sound encoder, and damages it."""

    def make(lab: Path) -> None:
        shutil.copytree(lab / "encoder", lab / "broken")
        damage(lab / "broken")

    return make


def says(**values: object) -> Callable[[Path], object]:
    """A config.json that says this."""
    return lambda folder: edit_json(folder / "config.json", **values)


def cut(name: str, size: int) -> Callable[[Path], object]:
    """Only the first bytes of a file have come; a negative number: all but so many."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def put(name: str, content: str) -> Callable[[Path], object]:
    """Another content of a file."""
    return lambda folder: (folder / name).write_text(content)


def not_finite(folder: Path) -> None:
    """Weights that are NaN."""
    weights = load_file(folder / WEIGHTS)
    weights[WEIGHT] = weights[WEIGHT] * float("nan")
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def small_vocabulary(folder: Path) -> None:
    """Weights and configuration agree, and the tokenizer is another model's."""
    weights = load_file(folder / WEIGHTS)
    name = "embeddings.word_embeddings.weight"
    weights[name] = weights[name][:100].clone()
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    edit_json(folder / "config.json", vocab_size=100)


def torn_pickle(folder: Path) -> None:
    """Weights that are a pickle alone, and of which the end is missing."""
    torch.save(load_file(folder / WEIGHTS), folder / PICKLED)
    (folder / WEIGHTS).unlink()
    cut(PICKLED, 1000)(folder)


_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 442\n"
_DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "weights cut off in their header": (cut(WEIGHTS, 100), ["cannot be loaded", BRING]),
    "weights cut off in their numbers": (cut(WEIGHTS, -500), ["not fully covered", BRING]),
    "weights without a byte": (cut(WEIGHTS, 0), ["cannot be loaded", BRING]),
    "a pointer in the place of weights": (put(WEIGHTS, _POINTER), ["cannot be loaded", BRING]),
    "a torn pickle": (torn_pickle, ["'broken' is torn"]),
    "weights that are NaN": (not_finite, ["has weights that are no finite numbers", BRING]),
    "a tokenizer cut off": (cut("tokenizer.json", 500), ["cannot be loaded", BRING]),
    "another model's tokenizer": (small_vocabulary, ["395 words", "vocab_size=100"]),
    "a configuration that is no JSON": (put("config.json", "{"), ["not a valid JSON file", BRING]),
    "a configuration that is a list": (put("config.json", "[1]"), ["cannot be loaded"]),
    "a configuration of text for numbers": (says(hidden_size="x"), ["'hidden_size' expected int"]),
    "another width": (says(hidden_size=32), ["35 of its weights other sizes", "[32] for [16]"]),
    "too few layers": (says(num_hidden_layers=1), ["leaves out 16 of its weights", BRING]),
    "too many layers": (says(num_hidden_layers=3), ["lacks 16 of its weights"]),
    "a billion layers": (says(num_hidden_layers=10**9), ["must be in [1, 1,000]", BRING]),
    "another model type": (says(model_type="bert"), ["count positions differently", BRING]),
    "an unknown model type": (says(model_type="mine"), ["cannot be loaded", BRING]),
    "another padding": (says(pad_token_id=0), ["pads with token 1, but its configuration says"]),
}
_NAMES = {
    "a backbone without a name": ("", "a backbone is a directory, one of ['camembert-bio', "),
    "no hub id": ("a/b/c", "is neither a directory, nor one of"),
    "a backbone that is not here": ("some/encoder", "copy the folder here, and give it as"),
    "a missing folder": ("./nowhere", "there is no directory './nowhere'"),
    "a name too long for a folder": ("x" * 300, "is neither a directory"),
}
BACKBONES: dict[str, Case] = {
    **{
        name: (damaged(damage), [*SEARCH, "--backbone", "broken"], said)
        for name, (damage, said) in _DAMAGES.items()
    },
    **{
        name: (None, [*SEARCH, "--backbone", backbone], [said])
        for name, (backbone, said) in _NAMES.items()
    },
    "a footprint of no width": (
        damaged(says(hidden_size=-16)),
        ["footprint", "linear", "--backbone", "broken"],
        ["hidden_size=-16, which must be in [1, 1,000,000]"],
    ),
    "a footprint without attention heads": (
        damaged(says(num_attention_heads=0)),
        ["footprint", "--backbone", "broken"],
        ["num_attention_heads=0"],
    ),
    "a check with no tokenizer": (
        damaged(lambda folder: (folder / "tokenizer.json").unlink()),
        ["corpus", "check", "notes.csv", "--backbone", "broken"],
        ["has no tokenizer"],
    ),
}

# --- spaces and cards -----------------------------------------------------------------------------


def space(lines: str) -> Callable[[Path], object]:
    """A file `mine.py` with these lines after its imports."""
    imports = "from headhunt.spaces.configs import *\nfrom headhunt.spaces.heads import *\n"
    return lambda lab: (lab / "mine.py").write_text(imports + lines)


def returning(expression: str) -> Callable[[Path], object]:
    """A space that returns this."""
    return space(f"def f(trial):\n    return {expression}\n")


_OPTIMISATION = "ScratchConfig(optimisation=Optimisation({}))"
_HEAD = "HeadConfig(backbone='encoder', head={})"
_SPACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "None": (returning("None"), "must return a config of headhunt.spaces.configs; got NoneType"),
    "a dictionary": (returning("{'width': 32}"), "got dict"),
    "a class": (returning("ScratchConfig"), "got type"),
    "a space that raises": (
        space(f"def f(trial):\n    raise ValueError('{SECRET[::-1]}\\n' * 999)\n"),
        "failed: ValueError at mine.py:4 (what it says is not shown",
    ),
    "a space that exits": (space("def f(trial):\n    raise SystemExit(0)"), "failed: SystemExit"),
    "a file that exits": (
        space("raise SystemExit(0)"),
        "'mine.py' failed: SystemExit at mine.py:3",
    ),
    "a file of no Python": (space("def f(trial:"), "'mine.py' failed: SyntaxError at mine.py:3"),
    "a missing import": (space("import nowhere"), "no module named 'nowhere' at mine.py:3"),
    "no function of that name": (space("def g(trial): ..."), "has no function 'f'"),
    "a number for a function": (space("f = 7"), "has no function 'f'"),
    "a built-in function": (space("f = max"), "is no function of Python's"),
    "no argument": (space("def f():\n    return ScratchConfig()"), "must take an Optuna trial"),
    "three arguments": (space("def f(a, b, c): ..."), "it takes (a, b, c)"),
    "a rate that is NaN": (
        returning(_OPTIMISATION.format("learning_rate=float('nan')")),
        "Optimisation.learning_rate must be a finite number; got nan",
    ),
    "a negative rate": (
        returning(_OPTIMISATION.format("learning_rate=-1.0")),
        "Optimisation.learning_rate must be above 0; got -1.0",
    ),
    "an endless decay": (
        returning(_OPTIMISATION.format("weight_decay=float('inf')")),
        "Optimisation.weight_decay must be a finite number; got inf",
    ),
    "a batch of a fraction": (
        returning(_OPTIMISATION.format("batch_size=8.0")),
        "Optimisation.batch_size must be a whole number; got 8.0",
    ),
    "an empty batch": (returning(_OPTIMISATION.format("batch_size=0")), "batch_size >= 1"),
    "a warm-up of all steps": (
        returning(_OPTIMISATION.format("warmup_share=2.0")),
        "Optimisation.warmup_share must be in [0, 1); got 2.0",
    ),
    "no blocks": (returning("ScratchConfig(blocks=0)"), "blocks must be in [1, 100]; got 0"),
    "a billion blocks": (returning("ScratchConfig(blocks=10**9)"), "must be in [1, 100]"),
    "an unknown scratch model": (returning("ScratchConfig(model='rnn')"), "transformer or moe"),
    "a width that heads do not divide": (returning("ScratchConfig(width=33)"), "33"),
    "an unknown pooling": (returning("ScratchConfig(pooling='median')"), "must be a Pooling"),
    "an unknown head": (returning(_HEAD.format("'adaptor'")), "HeadConfig.head must be LinearHead"),
    "a head of negative width": (
        returning(_HEAD.format("AdapterHead(bottleneck=-3)")),
        "AdapterHead.bottleneck must be in [1, 10,000,000]; got -3",
    ),
    "an unknown activation": (returning(_HEAD.format("AdapterHead(activation='tan')")), "'tan'"),
    "a backbone of its own": (
        returning("HeadConfig(backbone='other', head=LinearHead())"),
        "none of the study's: add --backbone other",
    ),
    "an unknown baseline": (returning("BaselineConfig(model='svm')"), "BaselineConfig.model must"),
    "a space that is another each time": (
        space(
            "import itertools\nwidths = itertools.count(2, 2)\n"
            "def f(trial):\n    return ScratchConfig(width=next(widths))\n"
        ),
        "returns another config for the same parameters",
    ),
    "choices that change": (
        space(
            "import itertools\nwidths = itertools.count(2, 2)\ndef f(trial):\n"
            "    return ScratchConfig(width=trial.suggest_categorical('w', [next(widths)]))\n"
        ),
        "mine.py:f",
    ),
    "choices that JSON has not": (
        returning("ScratchConfig(width=trial.suggest_categorical('w', [(32, 2)])[0])"),
        "has choices of the parameter 'w' that are no text",
    ),
    "a range without end": (
        returning("ScratchConfig(dropout=trial.suggest_float('d', 0, float('nan')))"),
        "failed: OverflowError at mine.py:4",
    ),
}
_SPACE_NAMES = {
    "an unknown space": ("everything", "a space is one of"),
    "a space file that is a folder": ("encoder.py:f", "there is no file 'encoder.py'"),
    "a missing space file": ("nowhere.py:f", "there is no file 'nowhere.py'"),
    "heads without a backbone": ("heads", "at least one --backbone"),
}
SPACES: dict[str, Case] = {
    **{
        name: (make, [*SEARCH, "--backbone", "encoder", "--space", "mine.py:f"], [said])
        for name, (make, said) in _SPACES.items()
    },
    **{
        name: (lambda lab: (lab / "encoder.py").mkdir(), [*SEARCH, "--space", given], [said])
        for name, (given, said) in _SPACE_NAMES.items()
    },
}

CARD = 'name = "c"\nsource = "x"\nreserve_bytes = 1\nflops = 1e12\nbandwidth = 1e9\nwatts = 9\n'
_CARDS: dict[str, tuple[Callable[[Path], object] | None, str, str]] = {
    "an unknown card": (None, "gtx", "a card is one of ['a100', "),
    "no card file": (None, "card.toml", "'card.toml' cannot be read"),
    "half a card": (put("card.toml", "name = 'c'\n"), "card.toml", "lacks ['memory_bytes'"),
    "a card that is no TOML": (put("card.toml", "{}"), "card.toml", "cannot be read"),
    "a card file that is a folder": (
        lambda lab: (lab / "c.toml").mkdir(),
        "c.toml",
        "regular file",
    ),
    "a card file that is a pipe": (
        lambda lab: os.mkfifo(lab / "c.toml"),
        "c.toml",
        "is no regular file",
    ),
    "a card of NaN bytes": (
        put("card.toml", f"{CARD}memory_bytes = nan\n"),
        "card.toml",
        "found wrong: ['memory_bytes']",
    ),
    "a card of endless memory": (
        put("card.toml", f"{CARD}memory_bytes = {HUGE}\n"),
        "card.toml",
        "found too large: ['memory_bytes']",
    ),
}
CARDS: dict[str, Case] = {
    name: (make, [*BASELINES, "--card", card], [said])
    for name, (make, card, said) in _CARDS.items()
}
