"""Section 4: predicted beside measured seconds of an epoch, the device as a card of its own.

The promise is about the calibrated card. Beside it stands the data sheet's, and what the prediction
would be if launches hid behind the work of the device (the longer of the two, not their sum).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.footprint_time import (
    MEDIAN_BOUND,
    RANK_BOUND,
    Compared,
    median_error,
    rank_correlations,
    timed_configs,
)
from headhunt.trainables.card.calibration import rated
from headhunt.trainables.card.cards import Card, CardError
from headhunt.trainables.card.footprint import Footprinter, Workload
from headhunt.trainables.training.loop import train

from .machine import Machine
from .scale import SMALL, NetConfig, Scale, Traces
from .sections import Deadline, Promise, left_out, table

EPOCHS = 4  # of which the first warms up
NEVER = 1e-15  # seconds of a launch that costs nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    scale: Scale = SMALL
    configs: tuple[tuple[str, NetConfig], ...] = tuple(timed_configs())
    training: int = 320  # notes
    validation: int = 64
    epochs: int = EPOCHS


@dataclass(frozen=True, slots=True)
class Timed:
    """A config's seconds an epoch."""

    name: str
    family: str
    predicted: float  # on the calibrated card
    hidden: float  # the same if launches hid behind the work
    sheet: float | None  # by the data sheet, where it is known
    measured: float

    def against(self, predicted: float) -> Compared:
        """As the benchmark has it."""
        return Compared(self.name, self.family, predicted, self.measured)


@dataclass(frozen=True, slots=True)
class Times:
    """What was found."""

    plan: Plan
    calibrated: Card
    sheet: Card | str  # or why there is none
    rows: list[Timed]

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield f"Calibrated: {rated(self.calibrated)}."
        known = isinstance(self.sheet, Card)
        yield f"Data sheet: {rated(self.sheet) if isinstance(self.sheet, Card) else self.sheet}."
        yield ""
        yield from table(
            [
                "config",
                "predicted ms",
                "launches hidden ms",
                "data sheet ms",
                "measured ms",
                "error",
            ],
            (
                [
                    row.name,
                    f"{row.predicted * 1e3:,.1f}",
                    f"{row.hidden * 1e3:,.1f}",
                    "" if row.sheet is None else f"{row.sheet * 1e3:,.1f}",
                    f"{row.measured * 1e3:,.1f}",
                    f"{row.against(row.predicted).error:+.0%}",
                ]
                for row in self.rows
            ),
        )
        yield from left_out(len(self.rows), len(self.plan.configs))
        if not self.rows:
            return
        yield ""
        columns = {
            "calibrated": [row.against(row.predicted) for row in self.rows],
            "launches hidden": [row.against(row.hidden) for row in self.rows],
        }
        if known:
            columns["data sheet"] = [row.against(row.sheet or 0.0) for row in self.rows]
        families = list(rank_correlations(columns["calibrated"]))
        yield from table(
            ["prediction", "median error", *families],
            (
                [
                    name,
                    f"{median_error(rows):.0%}",
                    *(f"{value:.3f}" for value in rank_correlations(rows).values()),
                ]
                for name, rows in columns.items()
            ),
        )

    def promises(self) -> Sequence[Promise]:
        """Of the calibrated card."""
        rows = [row.against(row.predicted) for row in self.rows]
        ranks = {f: r for f, r in rank_correlations(rows).items() if not np.isnan(r)}
        return [
            Promise(
                f"the median error of the predicted time is at most {MEDIAN_BOUND:.0%}",
                median_error(rows) <= MEDIAN_BOUND if rows else None,
                f"{median_error(rows):.0%} of {len(rows)} configs" if rows else "",
            ),
            Promise(
                f"the rank correlation within each family is at least {RANK_BOUND}",
                min(ranks.values()) >= RANK_BOUND if ranks else None,
                ", ".join(f"{family} {rank:.3f}" for family, rank in ranks.items()),
            ),
        ]


def times(machine: Machine, deadline: Deadline, plan: Plan | None = None) -> Times:
    """Calibrate, predict, measure."""
    plan = plan or Plan()
    with machine.whole():
        calibrated = machine.calibrated()
        try:
            sheet: Card | str = machine.known()
        except CardError as error:
            sheet = str(error)
        workload = plan.scale.mixed_workload(plan.training, plan.validation)
        traces: Traces = {}
        on_it = plan.scale.footprinter(calibrated, workload, traces)
        unlaunched = replace(calibrated, launch_seconds=NEVER)
        without = plan.scale.footprinter(unlaunched, workload, traces)
        by_sheet = (
            plan.scale.footprinter(sheet, workload, traces) if isinstance(sheet, Card) else None
        )
        rows = []
        for name, config in plan.configs:
            if deadline.left <= 0:
                break
            predicted, work = seconds(on_it, config), seconds(without, config)
            rows.append(
                Timed(
                    name,
                    config.family,
                    predicted=predicted,
                    hidden=max(work, predicted - work),
                    sheet=seconds(by_sheet, config) if by_sheet else None,
                    measured=epoch_seconds(machine, plan.scale, config, workload, plan.epochs),
                )
            )
    return Times(plan, calibrated, sheet, rows)


def seconds(footprinter: Footprinter, config: NetConfig) -> float:
    """Of an epoch, predicted."""
    found = footprinter(config)
    assert found is not None  # no baseline is asked for
    return found.epoch_seconds


def epoch_seconds(
    machine: Machine, scale: Scale, config: NetConfig, workload: Workload, epochs: int
) -> float:
    """The fastest after the first; the processor's seconds where it is the device."""
    machine.functions.release()
    running = train(
        lambda: scale.network(config),
        scale.task(config, workload),
        config.optimisation,
        scale.settings(epochs),
        seed=0,
        device=machine.device,
    )
    reports = [epoch.report for epoch in running][1:]
    on_cpu = machine.device.type == "cpu"
    return min(report.cpu_seconds if on_cpu else report.wall_seconds for report in reports)
