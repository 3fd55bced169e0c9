"""`headhunt export`: take a study's model away, as a folder of data."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ._stores import INTERRUPTED, SHORT, StoreOption, WorkOption, named_store, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...spaces.record import EpochReport
    from ...stores import Store
    from ...trainables.artifact.model_card import Confirmed
    from ..export import Shows

app = typer.Typer(add_completion=False)


@app.command()
def export(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    trial: Annotated[
        int | None,
        typer.Option(help="Its number. (default: the best F1 of all)", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The folder to make. (default: STUDY-TRIAL)",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            help="The study's file of notes. (default: where it was when it was searched here)",
            show_default=False,
        ),
    ] = None,
    copy_backbone: Annotated[
        bool,
        typer.Option(
            "--copy-backbone", help="Put the encoder's files into the folder, not a reference."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an exported model that is there.")
    ] = False,
    store: StoreOption = None,
    work: WorkOption = None,
) -> None:
    """Write a model of STUDY to a folder: weights, tokenizer, labels, and a card that tells of it.

    The folder holds data alone, and is confidential: it was learned from notes. Weights that the
    search did not keep (all but those of its ten best networks) are trained again from the trial's
    seed, and must have the scores that the study recorded. The temperature that makes the
    probabilities honest is fitted on the validation notes, so the notes are needed.
    """
    from ...stores import StoreError
    from ...trainables.artifact.description import ArtifactError
    from ...trainables.card.cap import ShortOfMemoryError
    from ...trainables.models.backbone_checks import BackboneError
    from ..export import ExportError, ExportRequest, choose_trial, export_trial
    from ..retrain import OtherNumbersError
    from ..study import Study
    from ..telling import EncodingError

    place = named_store(store, work)
    try:
        opened = Study.open(place, study)
    except StoreError as problem:
        refuse(str(problem))
    try:
        with _shown() as shows:
            chosen = choose_trial(opened, trial).number
            folder = output or Path(f"{study}-{chosen}")
            request = ExportRequest(
                trial=trial,
                folder=folder,
                notes=notes,
                copy_backbone=copy_backbone,
                overwrite=overwrite,
                confirmed=_confirmed(study, chosen, place),
            )
            written = export_trial(opened, place.work, request, shows)
    except ExportError as problem:
        refuse(*problem.problems)
    except (ArtifactError, BackboneError) as problem:
        refuse(str(problem))
    except (OtherNumbersError, ShortOfMemoryError, EncodingError, OSError, StoreError) as problem:
        _fail(str(problem))
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        opened.close()
    typer.echo(f"{folder}: trial {written.number} of {study}; {folder / 'README.md'} tells of it")


def _confirmed(study: str, trial: int, place: Store) -> tuple[Confirmed, ...]:
    """What `headhunt confirm` has measured of the trial's config; empty where it has not."""
    from ...analysis import confirmation
    from ...analysis.confidence import FIGURES, LEVEL
    from ...stores import StudyNotFoundError
    from ...trainables.artifact.model_card import Confirmed

    try:
        found = confirmation(study, store=place)
    except StudyNotFoundError:
        return ()
    models = found.models[found.models["trial"] == trial]
    return tuple(
        Confirmed(
            name="F1" if name == "f1" else name,
            value=row[f"test_{name}"],
            low=row[f"test_{name}_low"],
            high=row[f"test_{name}_high"],
            level=1 - LEVEL,
            seeds=row["seeds"],
            training_notes=row["training_notes"],
            notes=int(found.scorings["test_notes"].max()),
        )
        for row in models.to_dict("records")
        for name in FIGURES
    )


@contextmanager
def _shown() -> Iterator[Shows]:
    """On standard error."""
    from ...spaces.configs import backbone_label
    from ..export import Shows
    from ..retrain import Hooks
    from ._bars import shown_bars

    with shown_bars() as bars:

        def encoding(backbone: str, done: int, total: int) -> None:
            bars.show(f"encoding with {backbone_label(backbone)}", done, total, "tokens")

        def retraining(epochs: int) -> None:
            bars.say(
                "the search kept no weights of it: it is trained again from its seed, to epoch "
                f"{epochs}"
            )

        def epoch(report: EpochReport) -> None:
            bars.say(f"epoch {report.epoch}: F1 {report.f1:.4f}, as the study has it")

        yield Shows(
            hooks=Hooks(on_encoding=encoding, on_retraining=retraining, on_epoch=epoch),
            say=bars.say,
        )


def _fail(problem: str) -> NoReturn:
    typer.echo(f"error: {problem}; nothing is written", err=True)
    raise typer.Exit(SHORT)
