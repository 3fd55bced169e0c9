"""Confirm a study: its best trials again, with other seeds, scored once each on the test part.

Everything is checked before anything is written. What comes of it is a study of its own, which
neither the sampler nor the ranking of the searched one sees, and which remembers what it was asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..spaces.configs import HeadConfig, config_from_dict
from ..spaces.record import CONFIRMS_KEY, Replicate, Role, State
from ..stores import Store, StoreError, confirmation_of, confirmed_by, reading, store_at
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
from .settings import Request, Settings
from .study import Study, Trial, read_trial
from .terms import Asked, Choose, Terms, chosen, terms_of, terms_problems

LEAST_GROUPS = 2  # of the test part: of one alone nothing can be drawn again


def prepare_confirmation(asked: Asked, choose: Choose) -> Prepared | None:
    """Check everything, then create or open the confirming study.

    A confirmation that is whole needs neither notes nor backbones to be shown; notes that are named
    are checked all the same.

    Args:
        asked: by the user.
        choose: the best trials by an order, so many of them at most.

    Returns:
        What is to run; None where all that is asked for has ended before.

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
    return _have_ended(prepared.wanted, prepared.study.trials)


def _have_ended(wanted: Iterable[Wanted], trials: Sequence[Trial]) -> bool:
    return not left_of(wanted, trials) and all(trial.outcome for trial in trials)


def _prepared(asked: Asked, store: Store, choose: Choose) -> Prepared | None:
    searched, trials = _searched(asked, store)
    name = confirmation_of(asked.study)
    stored = store.read(name) if store.exists(name) else None
    before = stored.manifest if stored else None
    problems: list[str] = []
    with reading(store.place_of(name)):
        terms = terms_of(asked, before, problems)
    problems += terms_problems(terms)
    if problems:
        raise LaunchError(problems)
    with reading(store.place_of(name if before else asked.study)):
        if before:
            confirmed = before[CONFIRMS_KEY]["trials"]
        else:
            confirmed, terms = chosen(trials, choose, asked, terms, problems)
        settings = _settings(searched, confirmed)
        card = Card(**searched["card"]) if searched["card"] else None
        wanted = _wanted(confirmed, terms, settings.seed)
        held = [read_trial(trial) for trial in stored.trials] if stored else []
    whole = stored is not None and _have_ended(wanted, held)
    if whole and asked.notes is None:
        return None
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
    loaded = searched["backbones"]
    now = loaded | identities_of(store, settings.backbones, problems, loaded)
    problems += differences(searched, {**searched, "backbones": now})
    if problems:
        raise LaunchError(problems)
    if whole:
        return None
    budget = Budget(trials=len(wanted))
    confirms = {
        "study": asked.study,
        **terms.to_dict(),
        "trials": confirmed,
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


def _settings(searched: Mapping[str, Any], confirmed: Sequence[Mapping[str, Any]]) -> Settings:
    """The study's own, without rungs, and with the backbones alone that are needed."""
    values = {**asdict(Settings()), **searched["settings"]}
    configs = [config_from_dict(one["config"]) for one in confirmed]
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
    confirmed: Sequence[Mapping[str, Any]], terms: Terms, study_seed: int
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
        for one in confirmed
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
