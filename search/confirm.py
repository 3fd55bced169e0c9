"""Confirm a study: its best trials again, with other seeds, scored once each on the test part.

Everything is checked before anything is written. What comes of it is a study of its own, which
neither the sampler nor the ranking of the searched one sees, and which remembers what it was asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..spaces.configs import HeadConfig, config_from_dict, config_to_dict
from ..spaces.record import CONFIRMS_KEY, Replicate, Role, State
from ..stores import Place, Store, StoreError, confirmation_of, confirmed_by, reading, store_at
from ..trainables.card.cards import Card
from ..trainables.notes.corpus import Corpus, Part
from ..trainables.notes.portion import least_portion, portion
from .forget import notes_of
from .identities import identities_of
from .launch import (
    LaunchError,
    Prepared,
    checkpoint_problems,
    corpus_in,
    frequency_problems,
    range_problems,
    states_of,
)
from .manifest import corpus_facts, differences, made_by
from .plan import Budget
from .replicates import Wanted, left_of, space_of
from .settings import Request, Settings, most_problems, told
from .study import Study, Trial, read_trial

DEFAULT_TOP, DEFAULT_SEEDS = 3, 5
DEFAULT_ORDER = "f1-per-gpu-hour"  # as the ranking's own
LEAST_GROUPS = 2  # of the test part: of one alone nothing can be drawn again
MOST = {"top": 1_000, "seeds": 10_000}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a confirmation was asked, as its manifest keeps it; seeds alone may become more."""

    top: int = DEFAULT_TOP
    seeds: int = DEFAULT_SEEDS
    by: str = DEFAULT_ORDER
    with_validation: bool = False
    train_fractions: tuple[float, ...] = (1.0,)  # ascending


def prepare_confirmation(asked: Asked, choose: Callable[[str, int], Choice]) -> Prepared:
    """Check everything, then create or open the confirming study.

    Args:
        asked: by the user.
        choose: the best trials by an order, so many of them.

    Raises:
        LaunchError: with all problems.
    """
    try:
        store = store_at(asked.store)
        return _prepared(asked, store, choose)
    except StoreError as error:
        raise LaunchError([str(error)]) from error


def is_done(prepared: Prepared) -> bool:
    """Whether every trial that was wanted has ended."""
    trials = prepared.study.trials
    return not left_of(prepared.wanted, trials) and all(t.outcome for t in trials)


def _prepared(asked: Asked, store: Store, choose: Callable[[str, int], Choice]) -> Prepared:
    searched, trials = _searched(asked, store)
    name = confirmation_of(asked.study)
    before = store.read(name).manifest if store.exists(name) else None
    problems: list[str] = []
    with reading(store.place_of(name)):
        terms = _terms(asked, before, problems)
    problems += _terms_problems(terms)
    if problems:
        raise LaunchError(problems)
    with reading(store.place_of(name if before else asked.study)):
        chosen = (
            before[CONFIRMS_KEY]["trials"] if before else _chosen(trials, choose, terms, problems)
        )
        settings = _settings(searched, chosen)
        card = Card(**searched["card"]) if searched["card"] else None
    request = _request(asked, store, searched, problems)
    corpus = corpus_in(request.notes, settings, problems)
    problems += range_problems(settings, request)
    problems += checkpoint_problems(settings, request)
    if corpus is not None:
        now = {**searched, "corpus": corpus_facts(corpus)}
        problems += differences(searched, now)
        problems += _test_problems(corpus) + _portion_problems(corpus, settings, terms)
    if problems or corpus is None:
        raise LaunchError(problems)
    now = searched["backbones"] | identities_of(store, settings.backbones, problems)
    problems += differences(searched, {**searched, "backbones": now})
    if problems:
        raise LaunchError(problems)
    wanted = _wanted(chosen, terms, settings.seed)
    budget = Budget(trials=len(wanted))
    confirms = {
        "study": asked.study,
        **asdict(terms),
        "train_fractions": list(terms.train_fractions),
        "trials": chosen,
        "portions": _portions(corpus, settings, terms),
        "test": _test_part(corpus),
    }
    study = _opened(store, name, before, searched, settings, budget, confirms)
    forgotten_at = study.forgotten_at
    if forgotten_at:
        study.set_forgotten("")
    return Prepared(
        request=request,
        settings=settings,
        corpus=corpus,
        space=space_of([one.config for one in wanted]),
        card=card,
        budget=budget,
        precision=searched["precision"],
        study=study,
        work=store.work,
        states=states_of(settings, study),
        forgotten_at=forgotten_at,
        wanted=wanted,
    )


