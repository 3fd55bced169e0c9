"""From what was asked to a running search: everything is checked first, then prepared, then run.

All that is wrong is said at once, before the first trial. What a study was made with is in its
manifest; `--resume` takes it from there, and refuses what differs from it.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..spaces.catalogue import USUAL_TRIALS, Space
from ..spaces.configs import Mode
from ..spaces.record import UNREADABLE
from ..stores import Store, StoreError, confirmed_by, store_at
from ..trainables.card.cards import NONE, Card, CardError, load_card
from ..trainables.card.devices import mps_folder, mps_runs
from ..trainables.notes.corpus import Corpus, CorpusError, Part
from ..trainables.notes.features import fastest_precision
from ..trainables.training.states import Kind, Saved, StateStore, state_store
from .identities import identities_of
from .manifest import differences, manifest_of
from .plan import Budget
from .replicates import Wanted
from .sampling import LEARNS_WHAT_FITS, SpaceError
from .settings import (
    MOST,
    Request,
    Settings,
    budget_problems,
    comparison_problems,
    most_problems,
    told,
    usual,
)
from .space_checks import check_sampler
from .space_files import load_space
from .study import OBJECTIVES, Study

ADDRESS = re.compile(r"(ray://)?[^\s/]+:(?P<port>\d{1,5})")
LEAST_TOKENS = 8  # of a note


class LaunchError(ValueError):
    """The search cannot begin: every problem that was found."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search whose input is known to be sound."""

    request: Request
    settings: Settings
    corpus: Corpus
    space: Space
    card: Card | None
    budget: Budget
    precision: str  # of the encoding: bf16 or fp32
    study: Study
    work: Path  # folder of what stays on this machine
    states: StateStore  # of its trials
    forgotten_at: str = ""  # when its confidential files were removed, if they were
    wanted: tuple[Wanted, ...] = ()  # of a confirmation: the trials, which nobody has to propose

    @property
    def warnings(self) -> list[str]:
        """What is no mistake, and may not be what was meant."""
        warnings, sampler = [], self.settings.sampler
        if self.card is not None and sampler != LEARNS_WHAT_FITS:
            warnings.append(
                f"the sampler {sampler!r} does not learn what fits the card: where most of a space "
                f"does not, most of its proposals are infeasible; {LEARNS_WHAT_FITS!r} does"
            )
        if self.forgotten_at:
            warnings.append(
                f"the confidential files of the study were removed at {self.forgotten_at}: they "
                "are made anew from the notes, unfinished trials begin again, and the weights of "
                "those that had ended are gone"
            )
        trials, named = self.budget.trials, self.space.first_trials
        if self.space.asked and trials is not None and trials < named:
            warnings.append(
                f"the space {self.space.name!r} names {named} trials before it searches, so that "
                f"none of its models is left out, and {trials} are fewer"
            )
        frozen = bool(self.settings.backbones) and Mode.FROZEN in self.space.modes
        if self.request.together > 1 and not frozen:
            warnings.append(
                "--together changes nothing here: the space has no heads on a frozen backbone"
            )
        return warnings


def prepare(request: Request) -> Prepared:
    """Check everything, then create or open the study.

    Raises:
        LaunchError: with all problems.
    """
    try:
        store = store_at(request.store)
    except StoreError as error:
        raise LaunchError([str(error)]) from error
    problems: list[str] = []
    continued = _continued(request, store, problems)
    if request.resume and continued is None:  # what was asked then is not known
        raise LaunchError(problems)
    try:
        return _prepared(request, store, continued, problems)
    except BaseException:
        if continued:
            continued.close()
        raise


def _continued(request: Request, store: Store, problems: list[str]) -> Study | None:
    """The study that goes on; None for a new one, whose name must be free."""
    if searched := confirmed_by(request.study):
        problems.append(
            f"the study {request.study!r} is what confirms {searched!r}, and is not searched: "
            f"`headhunt confirm {searched}` makes it and goes on with it"
        )
        return None
    if not request.resume:
        return _try(problems, StoreError, lambda: store.refuse_taken(request.study))
    study = _try(problems, StoreError, lambda: Study.open(store, request.study))
    if study is not None and not _is_whole(study.manifest):
        study.close()
        problems.append(
            f"the study {request.study!r} lacks what a search records, or has it in another form: "
            "it is broken, or of another version"
        )
        return None
    return study


