"""What a study was made with, as it stands in the study: hashes, counts, options, and no text."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from ..spaces.configs import backbone_label
from ..trainables.card.cards import Card
from ..trainables.notes.corpus import Corpus
from ..trainables.notes.split import Part
from .plan import Budget
from .settings import Request, Settings
from .study import Study

TEXTS = "texts_digest"  # of the texts alone: by it `forget` knows whose the features are


def manifest_of(
    request: Request,
    settings: Settings,
    corpus: Corpus,
    card: Card | None,
    budget: Budget,
    identities: dict[str, str],
    *,
    precision: str,
) -> dict[str, Any]:
    """What was asked, as JSON values, without a word of a note."""
    return {
        "study": request.study,
        "settings": {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()
        },
        "space": settings.space,
        "space_file": file_hash(settings.space),
        "seed": settings.seed,
        "sampler": settings.sampler,
        "objective": list(settings.objective),
        "max_epochs": settings.max_epochs,
        "precision": precision,
        "card": card.to_dict() if card else None,
        "backbones": identities,
        "corpus": corpus_facts(corpus),
        TEXTS: corpus.texts_digest,
        "budget": asdict(budget),
        **made_by(),
    }


def tell_texts(study: Study, corpus: Corpus) -> None:
    """Have the study tell the hash of its texts, which one of an earlier version does not."""
    if TEXTS not in study.manifest:
        study.set_manifest(**{TEXTS: corpus.texts_digest})


def made_by() -> dict[str, Any]:
    """What makes a study, and when."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("headhunt", "torch", "ray", "optuna")},
        },
        "commit": commit(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def corpus_facts(corpus: Corpus) -> dict[str, Any]:
    """What a study keeps of its notes."""
    return {
        "digest": corpus.digest,
        "notes": len(corpus),
        "classes": list(corpus.label_names),
        "parts": {part.name.lower(): len(corpus.indices(part)) for part in Part},
    }


def commit() -> str:
    """The git commit of the headhunt that runs, with "+" where files differ from it; "" if unknown.

    A checkout knows its own; what pip installed from a repository says which it was.
    """
    told = json.loads(distribution("headhunt").read_text("direct_url.json") or "{}")
    if installed := told.get("vcs_info", {}).get("commit_id"):
        return str(installed)
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return ""
    try:
        found = _git(here, "rev-parse", "HEAD")
        return found + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def file_hash(space: str) -> str:
    """Hash of a user's own space, so that a study cannot go on with another one."""
    file = space.rpartition(":")[0]
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was when the study was made."""
    said = {
        "corpus": "the notes, their split or their labels",
        "backbones": "the files of a backbone",
        "space_file": "the file of the space",
        "card": "the card",
    }
    return [
        f"{what} changed since the study {stored['study']!r} was made"
        f"{_how(key, stored[key], now[key])}: give it what it was made with, or start another study"
        for key, what in said.items()
        if _compared(key, stored) != _compared(key, now)
    ]


def _how(key: str, then: Any, now: Any) -> str:
    """What differs, where that can be told in few words and without a note's."""
    if key == "corpus":
        return f" ({_counts(then)} then, {_counts(now)} now)"
    if key == "backbones":
        names = [name for name in then.keys() | now.keys() if then.get(name) != now.get(name)]
        return f" ({', '.join(sorted(map(backbone_label, names)))})"
    if key == "card" and then and now:
        names = [k for k in then if k != "source" and then[k] != now.get(k)]
        return f" ({', '.join(f'{k} {then[k]} then, {now.get(k)} now' for k in names)})"
    return ""


def _counts(corpus: Mapping[str, Any]) -> str:
    parts = " + ".join(f"{count:,}" for count in corpus["parts"].values())
    return f"{parts} notes in {len(corpus['classes'])} classes, {corpus['digest'][:8]}"


def _compared(key: str, manifest: Mapping[str, Any]) -> Any:
    """What must not change; how a card says where its numbers are from may."""
    value = manifest[key]
    return {**value, "source": ""} if key == "card" and value else value
