"""What `headhunt footprint --calibrate` does, and how a command line calls its parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

from ._stores import refuse

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def calibrate_device(
    file: Path, watts: float | None, error: Console, *, beside: str, force: bool
) -> None:
    """Measure the device and write its card; `beside` are the other options that were said."""
    problems = []
    if file.suffix != ".toml":
        problems.append(f"a card file ends in .toml; got {file.name!r}")
    elif file.exists() and not force:
        problems.append(f"{file} exists: name another file, or use --force to overwrite it")
    if watts is not None and not 0 < watts < math.inf:
        problems.append(f"--watts must be a positive number; got {watts}")
    if beside:
        problems.append(f"--calibrate measures the device and does no more: {beside}")
    if problems:
        refuse(*problems)
    with error.status("loading torch") as status:
        from ...trainables.card.calibration import calibrate, rated
        from ...trainables.card.cards import CardError, card_toml

        try:
            card = calibrate(watts, on_step=lambda step: status.update(f"measuring {step}"))
            file.write_text(card_toml(card), encoding="utf-8")
        except CardError as problem:
            refuse(str(problem))
        except OSError as problem:
            refuse(f"{file} cannot be written: {problem.strerror}")
    typer.echo(f"{file}: {card.name}, {rated(card)}")


def options_named(names: set[str]) -> str:
    """Parameters as the command line calls them."""
    said = {"model": "MODEL", "written_as": "--format"}
    return ", ".join(said.get(n, f"--{n.replace('_', '-')}") for n in sorted(names))
