"""From what was asked to a running search: everything is checked first, then prepared, then run.

All that is wrong is said at once, before the first trial. What a study was made with is in its
manifest; `--resume` takes it from there, and refuses what differs from it.
"""

import hashlib
import importlib.util
import inspect
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..spaces.catalogue import NEEDS_BACKBONE, SPACES, Space, SpaceOptions
from ..trainables.card.cards import Card, CardError, load_card
from ..trainables.models.backbones import BackboneError, check, identity, load_config, locate
from ..trainables.notes.corpus import Columns, Corpus, CorpusError, read_corpus
from ..trainables.notes.split import Part
from .plan import Budget
from .sampling import SpaceError, check_sampler
from .study import OBJECTIVES, Study, StudyError, exists

ETA = 3  # one trial in three goes on at a rung
DEFAULT_TRIALS = 40  # where no budget is named


class LaunchError(ValueError):
    """The search cannot begin: every problem that was found."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a study is made with, and cannot change when it goes on."""

    space: str = "heads"
    backbones: tuple[str, ...] = ()
    objective: tuple[str, ...] = ("f1",)
    sampler: str = "tpe"
    seed: int = 0
    max_epochs: int = 10
    patience: int = 4  # epochs without a better F1; 0: never stop early
    rungs: bool = True
    card: str = "p620"
    max_tokens: int = 256
    batch_limit: int = 8
    precision: str = "auto"  # of the encoding: auto | fp32 | bf16
    conflicting: str = "keep"  # identical texts with different labels: keep | drop
    train_fraction: float = 1.0
    text_column: str = "text"
    label_column: str = "label"
    patient_column: str = "patient_id"
    split_column: str = "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for; None among the settings is what was not said."""

    notes: Path
    study: str
    store: Path
    resume: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)  # settings that were named
    budget: Budget = field(default_factory=Budget)
    slots: int | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search whose input is known to be sound."""

    request: Request
    settings: Settings
    corpus: Corpus
    space: Space
    card: Card | None
    budget: Budget
    identities: dict[str, str]  # backbone -> hash of its files
    study: Study


def prepare(request: Request) -> Prepared:
    """Check everything, then create or open the study.

    Raises:
        LaunchError: with all problems.
    """
    problems: list[str] = []
    stored = _stored_manifest(request, problems)
    settings = _settings(request, stored, problems)
    corpus = _corpus(request, settings, problems)
    card = _try(problems, CardError, lambda: load_card(settings.card))
    identities = _backbones(settings, problems)
    space = _try(problems, SpaceError, lambda: load_space(settings))
    if space is not None:
        _try(
            problems,
            SpaceError,
            lambda: check_sampler(settings.sampler, space, settings.objective),
        )
    problems += _range_problems(settings, request)
    if card is None and "card-hours" in settings.objective and settings.card == "none":
        problems.append("--objective card-hours needs a card: without one there are no card hours")
    budget = _budget(request, stored, card, problems)
    if problems or corpus is None or space is None:
        raise LaunchError(problems)
    manifest = _manifest(request, settings, corpus, card, budget, identities)
    if stored is not None:
        problems += _differences(stored, manifest)
    if problems:
        raise LaunchError(problems)
    try:
        study = (
            Study.open(request.store, request.study)
            if request.resume
            else Study.create(request.store, request.study, manifest)
        )
    except StudyError as error:
        raise LaunchError([str(error)]) from error
    return Prepared(request, settings, corpus, space, card, budget, identities, study)


def load_space(settings: Settings) -> Space:
    """The space of this name, or of FILE.py:FUNCTION.

    A function takes an Optuna trial, or a trial and `SpaceOptions`, and returns a config.

    Raises:
        SpaceError: no such space, file or function.
    """
    options = SpaceOptions(settings.backbones, settings.batch_limit, _layers(settings.backbones))
    if settings.space in SPACES:
        if settings.space in NEEDS_BACKBONE and not settings.backbones:
            raise SpaceError(
                f"the space {settings.space!r} needs at least one --backbone: a name "
                "(camembert-bio, drbert, alibert, minilm), a Hugging Face id or a directory"
            )
        return SPACES[settings.space](options)
    file, colon, function = settings.space.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise SpaceError(
            f"a space is one of {sorted(SPACES)} or FILE.py:FUNCTION; got {settings.space!r}"
        )
    path = Path(file)
    if not path.is_file():
        raise SpaceError(f"there is no file {file!r} for the space")
    spec = importlib.util.spec_from_file_location("headhunt_user_space", path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"the file {file!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        suggest = getattr(module, function)
    except AttributeError as error:
        raise SpaceError(f"the file {file!r} has no function {function!r}") from error
    except Exception as error:
        raise SpaceError(f"the file {file!r} failed: {type(error).__name__}: {error}") from error
    if len(inspect.signature(suggest).parameters) > 1:
        return Space(settings.space, lambda trial: suggest(trial, options))
    return Space(settings.space, suggest)


def _layers(backbones: Sequence[str]) -> int:
    """Layers of the shallowest backbone; one that cannot be read is a problem told elsewhere."""
    depths = [SpaceOptions().layers]
    for name in backbones:
        with suppress(BackboneError):
            depths.append(int(getattr(load_config(name), "num_hidden_layers", depths[0])))
    return min(depths)


def _try(problems: list[str], expected: type[Exception], attempt: Callable[[], Any]) -> Any:
    """The attempt's result; its failure becomes a problem and None."""
    try:
        return attempt()
    except expected as error:
        problems.append(str(error))
        return None


