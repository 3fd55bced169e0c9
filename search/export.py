"""A study's trial as an exported model: which one, its weights, its calibration, and its folder.

What a study does not keep is made again, and compared with what it recorded. The command line
shows what is said here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..spaces.configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    ScratchConfig,
    backbone_label,
)
from ..spaces.record import State
from ..stores import confirmed_by
from ..trainables.artifact.calibration import as_logits, calibrate, softmax
from ..trainables.artifact.description import ArtifactError, BackboneReference, is_whole_encoder
from ..trainables.artifact.export import Trained, refuse_taken, write_artifact
from ..trainables.artifact.load import load_artifact
from ..trainables.artifact.model_card import Confirmed, told_costs, vocabulary_remark
from ..trainables.artifact.terms import layers_of, terms_of
from ..trainables.artifact.tokenizing import of_backbone, of_scratch_model
from ..trainables.models.backbones import (
    DEMO,
    DEMO_PACKAGE,
    hub_place,
    identity,
    load_config,
    load_tokenizer,
    locate,
    position_limit,
)
from ..trainables.notes.cache import cache_dir
from ..trainables.notes.corpus import Corpus, CorpusError, Part
from ..trainables.notes.tokens import TOKENIZER_FILE, encode_tokens
from ..trainables.worker import settle
from .forget import notes_of
from .launch import states_of
from .manifest import corpus_facts, differences, tell_texts
from .retrain import Hooks, Weighed, materials_for, weigh
from .settings import Settings
from .study import Study, Trial

CHECKED_NOTES = 32  # of validation, predicted by the folder itself before it has its name
CHECKED_DIFFERENCE = 0.05  # of a probability; half precision and other batches make a hundredth


class ExportError(ValueError):
    """A trial cannot be exported: every reason that was found."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is exported, and where to."""

    trial: int | None  # None: the best one
    folder: Path
    notes: Path | None  # None: the file that was searched on this machine
    copy_backbone: bool = False
    overwrite: bool = False
    confirmed: Sequence[Confirmed] = ()  # metrics on test of the trial's config


@dataclass(frozen=True, slots=True, kw_only=True)
class Shows:
    """What the command line wants to be told."""

    hooks: Hooks = field(default_factory=Hooks)
    say: Callable[[str], None] = lambda _: None


def choose_trial(study: Study, number: int | None) -> Trial:
    """The trial of this number, or the complete one with the best F1, the earliest of equals.

    Raises:
        ExportError: there is none, none that has a score, or the study confirms another.
    """
    if searched := confirmed_by(study.name):
        raise ExportError(
            f"the study {study.name!r} measures the models of {searched!r} and keeps none of its "
            f"own: `headhunt export {searched}`, and the card tells what was measured"
        )
    if number is None:
        complete = [t for t in study.trials if t.state is State.COMPLETE and t.best]
        if not complete:
            raise ExportError(f"no trial of the study {study.name!r} is complete")
        return max(complete, key=lambda t: (t.best.f1 if t.best else 0.0, -t.number))
    if not 0 <= number < len(study.trials):
        raise ExportError(
            f"--trial {number}: the study {study.name!r} has the trials 0 to "
            f"{len(study.trials) - 1}; `headhunt trials {study.name}` lists them"
        )
    trial = study.trials[number]
    if trial.state not in (State.COMPLETE, State.PRUNED) or not trial.best:
        raise ExportError(
            f"--trial {number} is {trial.state} and has no score: export one that is complete, or "
            "pruned"
        )
    return trial