def _searched(asked: Asked, store: Store) -> tuple[dict[str, Any], list[Trial]]:
    """Manifest and trials of the study to confirm, which nobody may be searching.

    Raises:
        LaunchError: it is a confirmation itself, somebody searches it, or nothing is complete.
        StoreError: there is none, or it is broken.
    """
    if confirmed_by(asked.study):
        raise LaunchError(
            [f"the study {asked.study!r} is a confirmation: confirm {confirmed_by(asked.study)!r}"]
        )
    stored = store.read(asked.study)
    if holder := store.holder(asked.study):
        raise LaunchError(
            [
                f"the study {asked.study!r} is being searched by {holder}: its best trials are not "
                "known yet; wait for it, or end it"
            ]
        )
    with reading(stored.place):
        trials = [read_trial(trial) for trial in stored.trials]
        manifest = stored.manifest
        _ = manifest["corpus"]["digest"], manifest["precision"], manifest["backbones"]
    if not any(trial.state is State.COMPLETE for trial in trials):
        raise LaunchError(
            [f"the study {asked.study!r} has no complete trial: there is nothing to confirm"]
        )
    return manifest, trials


def _terms(asked: Asked, before: Mapping[str, Any] | None, problems: list[str]) -> Terms:
    """What was said, over what the confirmation was made with, over the defaults."""
    names = list(_OPTIONS)
    said = {name: value for name in names if (value := getattr(asked, name)) is not None}
    if "train_fractions" in said:
        said["train_fractions"] = tuple(sorted(said["train_fractions"]))
    if before is None:
        return Terms(**said)
    stored = {name: before[CONFIRMS_KEY][name] for name in names}
    stored["train_fractions"] = tuple(stored["train_fractions"])
    for name, value in said.items():
        more = name == "seeds" and value >= stored[name]
        if value != stored[name] and not more:
            problems.append(
                f"the study {asked.study!r} was confirmed with {_OPTIONS[name]} "
                f"{_plain(stored[name])}, and its test part cannot be asked again with "
                f"{_plain(value)}: leave the option out (more --seeds may be asked for), or search "
                "another study"
            )
    return Terms(**{**stored, **said})


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(f"{v:g}" for v in value) if isinstance(value, tuple) else told(value)


def _terms_problems(terms: Terms) -> list[str]:
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


def _chosen(
    trials: Sequence[Trial],
    choose: Callable[[str, int], Choice],
    terms: Terms,
    problems: list[str],
) -> list[dict[str, Any]]:
    """The trials to confirm, the baseline last, as the manifest keeps them."""
    try:
        choice = choose(terms.by, terms.top)
    except ValueError as error:
        problems.append(str(error))
        return []
    if len(choice.trials) < terms.top:
        ranked = len(choice.trials)
        problems.append(
            f"--top {terms.top} is more than the {ranked} trials that are ranked by {terms.by}: "
            "ask for fewer, or give --by f1, which leaves none out"
            if terms.by != "f1"
            else f"--top {terms.top} is more than the {ranked} trials that are ranked"
        )
    baseline = () if choice.baseline is None else (choice.baseline,)
    return [_kept(trials[number]) for number in (*choice.trials, *baseline)]


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


def _settings(searched: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]]) -> Settings:
    """The study's own, without rungs, and with the backbones alone that are needed."""
    values = {**asdict(Settings()), **searched["settings"]}
    configs = [config_from_dict(one["config"]) for one in chosen]
    needed = {config.backbone for config in configs if isinstance(config, HeadConfig)}
    values["backbones"] = tuple(name for name in values["backbones"] if name in needed)
    return Settings(**{**values, "rungs": False, "objective": ("f1",)})


