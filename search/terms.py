"""What a confirmation is asked: which trials, by which order, with how many seeds, on which notes.

Its first call settles it. Later ones may ask for more seeds and for nothing else, since who asks
again after looking chooses by what was seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..spaces.configs import BaselineConfig, config_to_dict
from ..spaces.record import CONFIRMS_KEY, State
from ..stores import Place
from .settings import most_problems, told
from .study import Trial

DEFAULT_TOP, DEFAULT_SEEDS = 3, 5
DEFAULT_ORDER = "f1-per-gpu-hour"  # as the ranking's own
MOST = {"top": 1_000, "seeds": 10_000}
ASKED_BY = "asked_by"  # beside `by`, which is what the ranking was ordered by in the end
_OPTIONS = {  # of `Terms`
    "top": "--top",
    "seeds": "--seeds",
    "by": "--by",
    "with_validation": "--train-plus-validation",
    "train_fractions": "--train-fractions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user asked for; None is what was not said."""

    study: str  # the searched one
    store: Place
    notes: Path | None = None  # None: the file that the search read
    top: int | None = None  # trials of the ranking
    seeds: int | None = None  # replicates of each
    by: str | None = None  # of the ranking
    with_validation: bool | None = None  # train on the validation part too
    train_fractions: tuple[float, ...] | None = None  # of the notes to train on
    slots: int | None = None
    together: int = 1
    mps: bool = False
    address: str | None = None
    allow_open: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What the ranking says is to be confirmed."""

    trials: tuple[int, ...]  # from the best
    baseline: int | None  # the best one
    by: str  # what it was ordered by in the end: F1 where hours were missing


Choose = Callable[[str, int], Choice]  # the best trials by an order, so many of them at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a confirmation was asked, as its manifest keeps it; seeds alone may become more."""

    top: int = DEFAULT_TOP
    seeds: int = DEFAULT_SEEDS
    by: str = DEFAULT_ORDER  # what the ranking was ordered by, once it is known
    asked_by: str = DEFAULT_ORDER
    with_validation: bool = False
    train_fractions: tuple[float, ...] = (1.0,)  # ascending

    def to_dict(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {**asdict(self), "train_fractions": list(self.train_fractions)}


def terms_of(asked: Asked, before: Mapping[str, Any] | None, problems: list[str]) -> Terms:
    """What was said, over what the confirmation was made with, over the defaults."""
    said = {name: value for name in _OPTIONS if (value := getattr(asked, name)) is not None}
    if "train_fractions" in said:
        said["train_fractions"] = tuple(sorted(said["train_fractions"]))
    if before is None:
        return Terms(**said, asked_by=said.get("by", DEFAULT_ORDER))
    stored = {name: before[CONFIRMS_KEY][name] for name in _OPTIONS}
    stored["train_fractions"] = tuple(stored["train_fractions"])
    asked_by = before[CONFIRMS_KEY].get(ASKED_BY, stored["by"])
    for name, value in said.items():
        more = name == "seeds" and value >= stored[name]
        again = name == "by" and value == asked_by
        if value != stored[name] and not more and not again:
            problems.append(
                f"the study {asked.study!r} was confirmed with {_OPTIONS[name]} "
                f"{_plain(stored[name])}, and its test part cannot be asked again with "
                f"{_plain(value)}: leave the option out (more --seeds may be asked for), or search "
                "another study"
            )
    return Terms(**{**stored, **said, "by": stored["by"]}, asked_by=asked_by)


def terms_problems(terms: Terms) -> list[str]:
    """What is out of range, each with its option."""
    shares = terms.train_fractions
    rules = (
        (terms.top >= 1, f"--top must be at least 1; got {told(terms.top)}"),
        (terms.seeds >= 1, f"--seeds must be at least 1; got {told(terms.seeds)}"),
        (
            bool(shares) and all(0 < share <= 1 for share in shares),
            f"--train-fractions must be in (0, 1]; got {told(_plain(shares))}",
        ),
        (
            len(set(shares)) == len(shares),
            f"--train-fractions must differ; got {told(_plain(shares))}",
        ),
    )
    numbers = {"top": terms.top, "seeds": terms.seeds}
    return [message for holds, message in rules if not holds] + most_problems(numbers, MOST)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else told(value)


def chosen(
    trials: Sequence[Trial], choose: Choose, asked: Asked, terms: Terms, problems: list[str]
) -> tuple[list[dict[str, Any]], Terms]:
    """The trials to confirm, the baseline last, as the manifest keeps them, and by which order.

    Where nobody said how many, it is what there is, up to the default.
    """
    try:
        choice = choose(terms.by, terms.top)
    except ValueError as error:
        problems.append(str(error))
        return [], terms
    ranked = len(choice.trials)
    if not ranked or (asked.top is not None and ranked < asked.top):
        problems.append(_too_few(trials, choice, asked))
    terms = replace(terms, by=choice.by, top=min(terms.top, ranked))
    baseline = () if choice.baseline is None else (choice.baseline,)
    return [_kept(trials[number]) for number in (*choice.trials, *baseline)], terms


def _too_few(trials: Sequence[Trial], choice: Choice, asked: Asked) -> str:
    """Why so many cannot be confirmed, and what can."""
    scored = sum(
        trial.state is State.COMPLETE
        and trial.best is not None
        and isfinite(trial.best.f1)
        and not isinstance(trial.config, BaselineConfig)
        for trial in trials
    )
    if not scored:
        return (
            f"the study {asked.study!r} has no complete trial but baselines: there is nothing to "
            "compare with the best of them"
        )
    ranked = len(choice.trials)
    by_f1 = f"give --by f1, which ranks all {scored:,}"
    if not ranked:
        return f"no trial of the study {asked.study!r} is ranked by {choice.by}: {by_f1}"
    those = "trial that is" if ranked == 1 else "trials that are"
    told_top = f"--top {asked.top} is more than the {ranked} {those} ranked by {choice.by}"
    helps = scored >= (asked.top or 1)
    return f"{told_top}: ask for fewer" + (f", or {by_f1}" if helps else "")


def _kept(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "config": config_to_dict(trial.config),
        "config_hash": trial.config_hash,
        "role": trial.role.value,
        "family": trial.config.family,
        "best_epoch": trial.best_epoch,
        "validation_f1": trial.best.f1 if trial.best else None,
    }