def export_trial(study: Study, work: Path, request: ExportRequest, shows: Shows) -> Trial:
    """Write the trial's folder.

    Args:
        study: open, so that nobody searches it.
        work: the store's folder on this machine.
        request: what is asked for.
        shows: is told how far it is.

    Raises:
        ExportError: the study's notes, backbones or files are no longer what they were.
        ArtifactError: the folder is there.
        OtherNumbersError: the model does not have the scores that the study recorded.
        BackboneError: a backbone's files are missing or torn.
        EncodingError, ShortOfMemoryError: the notes cannot be encoded anew.
        OSError: something cannot be written.
    """
    trial = choose_trial(study, request.trial)
    refuse_taken(request.folder, overwrite=request.overwrite)
    if study.forgotten_at:
        raise ExportError(
            f"the confidential files of the study {study.name!r} were removed at "
            f"{study.forgotten_at}, its models with them: `headhunt search NOTES --study "
            f"{study.name} --resume` makes anew what they need"
        )
    settings = Settings.stored(study.manifest)
    corpus = _corpus(study, settings, trial.config, request.notes)
    shows.say(_said(study, trial, chosen=request.trial is None))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        settle(device, torch.get_num_threads())  # the same bits as in the search
    tell_texts(study, corpus)  # what is encoded now is known as its own
    materials = materials_for(
        trial.config,
        corpus,
        settings,
        cache=cache_dir(work),
        states=states_of(settings, study),
        precision=study.manifest["precision"],
        hooks=shows.hooks,
    )
    weighed = weigh(trial, corpus, materials, device, shows.hooks)
    places = corpus.indices(Part.VALIDATION)
    calibration = calibrate(
        as_logits(weighed.probabilities), corpus.labels[places], fitted_on="validation"
    )
    name = trial.config.backbone if isinstance(trial.config, HeadConfig) else ""
    copied = bool(name) and (request.copy_backbone or is_whole_encoder(trial.config))
    description = write_artifact(
        request.folder,
        _trained(study, trial, corpus, settings, weighed, materials.cache),
        calibration,
        confirmed=request.confirmed,
        copied_from=name if copied else "",
        cache=materials.cache,
        overwrite=request.overwrite,
        check=lambda folder: _check(
            folder, None if copied else name, corpus, weighed.probabilities, shows
        ),
    )
    shows.say(f"it is confidential, as the notes are. {vocabulary_remark(description)}")
    return trial


def _said(study: Study, trial: Trial, *, chosen: bool) -> str:
    best = trial.best
    among = sum(t.state is State.COMPLETE for t in study.trials)
    why = f", the best F1 of {among} complete trials" if chosen else f", {trial.state}"
    score = f"F1 {best.f1:.4f} at epoch {best.epoch}" if best else ""
    return f"trial {trial.number} {trial.config.model}: {score}{why}"


def _corpus(study: Study, settings: Settings, config: Config, given: Path | None) -> Corpus:
    """The study's notes, once they and the trial's backbone are found to be what they were."""
    notes = given or notes_of(study.work, study.manifest["corpus"]["digest"])
    if notes is None:
        raise ExportError(
            f"where the notes of the study {study.name!r} are is not known on this machine: name "
            "the file by --notes"
        )
    try:
        corpus = settings.read_corpus(notes)
    except CorpusError as error:
        raise ExportError(*error.problems) from None
    now = {**study.manifest, "corpus": corpus_facts(corpus)}
    if isinstance(config, HeadConfig):
        found = {config.backbone: identity(locate(config.backbone))}
        now["backbones"] = {**study.manifest["backbones"], **found}
    if problems := differences(study.manifest, now):
        raise ExportError(*problems)
    return corpus


def _trained(
    study: Study,
    trial: Trial,
    corpus: Corpus,
    settings: Settings,
    weighed: Weighed,
    cache: Path,
) -> Trained:
    config, labels = trial.config, corpus.label_names
    origin = _origin(study, trial, corpus, settings, weighed)
    if weighed.baseline is not None:
        return Trained(
            config=config,
            labels=labels,
            origin=origin,
            layers=layers_of(weighed.baseline),
            terms=terms_of(weighed.baseline),
        )
    limit, reference = settings.max_tokens, None
    if isinstance(config, HeadConfig):
        limit = min(limit, position_limit(load_config(config.backbone)))
        tokenizer = of_backbone(load_tokenizer(config.backbone), limit)
        reference = _reference(config.backbone)
    else:
        config = cast("ScratchConfig", config)
        folder = encode_tokens(
            corpus,
            cache,
            vocabulary=config.vocabulary,
            max_tokens=limit,
            min_document_frequency=settings.min_document_frequency,
        )
        tokenizer = of_scratch_model(folder / TOKENIZER_FILE, limit)
    return Trained(
        config=config,
        labels=labels,
        origin=origin,
        weights=weighed.weights,
        tokenizer=tokenizer,
        max_tokens=limit,
        precision=study.manifest["precision"],
        backbone=reference,
    )


