"""`headhunt simulate`: what other searches would have come to, on a study's recorded curves."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ._budgets import MOST_SEED, CardHours, StopMargin
from ._stores import StoreOption, named_store, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from ...spaces.record import State
    from ..plan import Budget
    from ..simulation.recorded import Recorded
    from ..simulation.report import Report, Result
    from ..simulation.scenarios import Scenario
    from ..simulation.trainer import Source

app = typer.Typer(add_completion=False)


class SimulationFormat(StrEnum):
    """How the scenarios are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class RungsChoice(StrEnum):
    """Searches with rungs, without, or each of both."""

    ON = "on"
    OFF = "off"
    BOTH = "both"


@app.command()
def simulate(
    study: Annotated[str, typer.Argument(help="Name of the recorded study.")],
    slots: Annotated[str, typer.Option(help="Trials at a time; several with commas: 1,2,8.")] = "1",
    sampler: Annotated[
        str | None,
        typer.Option(
            help="tpe | random | gp | cmaes | nsga2 | recorded (the study's own configs in their "
            "order); several with commas. (default: the study's)",
            show_default=False,
        ),
    ] = None,
    rungs: Annotated[
        RungsChoice | None,
        typer.Option(
            help="Stop weak trials at epochs 1, 2, 4, 8, ... (default: as the study)",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Budget: trials that start. (default: as many as the study has started)",
            show_default=False,
        ),
    ] = None,
    card_hours: CardHours = None,
    wall_hours: Annotated[
        float | None,
        typer.Option(help="Budget: hours by the virtual clock.", show_default=False),
    ] = None,
    stop_margin: StopMargin = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Searches a scenario, each with its own seed.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_SEED, help="The first seed. (default: the study's)", show_default=False
        ),
    ] = None,
    written_as: Annotated[
        SimulationFormat, typer.Option("--format", help="json has every seed's figures.")
    ] = SimulationFormat.TABLE,
    store: StoreOption = None,
) -> None:
    """Replay STUDY's recorded curves on a virtual clock: how many slots, which sampler, how long.

    Nothing is trained and the study is only read. A config that was never recorded takes its curve
    from a surrogate fitted to the study; the output names it and says how far it is off. Hours are
    virtual, seconds are in the names of JSON and CSV.
    """
    from rich.console import Console

    from ... import analysis
    from ..plan import Budget
    from ..sampling import SpaceError
    from ..simulation.recorded import Recorded, SimulationError
    from ..simulation.report import compare

    place = named_store(store)
    with Console(stderr=True, highlight=False).status("reading the study") as status:
        try:
            stored = place.read(study)
            recorded = Recorded.of(study, stored.manifest, stored.trials)
            asked = Budget(
                trials=trials,
                card_hours=card_hours,
                wall_hours=wall_hours,
                stop_margin=stop_margin,
            )
            budget = asked.or_else(recorded.budget)
            scenarios = _scenarios(recorded, slots, sampler, rungs, budget)
            first = recorded.settings.seed if seed is None else seed
            report = compare(
                recorded, scenarios, seeds=range(first, first + seeds), on_progress=status.update
            )
        except (analysis.StoreError, SimulationError, SpaceError) as problem:
            refuse(*str(problem).splitlines())
    _WRITERS[written_as](report)


def _scenarios(
    recorded: Recorded, slots: str, sampler: str | None, rungs: RungsChoice | None, budget: Budget
) -> list[Scenario]:
    """Every combination of what was asked for.

    Raises:
        SimulationError: all that is wrong, a line each.
    """
    from ..sampling import SAMPLERS
    from ..settings import MOST_SLOTS, budget_problems, told
    from ..simulation.recorded import SimulationError
    from ..simulation.scenarios import REPLAY, Scenario

    settings = recorded.settings
    samplers = (sampler or settings.sampler).split(",")
    counts = [int(c) if c.isascii() and c.isdigit() else 0 for c in slots.split(",")]
    known = (*SAMPLERS, REPLAY)
    rules = (
        (
            min(counts) >= 1,
            f"--slots takes numbers from 1 on, commas between; got {told(repr(slots))}",
        ),
        (set(samplers) <= set(known), f"--sampler takes {', '.join(known)}; got {sampler!r}"),
        (max(counts) <= MOST_SLOTS, f"--slots must be at most {MOST_SLOTS:,}"),
        (
            budget.card_hours is None or recorded.limit_bytes is not None,
            "--card-hours needs a study with a card: without one there are no card hours",
        ),
    )
    wrong = [message for holds, message in rules if not holds] + budget_problems(budget)
    if wrong:
        raise SimulationError("\n".join(wrong))
    chosen = {None: [settings.rungs], RungsChoice.BOTH: [True, False]}
    return [
        Scenario(
            sampler=name,
            slots=count,
            rungs=with_rungs,
            budget=budget,
        )
        for name in samplers
        for with_rungs in chosen.get(rungs, [rungs is RungsChoice.ON])
        for count in counts
    ]


def _write_table(report: Report) -> None:
    from ...analysis.tables import console

    out = console()
    out.print(_table(report))
    out.print(
        "Trials: complete/pruned/infeasible/failed. Curves: recorded/partly recorded/guessed."
    )
    for note in report.notes:
        out.print(note)


def _table(report: Report) -> Table:
    from rich import box
    from rich.table import Table

    seeds = len(report.results[0].runs)
    title = f"{report.study}, simulated" + (
        f": means of {seeds} seeds, ± their standard deviation" if seeds > 1 else ""
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("sampler", no_wrap=True)
    for header in (
        "slots",
        "rungs",
        "hours",
        "card\nhours",
        "best F1",
        "hours\nto best",
        "busy",
        "trials",
        "curves",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for result in report.results:
        table.add_row(*_cells(result))
    return table


def _cells(result: Result) -> list[str]:
    from ...analysis.tables import amount
    from ..simulation.report import ENDED
    from ..simulation.trainer import Source

    def figure(name: str, show: Callable[[float], str]) -> str:
        mean, spread = result.mean(name), result.spread(name)
        if mean is None:
            return "-"
        return show(mean) if spread is None else f"{show(mean)}\n±{spread:.2g}"

    def trials(*which: State | Source) -> str:
        return "/".join(f"{result.trials(each):,.0f}" for each in which)

    return [
        result.scenario.sampler,
        f"{result.scenario.slots:,}",
        "on" if result.scenario.rungs else "off",
        figure("wall_hours", amount),
        figure("card_hours", amount),
        figure("best_f1", lambda f1: f"{f1:.4f}"),
        figure("hours_to_best", amount),
        f"{result.mean('busy_share'):.0%}",
        trials(*ENDED),
        trials(*Source),
    ]


def _write_csv(report: Report) -> None:
    import pandas as pd

    frame = pd.DataFrame([result.to_row() for result in report.results])
    frame.to_csv(sys.stdout, index=False, lineterminator="\n")
    for note in report.notes:  # standard output is the table alone
        typer.echo(f"{report.study}: {note}", err=True)


def _write_json(report: Report) -> None:
    typer.echo(json.dumps(report.to_dict(), indent=1, allow_nan=False))


_WRITERS = {
    SimulationFormat.TABLE: _write_table,
    SimulationFormat.CSV: _write_csv,
    SimulationFormat.JSON: _write_json,
}