def _request(
    asked: Asked, store: Store, searched: Mapping[str, Any], problems: list[str]
) -> Request:
    """As a search's, by which the engine is told where to run."""
    notes = asked.notes or notes_of(store.work, searched["corpus"]["digest"])
    if notes is None:
        problems.append(
            f"no search of {asked.study!r} on this machine has left word of its file of notes: "
            "name it by --notes"
        )
        raise LaunchError(problems)
    return Request(
        notes=notes,
        study=confirmation_of(asked.study),
        store=store,
        resume=True,
        slots=asked.slots,
        together=asked.together,
        mps=asked.mps,
        address=asked.address,
        allow_open=asked.allow_open,
    )


def _test_problems(corpus: Corpus) -> list[str]:
    """A test part of which nothing could be said."""
    test = corpus.indices(Part.TEST)
    groups, classes = len(set(corpus.groups[test])), len(set(corpus.labels[test]))
    if groups >= LEAST_GROUPS and classes > 1:
        return []
    return [
        f"the test part has notes of {groups} patients (or texts, where patients are not known) in "
        f"{classes} classes, and nothing can be told from fewer than {LEAST_GROUPS} and 2: give a "
        "split column with a larger test part"
    ]


def _portion_problems(corpus: Corpus, settings: Settings, terms: Terms) -> list[str]:
    """Fractions that would leave a class out, or no word."""
    smallest, given = terms.train_fractions[0], {"with_validation": terms.with_validation}
    least = least_portion(corpus, seed=settings.seed, **given)
    if smallest < least:
        return [
            f"--train-fractions: {smallest:g} of the training notes leaves a class without a note; "
            f"the smallest that works is {least:g}"
        ]
    learned = portion(corpus, share=smallest, seed=settings.seed, **given)
    return frequency_problems(settings, learned)


def _portions(corpus: Corpus, settings: Settings, terms: Terms) -> list[dict[str, Any]]:
    """What each fraction comes to."""
    found = []
    for share in terms.train_fractions:
        learned = portion(
            corpus, share=share, with_validation=terms.with_validation, seed=settings.seed
        )
        notes = learned.indices(Part.TRAIN)
        patients = len(set(learned.groups[notes].tolist()))
        counts = {"training_notes": len(notes), "training_patients": patients}
        found.append({"train_fraction": share, **counts})
    return found


def _test_part(corpus: Corpus) -> dict[str, Any]:
    """The test notes' rows, classes and groups, as numbers: what a prediction is compared with."""
    test = corpus.indices(Part.TEST)
    groups = np.unique(corpus.groups[test], return_inverse=True)[1]
    return {
        "rows": corpus.rows[test].tolist(),
        "classes": corpus.labels[test].tolist(),
        "groups": groups.tolist(),
        "groups_are": "texts" if corpus.patients is None else "patients",
    }


def _wanted(
    chosen: Sequence[Mapping[str, Any]], terms: Terms, study_seed: int
) -> tuple[Wanted, ...]:
    """All trials, the largest fraction first, and the seeds of a model behind one another."""
    return tuple(
        Wanted.of(
            config_from_dict(one["config"]),
            Role(one["role"]),
            Replicate(
                trial=one["trial"],
                number=number,
                train_fraction=share,
                with_validation=terms.with_validation,
                epochs=one["best_epoch"] if terms.with_validation else None,
            ),
            study_seed,
        )
        for share in reversed(terms.train_fractions)
        for one in chosen
        for number in range(1, terms.seeds + 1)
    )


def _opened(
    store: Store,
    name: str,
    before: Mapping[str, Any] | None,
    searched: Mapping[str, Any],
    settings: Settings,
    budget: Budget,
    confirms: Mapping[str, Any],
) -> Study:
    """The confirming study, new or as it stands."""
    if before is not None:
        study = Study.open(store, name)
        if study.manifest[CONFIRMS_KEY] != confirms:
            study.set_manifest(**{CONFIRMS_KEY: dict(confirms), "budget": asdict(budget)})
        return study
    stored = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
    manifest = {
        **{key: value for key, value in searched.items() if key != "forgotten_at"},
        "study": name,
        "settings": stored,
        "objective": list(settings.objective),
        "budget": asdict(budget),
        CONFIRMS_KEY: dict(confirms),
        **made_by(),
    }
    return Study.create(store, name, manifest)
