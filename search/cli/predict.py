"""`headhunt predict`: labels and calibrated probabilities of notes, by an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._stores import INTERRUPTED, SHORT, refuse

if TYPE_CHECKING:
    from ...trainables.artifact.load import LoadedModel
    from ...trainables.artifact.predict import Scored

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that `headhunt export` wrote.")],
    notes: Annotated[Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet with `text`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")],
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Column to copy beside each prediction. (default: the row's number)",
            show_default=False,
        ),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="The notes have labels: print what it is worth on them.")
    ] = False,
    label_column: Annotated[str, typer.Option(help="Column of the labels, for --score.")] = "label",
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Probabilities as the network gives them.")
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Where the model's encoder is here, if it was a directory or has no network to "
            "come by.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that is there.")
    ] = False,
) -> None:
    """Write a label and each label's probability for every note of NOTES, and no text.

    NOTES is read twice, some hundred notes at a time: once to say all that is wrong with it. The
    output has its name once it is whole. Nothing in the model's folder is executed.
    """
    from ...trainables.artifact.description import ArtifactError
    from ...trainables.artifact.predict import predict_file
    from ...trainables.models.backbone_checks import BackboneError
    from ...trainables.notes.formats import CorpusError
    from ...trainables.notes.stream import NoteColumns
    from ._bars import shown_bars

    if problems := _problems(notes, output, text_column, id_column, overwrite=overwrite):
        refuse(*problems)
    columns = NoteColumns(text=text_column, label=label_column if score else None, id=id_column)
    try:
        with shown_bars() as bars:
            loaded = _loaded(model, backbone)
            scored = predict_file(
                loaded,
                notes,
                output,
                columns,
                calibrated=not uncalibrated,
                on_notes=lambda done, total: bars.show("predicted", done, total, "notes"),
            )
    except CorpusError as error:
        refuse(*error.problems)
    except (ArtifactError, BackboneError) as error:
        refuse(str(error))
    except OSError as error:
        typer.echo(f"error: {output} cannot be written: {error.strerror or error}", err=True)
        raise typer.Exit(SHORT) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing is written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if scored:
        _print(scored, loaded)


def _loaded(model: Path, backbone: str | None) -> LoadedModel:
    """The model in the folder; what is wrong with its files is not wrong with the output."""
    from ...trainables.artifact.description import ArtifactError
    from ...trainables.artifact.load import load_artifact

    try:
        return load_artifact(model, backbone=backbone)
    except OSError as error:
        raise ArtifactError(f"{model} cannot be read: {error.strerror or error}") from None


def _problems(
    notes: Path, output: Path, text: str, id_column: str | None, *, overwrite: bool
) -> list[str]:
    problems = []
    if output.exists() and notes.exists() and output.samefile(notes):
        problems.append(f"-o {output} is the file of notes: name another one")
    elif output.is_dir() or (output.exists() and not overwrite):
        problems.append(f"{output} exists: name another file, or replace it with --overwrite")
    if output.suffix.lower() != ".csv":
        problems.append(f"predictions are written as CSV, so -o ends in .csv; got {output.name!r}")
    if not output.parent.is_dir():
        problems.append(f"there is no folder {output.parent} for the predictions")
    if id_column == text:
        problems.append("--id-column is the column of the texts, which are never written")
    return problems


def _print(scored: Scored, loaded: LoadedModel) -> None:
    scores = scored.scores
    for name, value in {
        "notes": f"{scored.notes:,}",
        "F1": f"{scores.f1:.4f} (macro mean over the classes that are there)",
        "accuracy": f"{scores.accuracy:.4f}",
        "precision": f"{scores.precision:.4f}",
        "recall": f"{scores.recall:.4f}",
        "loss": f"{scores.loss:.4f} nats a note",
        "expected calibration error": f"{scored.calibration_error:.4f}",
    }.items():
        typer.echo(f"{name}: {value}")
    trained = loaded.description.origin["corpus"]["digest"]
    typer.echo(
        f"The model was trained on notes of the corpus {trained[:8]}: on those it flatters itself."
    )
