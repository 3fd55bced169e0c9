"""`headhunt corpus`: check notes before a search, or write the synthetic ones to try it with.

What a search would see goes to standard output; what is wrong goes to standard error, all of it at
once, with exit status 2. Labels, counts and row numbers are shown, notes and patients never.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from ...trainables.notes.corpus import Corpus

# Locals in a traceback could hold notes.
app = typer.Typer(
    help="Check a corpus, or write the synthetic one.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

_PERCENTILES = (5, 25, 50, 75, 95, 100)


class Conflicting(StrEnum):
    """What happens to identical texts with different labels."""

    KEEP = "keep"
    DROP = "drop"


@app.command()
def check(
    notes: Annotated[Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet.")],
    text_column: Annotated[str, typer.Option(help="Column of the texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    patient_column: Annotated[
        str, typer.Option(help="Column of the patients; '' ignores patients.")
    ] = "patient_id",
    split_column: Annotated[
        str, typer.Option(help="Column with train, validation or test; '' splits anew.")
    ] = "split",
    conflicting: Annotated[
        Conflicting, typer.Option(help="Identical texts with different labels.")
    ] = Conflicting.KEEP,
    seed: Annotated[int, typer.Option(help="Of the split and of --train-fraction.")] = 0,
    train_fraction: Annotated[
        float, typer.Option(help="Share of the training notes to keep, in (0, 1].")
    ] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="A search cuts longer notes.")] = 256,
    backbone: Annotated[
        str | None, typer.Option(help="Count its tokens, not words: an id or a directory.")
    ] = None,
) -> None:
    """Show what a search would see in NOTES; say all that is wrong with it."""
    from rich.console import Console

    from ...trainables.notes.corpus import Columns, CorpusError, read_corpus

    columns = Columns(
        text=text_column,
        label=label_column,
        patient=patient_column or None,
        split=split_column or None,
    )
    problems: list[str] = []
    count, unit = _token_counter(backbone, problems)
    try:
        corpus = read_corpus(
            notes,
            columns=columns,
            conflicting=conflicting.value,
            seed=seed,
            train_fraction=train_fraction,
        )
    except CorpusError as error:
        _refuse([*problems, *error.problems])
    if problems:
        _refuse(problems)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(_overview(corpus))
    console.print(_classes(corpus))
    console.print(_split(corpus))
    console.print(_lengths(count(corpus.texts), unit, max_tokens))
    for finding in corpus.findings:
        console.print(f"- {finding}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")],
    notes: Annotated[int, typer.Option(min=1, max=10_000_000, help="Notes to write.")] = 5444,
    seed: Annotated[int, typer.Option(help="Same seed, same notes.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the synthetic corpus: invented French notes, of no patient, to try a search with."""
    from ...trainables.notes.synthetic import write_synthetic_notes

    if output.suffix.lower() != ".csv":
        _refuse([f"the corpus is written as CSV, so its name ends in .csv; got {output.name!r}"])
    if output.exists() and not force:
        _refuse([f"{output} exists; choose another name, or overwrite it with --force"])
    try:
        patients = write_synthetic_notes(output, notes, seed)
    except OSError as error:
        _refuse([f"{output} cannot be written: {error.strerror}"])
    except ValueError as error:
        _refuse([str(error)])
    typer.echo(
        f"{output}: {notes} synthetic notes of {patients} invented patients ({seed=}). "
        "They are made up by a program: scores on them say nothing about clinical notes."
    )


def _refuse(problems: Sequence[str]) -> NoReturn:
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(2)


def _token_counter(
    backbone: str | None, problems: list[str]
) -> tuple[Callable[[Sequence[str]], list[int]], str]:
    """What counts the tokens of texts, and what it counts; why it cannot goes to `problems`."""

    def words(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    if backbone is None:
        return words, "words between white space; --backbone counts its tokens, which are more"
    from ...trainables.models.backbones import BackboneError, load_tokenizer

    try:
        tokenizer = load_tokenizer(backbone)
    except BackboneError as error:
        problems.append(str(error))
        return words, ""

    def tokens(texts: Sequence[str]) -> list[int]:
        # The limit of a search includes the special tokens, so they are counted here.
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    return tokens, f"tokens of {backbone}, special tokens included"


def _table(title: str, *headers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, header in enumerate(headers):
        table.add_column(header, justify="right" if place else "left")
    return table


def _overview(corpus: Corpus) -> Table:
    from ...trainables.notes.corpus import conflicting_notes
    from ...trainables.notes.split import text_key

    table = _table("Corpus", "what", "count")
    table.add_row("notes", str(len(corpus)))
    table.add_row("patients", _patients(corpus, range(len(corpus))))
    table.add_row("classes", str(len(corpus.label_names)))
    distinct = len({text_key(text) for text in corpus.texts})
    table.add_row("notes that repeat an earlier text", str(len(corpus) - distinct))
    conflicts = conflicting_notes(corpus.texts, corpus.labels)
    table.add_row("notes whose text has other labels too", str(len(conflicts)))
    return table


def _classes(corpus: Corpus) -> Table:
    """A row a class: its notes, and its share of all notes and of each part's."""
    from rich.text import Text

    from ...trainables.notes.corpus import Part

    parts = [part.name.lower() for part in Part]
    table = _table("Classes, and the share of each", "class", "notes", "all", *parts)
    for code, name in enumerate(corpus.label_names):
        held = corpus.labels == code
        shares = [held.mean(), *(held[corpus.indices(part)].mean() for part in Part)]
        # As Text, and escaped: a label is data, neither markup nor terminal control.
        shown = name if name.isprintable() else repr(name)
        table.add_row(Text(shown), str(held.sum()), *(f"{share:.1%}" for share in shares))
    return table


def _split(corpus: Corpus) -> Table:
    from ...trainables.notes.corpus import Part

    table = _table("Split", "part", "notes", "share", "patients")
    for part in Part:
        places = corpus.indices(part)
        share = len(places) / len(corpus)
        patients = _patients(corpus, places.tolist())
        table.add_row(part.name.lower(), str(len(places)), f"{share:.1%}", patients)
    return table


def _patients(corpus: Corpus, places: Sequence[int]) -> str:
    if corpus.patients is None:
        return "not known"
    known = {corpus.patients[place].strip() for place in places} - {""}
    return str(len(known))


def _lengths(tokens: Sequence[int], unit: str, max_tokens: int) -> Table:
    import numpy as np

    table = _table(f"Lengths, in {unit}", "what", "tokens")
    table.add_row("all notes together", str(sum(tokens)))
    for percentile in _PERCENTILES:
        name = "longest note" if percentile == 100 else f"{percentile} % of notes have at most"
        table.add_row(name, f"{np.percentile(tokens, percentile, method='higher'):.0f}")
    longer = sum(count > max_tokens for count in tokens)
    table.add_row(f"notes longer than {max_tokens}", f"{longer} ({longer / len(tokens):.1%})")
    return table