def _reference(name: str) -> BackboneReference:
    """By what others find the backbone, without a path of this machine."""
    hub_id, revision = hub_place(name)
    return BackboneReference(
        name=DEMO if name == DEMO else backbone_label(name),
        identity=identity(locate(name)),
        hub_id=hub_id,
        revision=revision,
        package=DEMO_PACKAGE if name == DEMO else "",
    )


def _origin(
    study: Study, trial: Trial, corpus: Corpus, settings: Settings, weighed: Weighed
) -> dict[str, Any]:
    """What the description and the card tell of where the model comes from."""
    best, outcome = trial.best, trial.outcome
    if best is None:
        raise ValueError(f"trial {trial.number} has no epoch")
    kept = "kept by the search" if not weighed.retrained else "trained again at the export"
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state.value,
        "config_hash": trial.config_hash,
        "seed": trial.seed,
        "weights": f"{kept}, and found to have the scores that the study recorded",
        "best_epoch": best.epoch,
        "min_document_frequency": settings.min_document_frequency,
        "corpus": _notes(corpus),
        "metrics": {
            "F1": best.f1,
            "accuracy": best.accuracy,
            "precision": best.precision,
            "recall": best.recall,
        },
        "parameters": {
            "trained parameters": outcome.trainable_parameters if outcome else None,
            "parameters in all": outcome.total_parameters if outcome else None,
        },
        "costs": told_costs(_costs(study, trial)),
        "versions": dict(study.manifest["versions"]),
        "commit": study.manifest.get("commit", ""),
    }


def _notes(corpus: Corpus) -> dict[str, Any]:
    """The corpus by its hash and counts."""
    facts = corpus_facts(corpus)
    counts = {
        name: {
            part.name.lower(): int((corpus.labels[corpus.indices(part)] == code).sum())
            for part in Part
        }
        for code, name in enumerate(corpus.label_names)
    }
    return {**facts, "classes": counts, "by_patient": corpus.patients is not None}


def _costs(study: Study, trial: Trial) -> Mapping[str, Any]:
    footprint, card = trial.footprint, study.manifest["card"]
    if isinstance(trial.config, BaselineConfig):  # it uses no GPU
        footprint = None
    return {
        "card": card["name"] if card else "",
        "card_hours": footprint.card_hours(len(trial.reports)) if footprint else None,
        "peak_mib": footprint.peak_bytes / 2**20 if footprint else None,
        "epochs": len(trial.reports),
        "wall_seconds": sum(report.wall_seconds for report in trial.reports),
        "cpu_seconds": sum(report.cpu_seconds for report in trial.reports),
        "device": trial.outcome.device if trial.outcome else None,
    }


def _check(
    folder: Path, backbone: str | None, corpus: Corpus, expected: np.ndarray, shows: Shows
) -> None:
    """Have the folder predict some notes whose probabilities are known.

    Raises:
        ArtifactError: it does not give them.
    """
    places = corpus.indices(Part.VALIDATION)[:CHECKED_NOTES]
    loaded = load_artifact(folder, backbone=backbone or None)
    found = softmax(loaded.model.logits([corpus.texts[place] for place in places]))
    difference = float(np.abs(found - expected[: len(places)]).max())
    if not difference <= CHECKED_DIFFERENCE:
        raise ArtifactError(
            f"the exported model gives other probabilities than the trial, by {difference:.3f}: "
            "nothing is written; please report this, with the trial's model and mode"
        )
    shows.say(
        f"checked: the folder gives the trial's probabilities of {len(places)} validation notes, "
        f"to {difference:.1g}"
    )