def _stored_manifest(request: Request, problems: list[str]) -> dict[str, Any] | None:
    there = exists(request.store, request.study)
    if not request.resume:
        if there:
            problems.append(
                f"the study {request.study!r} exists in {request.store}: continue it with "
                "--resume, or choose another --study name"
            )
        return None
    study = _try(problems, StudyError, lambda: Study.open(request.store, request.study))
    if study is None:
        return None
    manifest = study.manifest
    study.close()
    return manifest


def _settings(request: Request, stored: Mapping[str, Any] | None, problems: list[str]) -> Settings:
    """What was said, over what the study was made with, over the defaults."""
    values = dict(stored["settings"]) if stored else {}
    for name, said in request.given.items():
        value = list(said) if isinstance(said, tuple) else said
        if stored and values.get(name) != value:
            problems.append(
                f"the study {request.study!r} was made with {name}={values.get(name)!r}, and "
                f"cannot go on with {value!r}: leave the option out, or start another study"
            )
        values[name] = value
    for name in ("backbones", "objective"):
        if name in values:
            values[name] = tuple(values[name])
    return Settings(**values)


def _corpus(request: Request, settings: Settings, problems: list[str]) -> Corpus | None:
    columns = Columns(
        text=settings.text_column,
        label=settings.label_column,
        patient=settings.patient_column,
        split=settings.split_column,
    )
    try:
        return read_corpus(
            request.notes,
            columns=columns,
            conflicting=settings.conflicting,
            seed=settings.seed,
            train_fraction=settings.train_fraction,
        )
    except CorpusError as error:
        problems += error.problems
        return None


def _backbones(settings: Settings, problems: list[str]) -> dict[str, str]:
    identities = {}
    for name in settings.backbones:
        try:
            check(name)
            identities[name] = identity(locate(name))
        except BackboneError as error:
            problems.append(str(error))
    return identities


def _range_problems(settings: Settings, request: Request) -> list[str]:
    """Numbers out of range, each with its option."""
    unknown = [o for o in settings.objective if o not in OBJECTIVES]
    rules = (
        (settings.max_epochs >= 1, f"--max-epochs must be at least 1; got {settings.max_epochs}"),
        (settings.patience >= 0, f"--patience must not be negative; got {settings.patience}"),
        (settings.max_tokens >= 8, f"--max-tokens must be at least 8; got {settings.max_tokens}"),
        (
            settings.batch_limit >= 1,
            f"--batch-limit must be at least 1; got {settings.batch_limit}",
        ),
        (0 <= settings.seed < 2**31, f"--seed must be in [0, 2**31); got {settings.seed}"),
        (
            settings.precision in ("auto", "fp32", "bf16"),
            f"--precision is auto, fp32 or bf16; got {settings.precision!r}",
        ),
        (
            request.slots is None or request.slots >= 1,
            f"--slots must be 1 or more; {request.slots=}",
        ),
        (
            not unknown and len(set(settings.objective)) == len(settings.objective),
            f"--objective is f1 or f1,card-hours; got {','.join(settings.objective)!r}",
        ),
        (
            "f1" in settings.objective,
            "--objective must have f1 in it: card hours alone are least for a model that learns "
            "nothing",
        ),
    )
    return [message for holds, message in rules if not holds]


def _budget(
    request: Request,
    stored: Mapping[str, Any] | None,
    card: Card | None,
    problems: list[str],
) -> Budget:
    """The budget that was named, or the study's, or the default."""
    budget = request.budget
    if budget == Budget():
        budget = Budget(**stored["budget"]) if stored else Budget(trials=DEFAULT_TRIALS)
    for name in ("trials", "card_hours", "gpu_hours", "wall_hours"):
        value = getattr(budget, name)
        if value is not None and value <= 0:
            problems.append(f"--{name.replace('_', '-')} must be positive; got {value}")
    if budget.card_hours is not None and card is None:
        problems.append("--card-hours needs a card: without one there are no card hours")
    return budget


def _manifest(
    request: Request,
    settings: Settings,
    corpus: Corpus,
    card: Card | None,
    budget: Budget,
    identities: dict[str, str],
) -> dict[str, Any]:
    """What was asked, as JSON values, without a word of a note."""
    parts = {part.name.lower(): len(corpus.indices(part)) for part in Part}
    return {
        "study": request.study,
        "settings": {
            k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()
        },
        "space": settings.space,
        "space_file": _file_hash(settings.space),
        "seed": settings.seed,
        "sampler": settings.sampler,
        "objective": list(settings.objective),
        "max_epochs": settings.max_epochs,
        "card": card.to_dict() if card else None,
        "backbones": identities,
        "corpus": {
            "digest": corpus.digest,
            "notes": len(corpus),
            "classes": list(corpus.label_names),
            "parts": parts,
        },
        "budget": asdict(budget),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("headhunt", "torch", "ray", "optuna")},
        },
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _file_hash(space: str) -> str:
    """Hash of a user's own space, so that a study cannot go on with another one."""
    file = space.rpartition(":")[0]
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was when the study was made."""
    said = {
        "corpus": "the notes, their split or their labels",
        "backbones": "the files of a backbone",
        "space_file": "the file of the space",
        "card": "the card",
    }
    return [
        f"{what} changed since the study {stored['study']!r} was made: give it what it was made "
        "with, or start another study"
        for key, what in said.items()
        if stored[key] != now[key]
    ]


def elapsed_clock() -> Callable[[], float]:
    """Hours since now."""
    begin = time.monotonic()
    return lambda: (time.monotonic() - begin) / 3600
