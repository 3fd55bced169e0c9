"""A study's results for others: what may leave the lab, under names that tell nothing of it.

What is shared, and in which form, is settled in `shareable`; here paths, cards of one's own and, if
asked, class names are replaced, and it is told what is in a bundle and what is not.
"""

import builtins
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pandas as pd

from ..spaces.catalogue import SPACES
from ..spaces.configs import backbone_label
from ..stores import (
    Place,
    Store,
    StudyNotFoundError,
    confirmation_of,
    confirmed_by,
    reading,
    store_at,
)
from .bundle_file import TABLE_COLUMNS, Bundle, BundleError, study_name
from .columns import described
from .confirmation import confirmation_in
from .frame import frames_in
from .shareable import (
    CORPUS_HASH,
    FRACTIONS,
    MODELS,
    OWN_SPACE,
    PAIRS,
    PUBLIC_BACKBONES,
    SCORINGS,
    TEXTS,
    TRIALS,
    is_hub_id,
    is_text,
    left_out_fields,
    shared_fields,
    shared_frame,
)

LEFT_OUT = "left out of the bundle"  # a reason that is not one of headhunt's own words
_HASH = re.compile(r"[0-9a-f]{8,}")
_REVISION = re.compile(r"[\w.-]{1,64}", re.ASCII)
_CRASHED = re.compile(r"crashed: (\w+)")
_DIED = re.compile(r"its process died \d+ times")
# Types of errors that everybody has: Python's own, and PyTorch's of a GPU without memory.
_CRASHES = {name for name, kind in vars(builtins).items() if isinstance(kind, type)}
_CRASHES |= {"OutOfMemoryError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What may be shared beyond the usual, and what less."""

    called: str = ""  # the study's name in the bundle; "": its own
    labels: bool = True  # the names of the classes
    corpus_hash: bool = False  # by which whoever has the same notes recognises them
    backbones: tuple[str, ...] = ()  # names that may be told although they are not public


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, and what of the study is not in it."""

    bundle: Bundle
    fields: tuple[str, ...]  # of the manifest, with dots
    columns: tuple[str, ...]  # of the trials: parameters that this version does not know
    backbones: Mapping[str, str]  # their names in the bundle, of those that are not told
    reasons: int  # of trials, shortened or left out


def bundle(study: str, *, store: Place | None = None, sharing: Sharing | None = None) -> Made:
    """What of a study may be shared, of its confirmation in aggregate (`write_bundle` writes it).

    Args:
        study: its name.
        store: folder of the studies, or the address of a database, postgresql://...; HEADHUNT_STORE
            or `headhunt-studies` when not given.
        sharing: what may be shared; the usual when not given.

    Raises:
        StudyNotFoundError: the store has no such study.
        StudyUnreadableError: what the store has of it is broken, or something else has written it.
        StoreError: the store cannot be reached, or its address is none.
        BundleError: it is a confirmation, has no trial, or has no such backbone.
    """
    sharing, place = sharing or Sharing(), store_at(store)
    if searched := confirmed_by(study):
        raise BundleError(f"{study!r} is a confirmation: bundle {searched!r}, and it goes with it")
    stored, name = place.read(study), study_name(sharing.called or study)
    if not stored.trials:
        raise BundleError(f"the study {study!r} has no trial yet: there is nothing to share")
    frames = frames_in(stored)
    tables, sentences = _confirmed(place, study, name)
    with reading(stored.place):
        names = _backbone_names(stored.manifest, frames[TRIALS], sharing)
        manifest = _renamed(stored.manifest, name, names, sharing)
    families = _families(frames[TRIALS], names)
    shared = {
        table: _shared(frame, table, names, families) for table, frame in (frames | tables).items()
    }
    return Made(
        bundle=Bundle(name, shared_fields(manifest), shared, sentences),
        fields=tuple(left_out_fields(manifest, shared_fields(manifest))),
        columns=tuple(str(c) for c in frames[TRIALS] if c not in shared[TRIALS]),
        backbones={given: told for given, told in names.items() if told != given},
        reasons=int((_told(frames[TRIALS]) != _told(shared[TRIALS])).sum()),
    )


def _confirmed(
    place: Store, study: str, called: str
) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """The tables and the sentences of what was confirmed of it; none where nothing was."""
    confirming = confirmation_of(study)
    if not place.exists(confirming):
        return {}, ()
    try:
        found = confirmation_in(place.read(confirming), called)
    except StudyNotFoundError:  # no trial of it is complete yet
        return {}, ()
    tables = {MODELS: found.models, PAIRS: found.pairs, SCORINGS: found.scorings}
    if found.fractions is not None:
        tables[FRACTIONS] = found.fractions
    return tables, found.sentences


def _backbone_names(
    manifest: Mapping[str, Any], frame: pd.DataFrame, sharing: Sharing
) -> dict[str, str]:
    """What each backbone is called in the bundle: its name may be a path, or tell of the lab."""
    identities = manifest.get("backbones") or {}
    given = list(dict.fromkeys([*identities, *frame["backbone"].dropna()]))
    if unknown := [name for name in sharing.backbones if name not in given]:
        raise BundleError(f"the study has no backbone {unknown[0]!r}; it has: {', '.join(given)}")
    if paths := [name for name in sharing.backbones if not is_hub_id(name)]:
        raise BundleError(
            f"the backbone {paths[0]!r} is a path, and no path goes into a bundle: it is known by "
            "the hash of its files"
        )
    return {name: _backbone_name(name, identities.get(name), sharing) for name in given}


def _backbone_name(name: str, identity: Any, sharing: Sharing) -> str:
    public, at, revision = name.partition("@")
    is_public = public in PUBLIC_BACKBONES and (not at or _REVISION.fullmatch(revision))
    if is_public or name in sharing.backbones:
        return name
    known = isinstance(identity, str) and _HASH.fullmatch(identity)
    return f"encoder-{identity[:8]}" if known else "encoder"


def _renamed(
    manifest: Mapping[str, Any], called: str, names: Mapping[str, str], sharing: Sharing
) -> dict[str, Any]:
    """The manifest, with what could tell of the lab under another name."""
    told = {**manifest, "study": called}
    settings = dict(manifest.get("settings") or {})
    for fields in (told, settings):
        if "space" in fields:
            fields["space"] = fields["space"] if fields["space"] in SPACES else OWN_SPACE
    if "settings" in told:
        told["settings"] = settings
    if card := manifest.get("card"):
        told["card"] = {**card, "name": _card_name(card, settings.get("card"))}
    if corpus := manifest.get("corpus"):
        told["corpus"] = _corpus(corpus, sharing)
    identities = manifest.get("backbones") or {}
    return told | {"backbones": {names[name]: identity for name, identity in identities.items()}}


def _card_name(card: Mapping[str, Any], asked: Any) -> str:
    """Of a card from somebody's file by its numbers alone."""
    if isinstance(asked, str) and asked and not asked.endswith(".toml"):
        return str(card.get("name"))
    numbers = {name: value for name, value in card.items() if isinstance(value, int | float)}
    return f"card-{sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:8]}"


def _corpus(corpus: Mapping[str, Any], sharing: Sharing) -> dict[str, Any]:
    """With what was not asked for left out."""
    told = {k: v for k, v in corpus.items() if k != CORPUS_HASH or sharing.corpus_hash}
    told["classes"] = [
        label if sharing.labels and is_text(label) else f"class {number}"
        for number, label in enumerate(corpus.get("classes") or ())
    ]
    return told


def _families(trials: pd.DataFrame, names: Mapping[str, str]) -> dict[int, str]:
    """The family of each trial whose backbone has another name in the bundle."""
    columns = (trials[name] for name in ("trial", "backbone", "mode"))
    return {
        trial: f"{backbone_label(names[backbone])} {mode}"
        for trial, backbone, mode in zip(*columns, strict=True)
        if isinstance(backbone, str) and names[backbone] != backbone
    }


def _shared(
    frame: pd.DataFrame, table: str, names: Mapping[str, str], families: Mapping[int, str]
) -> pd.DataFrame:
    """What of a table goes into the bundle."""
    told = frame.copy()
    if "family" in told:
        other = told["trial"].map(families).astype("string")
        told["family"] = other.fillna(told["family"])
    if "config_hash" in told:  # it could be tried with every path that one can think of
        told["config_hash"] = told["config_hash"].where(~told["trial"].isin(list(families)))
    if "backbone" in told:
        told["backbone"] = told["backbone"].map(names, na_action="ignore").astype("string")
    if "reason" in told:
        told["reason"] = told["reason"].map(_reason, na_action="ignore").astype("string")
    shared = shared_frame(told, table)
    shared.attrs = {"columns": described(map(str, shared.columns), TABLE_COLUMNS[table])}
    return shared


def _reason(reason: str) -> str:
    """Headhunt's own words; of a crash its kind, not where; else that there was one."""
    if TEXTS["reason"](reason):
        return reason
    if crashed := _CRASHED.match(reason):
        return f"crashed: {crashed[1]}" if crashed[1] in _CRASHES else "crashed"
    died = _DIED.match(reason)
    return died[0] if died else LEFT_OUT


def _told(trials: pd.DataFrame) -> pd.Series:
    return trials["reason"].fillna("")
