"""`headhunt report`: what studies have found, as one page that opens without a network."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ._frames import StudiesArgument
from ._stores import StoreOption, named_store, refuse

app = typer.Typer(add_completion=False)


class FigureFormat(StrEnum):
    """How a figure is written for a paper."""

    SVG = "svg"
    PDF = "pdf"


@app.command()
def report(
    studies: StudiesArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; one that is there is replaced.")
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Folder for every figure as a file.", show_default=False),
    ] = None,
    figure_format: Annotated[
        FigureFormat, typer.Option("--figure-format", help="Of the files in --figures.")
    ] = FigureFormat.SVG,
    store: StoreOption = None,
) -> None:
    """Write what STUDIES have found as one HTML page: figures, tables, and what each number is."""
    from ...analysis import StoreError
    from ...analysis.report import ReportError, report, write_figures, write_report

    try:
        made = report(studies, store=named_store(store))
        size = write_report(made, output)
        typer.echo(f"{output}: {size / 1e6:.1f} MB, readable by you alone")
        if figures is not None:
            written = write_figures(made, figures, figure_format.value)
            typer.echo(f"{figures}: {len(written)} figures as {figure_format.value}")
    except (StoreError, ReportError, OSError) as error:
        refuse(str(error))