def _prepared(
    request: Request, store: Store, continued: Study | None, problems: list[str]
) -> Prepared:
    stored = continued.manifest if continued else None
    settings = _settings(request, stored, problems)
    corpus = corpus_in(request.notes, settings, problems)
    card = _try(problems, CardError, lambda: load_card(settings.card))
    loaded = stored["backbones"] if stored else {}
    identities = identities_of(store, settings.backbones, problems, loaded)
    space = _try(problems, SpaceError, lambda: load_space(_within_range(settings)))
    _try(
        problems,
        SpaceError,
        lambda: check_sampler(settings.sampler, space, settings.objective),
    )
    problems += range_problems(settings, request)
    problems += comparison_problems(settings)
    problems += _objective_problems(settings)
    problems += checkpoint_problems(settings, request)
    problems += frequency_problems(settings, corpus)
    trials = space.usual_trials if space else USUAL_TRIALS
    budget = _budget(request, stored, trials, card, problems)
    problems += _budget_problems(budget, settings)
    if problems or corpus is None or space is None:
        raise LaunchError(problems)
    precision = stored["precision"] if stored else _precision(settings)
    manifest = manifest_of(request, settings, corpus, card, budget, identities, precision=precision)
    if stored is not None:
        problems += differences(stored, manifest)
    if problems:
        raise LaunchError(problems)
    try:
        study = continued or Study.create(store, request.study, manifest)
        forgotten_at = study.forgotten_at
        if continued:
            study.set_budget(budget)
        if forgotten_at:  # before anything is made of the notes: from here on it is this study's
            study.set_forgotten("")
    except StoreError as error:
        raise LaunchError([str(error)]) from error
    return Prepared(
        request=request,
        settings=settings,
        corpus=corpus,
        space=space,
        card=card,
        budget=budget,
        precision=precision,
        study=study,
        work=store.work,
        states=states_of(settings, study),
        forgotten_at=forgotten_at,
    )


def states_of(settings: Settings, study: Study) -> StateStore:
    """Of the study's trials: in its folder, or where the settings say, under that folder's name."""
    if settings.checkpoints:
        return state_store(settings.checkpoints, study.own_name)
    return study.states


