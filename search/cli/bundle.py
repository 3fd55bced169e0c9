"""`headhunt bundle`: a study's results as one file that may be shared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._stores import StoreOption, named_store, refuse

if TYPE_CHECKING:
    from ...analysis import Made, Sharing

app = typer.Typer(add_completion=False)
SHOWN_LABELS = 10


@app.command()
def bundle(
    study: Annotated[str, typer.Argument(help="Name of the study.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, ending in .headhunt.zip. (default: STUDY.headhunt.zip)",
            show_default=False,
        ),
    ] = None,
    called: Annotated[
        str, typer.Option("--as", help="Another name for the study in it.", show_default=False)
    ] = "",
    without_labels: Annotated[
        bool, typer.Option("--without-labels", help="Leave out the names of the classes.")
    ] = False,
    with_corpus_hash: Annotated[
        bool,
        typer.Option(
            "--with-corpus-hash",
            help="Put the hash of the notes in: whoever has the same notes recognises them.",
        ),
    ] = False,
    named_backbones: Annotated[
        list[str] | None,
        typer.Option(
            "--name-backbone",
            help="Tell the name of this backbone, a hub id, which headhunt does not know as "
            "public. Repeatable.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that is there.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write what STUDY has found as one file without text, vocabulary or weights.

    In it are its trials and curves, what was asked, what each column is, and what was confirmed in
    aggregate. `headhunt trials`, `rank` and `compare` read such files in the place of studies.
    """
    from ... import analysis
    from ...analysis.bundle_file import SUFFIX, refuse_file

    sharing = analysis.Sharing(
        called=called,
        labels=not without_labels,
        corpus_hash=with_corpus_hash,
        backbones=tuple(named_backbones or ()),
    )
    try:
        file = output or Path(f"{Path(called or study).name}{SUFFIX}")
        refuse_file(file, overwrite=overwrite)
        made = analysis.bundle(study, store=named_store(store), sharing=sharing)
        size = analysis.write_bundle(made.bundle, file, overwrite=overwrite)
    except (analysis.StoreError, OSError) as error:
        refuse(str(error))
    for line in (f"{file}: {size / 1000:,.1f} kB, readable by you alone", *_told(made, sharing)):
        typer.echo(line)


def _told(made: "Made", sharing: "Sharing") -> list[str]:
    """What is in it, and what is not."""
    return [
        "In it:",
        *_lines(_inside(made, sharing)),
        "Left out:",
        *_lines(_outside(made, sharing)),
    ]


def _lines(told: list[str]) -> list[str]:
    return [f"  {line}" for line in told]


def _inside(made: "Made", sharing: "Sharing") -> list[str]:
    from ...analysis.shareable import CURVES, MODELS, SCORINGS, TRIALS
    from ...analysis.wording import counted
    from ...spaces.record import State

    bundle = made.bundle
    counts = bundle.tables[TRIALS]["state"].value_counts()
    ends = ", ".join(f"{counts[state]} {state}" for state in State if state in counts.index)
    rows = {name: len(table) for name, table in bundle.tables.items()}
    told = [
        f"the study's name: {bundle.study}",
        f"{counted(rows[TRIALS], 'trial')} ({ends}), {counted(rows[CURVES], 'epoch')}",
    ]
    if MODELS in rows:
        told.append(
            f"what was confirmed of {counted(rows[MODELS], 'model')}, scored "
            f"{counted(rows[SCORINGS], 'time')} on test"
        )
    corpus = bundle.manifest.get("corpus") or {}
    if sharing.labels and (labels := corpus.get("classes")):
        more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
        shown = ", ".join(map(repr, labels[:SHOWN_LABELS]))
        told.append(f"the names of the classes: {shown}{more} (--without-labels leaves them out)")
    if "digest" in corpus:
        told.append("the hash of the notes: whoever has the same notes recognises them")
    told.append("exact scores: from many of them the notes of each class can be counted")
    return told


def _outside(made: "Made", sharing: "Sharing") -> list[str]:
    from ...analysis.wording import counted

    told = ["text, patients, vocabularies, weights, and the class and prediction of each note"]
    if not sharing.corpus_hash:
        told.append("the hash of the notes (--with-corpus-hash)")
    if not sharing.labels:
        told.append("the names of the classes")
    told += [
        f"the name of the backbone {given}: it is {name} in it, by the hash of its files"
        for given, name in made.backbones.items()
    ]
    if made.reasons:
        told.append(f"the words of {counted(made.reasons, 'reason')}, but for the kind of failure")
    if made.columns:
        told.append(f"columns that headhunt does not know: {', '.join(made.columns)}")
    if made.fields:
        told.append(f"of the manifest: {', '.join(made.fields)}")
    return told