def _try(problems: list[str], expected: type[Exception], attempt: Callable[[], Any]) -> Any:
    """The attempt's result; its failure becomes a problem and None."""
    try:
        return attempt()
    except expected as error:
        problems.append(str(error))
        return None


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether it says all that a search goes on with."""
    try:
        _ = Settings(**manifest["settings"]), Budget(**manifest["budget"])
    except UNREADABLE:
        return False
    return manifest.keys() >= {"precision", "corpus", "backbones", "space_file", "card"}


def _settings(request: Request, stored: Mapping[str, Any] | None, problems: list[str]) -> Settings:
    """What was said, over what the study was made with, over the defaults."""
    # A study from before an option was has its default.
    asked = request.given.get("space", Settings.space)
    values = {**asdict(Settings()), **stored["settings"]} if stored else usual(asked)
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


def corpus_in(notes: Path, settings: Settings, problems: list[str]) -> Corpus | None:
    """The corpus in the file, as the settings say to read it; None where it has problems."""
    try:
        return settings.read_corpus(notes)
    except CorpusError as error:
        problems += error.problems
        return None


def _within_range(settings: Settings) -> Settings:
    """With sizes that a space can be tried with: those out of range are told of by themselves."""
    return replace(
        settings,
        batch_limit=min(max(1, settings.batch_limit), MOST["batch_limit"]),
        max_tokens=min(max(LEAST_TOKENS, settings.max_tokens), MOST["max_tokens"]),
    )


def _precision(settings: Settings) -> str:
    """Of the encoding; settled once, so that a study never mixes two."""
    if settings.precision != "auto":
        return settings.precision
    return fastest_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _objective_problems(settings: Settings) -> list[str]:
    if "card-hours" not in settings.objective:
        return []
    problems = []
    if settings.card.lower() == NONE:
        problems.append("--objective card-hours needs a card: without one there are no card hours")
    if settings.space == "baselines":
        problems.append("--objective card-hours means nothing to baselines, which use no GPU")
    return problems


def checkpoint_problems(settings: Settings, request: Request) -> list[str]:
    """Where states cannot be kept, which is tried."""
    place = settings.checkpoints
    if not place:
        return []
    if "@" in place.partition("://")[2].partition("/")[0]:
        return [
            "--checkpoints: a URL with a password in it would be kept in the study; leave it out"
        ]
    try:
        states = state_store(place, request.study)
        trial = 10**9  # no study's
        states.put(trial, Kind.CHECKPOINT, Saved(0, {"tried": torch.zeros(1)}))
        found = next(states.find(trial, Kind.CHECKPOINT), None)
        states.remove(trial, Kind.CHECKPOINT)
    except (OSError, ValueError, ImportError) as error:
        return [f"--checkpoints {place!r} cannot be used: {error}"]
    if found is None:
        return [f"--checkpoints {place!r} cannot be used: what is written there is not found again"]
    return []


def frequency_problems(settings: Settings, corpus: Corpus | None) -> list[str]:
    """A frequency that no word can have: there are not so many patients."""
    if corpus is None or settings.min_document_frequency <= 1:
        return []
    most = len(set(corpus.groups[corpus.indices(Part.TRAIN)].tolist()))
    if settings.min_document_frequency <= most:
        return []
    return [
        f"--min-document-frequency {settings.min_document_frequency} leaves no word: the training "
        f"notes are of {most} patients (notes of one text count once)"
    ]


def range_problems(settings: Settings, request: Request) -> list[str]:
    """Numbers out of range, each with its option."""
    unknown = [o for o in settings.objective if o not in OBJECTIVES]
    rules = (
        (
            settings.max_epochs >= 1,
            f"--max-epochs must be at least 1; got {told(settings.max_epochs)}",
        ),
        (settings.patience >= 0, f"--patience must not be negative; got {told(settings.patience)}"),
        (
            settings.max_tokens >= LEAST_TOKENS,
            f"--max-tokens must be at least {LEAST_TOKENS}; got {told(settings.max_tokens)}",
        ),
        (
            settings.batch_limit >= 1,
            f"--batch-limit must be at least 1; got {told(settings.batch_limit)}",
        ),
        (
            settings.min_document_frequency >= 1,
            "--min-document-frequency must be at least 1; got "
            f"{told(settings.min_document_frequency)}",
        ),
        (0 <= settings.seed < 2**31, f"--seed must be in [0, 2**31); got {told(settings.seed)}"),
        (
            settings.precision in ("auto", "fp32", "bf16"),
            f"--precision is auto, fp32 or bf16; got {settings.precision!r}",
        ),
        (
            request.slots is None or request.slots >= 1,
            f"--slots must be 1 or more; got {told(request.slots)}",
        ),
        (request.together >= 1, f"--together must be 1 or more; got {told(request.together)}"),
        (
            not request.address or _is_address(request.address),
            f"--address is auto or HOST:PORT of a running Ray cluster; got {request.address!r}",
        ),
        (
            not request.mps or bool(request.address) or mps_runs(),
            f"--mps: no MPS control daemon has its pipe in {mps_folder()}: start "
            "`nvidia-cuda-mps-control -d`, name its folder in CUDA_MPS_PIPE_DIRECTORY, or leave "
            "--mps out",
        ),
        (
            not unknown and len(set(settings.objective)) == len(settings.objective),
            f"--objective is f1 or f1,card-hours; got {','.join(settings.objective)!r}",
        ),
        (
            bool(unknown) or "f1" in settings.objective,
            "--objective must have f1 in it: card hours alone are least for a model that learns "
            "nothing",
        ),
    )
    numbers = {**asdict(settings), "slots": request.slots, "together": request.together}
    return [message for holds, message in rules if not holds] + most_problems(numbers, MOST)


def _is_address(address: str) -> bool:
    told_port = ADDRESS.fullmatch(address)
    return address == "auto" or (told_port is not None and int(told_port["port"]) < 2**16)


def _budget(
    request: Request,
    stored: Mapping[str, Any] | None,
    usual_trials: int,
    card: Card | None,
    problems: list[str],
) -> Budget:
    """The budget that was named, or the study's, or the space's own."""
    before = Budget(**stored["budget"]) if stored else Budget(trials=usual_trials)
    budget = request.budget.or_else(before)
    problems += budget_problems(budget)
    if budget.card_hours is not None and card is None:
        problems.append("--card-hours needs a card: without one there are no card hours")
    if budget.gpu_hours is not None and not request.address and not torch.cuda.is_available():
        problems.append("--gpu-hours needs a GPU to measure: use --wall-hours here")
    return budget


def _budget_problems(budget: Budget, settings: Settings) -> list[str]:
    """Baselines use no GPU: hours alone would never end their search."""
    by_hours = budget.card_hours is not None or budget.gpu_hours is not None
    if settings.space == "baselines" and by_hours:
        return ["baselines use no GPU hours: give --space baselines --trials or --wall-hours"]
    if budget.stop_margin is not None and len(settings.objective) > 1:
        return ["--stop-margin asks for a better F1 alone, and there are two objectives"]
    return []


def elapsed_clock() -> Callable[[], float]:
    """Hours since now."""
    begin = time.monotonic()
    return lambda: (time.monotonic() - begin) / 3600
