"""What a search shows while it runs: a live view in a terminal, a line an event elsewhere.

It goes to standard error; standard output is for results. It computes nothing but the time left.
"""

import time
from collections import Counter
from math import isfinite

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..spaces.configs import backbone_label, model_label
from ..spaces.record import EpochReport, State
from .layout import Layout, NodeSlots
from .plan import Plan, Watcher
from .run import Encoding, Show
from .study import Trial
from .tally import ModelTally, Tally

REDRAW_SECONDS = 0.5
MODELS_SHOWN = 12  # in the live view, the best of them; `headhunt status` shows all
LINE_EVERY = 20  # percent of an encoding between two lines where there is no terminal


class ProgressView:
    """A `Show` for people."""

    def __init__(self, together: int = 1) -> None:
        """`together` is how many heads of one shape a slot trains at once, at most."""
        self._together = together
        self.console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._tasks: dict[str, object] = {}
        self._said: dict[str, int] = {}
        self._plan: Plan | None = None
        self._opened = self._began = time.monotonic()
        self._drawn = 0.0
        self._started_before = 0
        self._waits_for = ""

    @property
    def show(self) -> Show:
        """The hooks."""
        return Show(
            watcher=Watcher(self._on_start, self._on_epoch, self._on_end),
            on_encoding=self._on_encoding,
            on_encoded=self._on_encoded,
            on_plan=self._on_plan,
            on_tick=self._on_tick,
            on_wait=self._on_wait,
            on_layout=lambda layout: self.say(f"now {where(layout)}"),
            on_warning=lambda warning: self.say(f"warning: {warning}"),
        )

    def __enter__(self) -> "ProgressView":
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    @property
    def seconds(self) -> float:
        """Since the view was made: encoding and start included."""
        return time.monotonic() - self._opened

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(Text(line), soft_wrap=True)

    def _on_encoding(self, backbone: str, done: int, total: int) -> None:
        label = backbone_label(backbone)
        if self._live:
            if backbone not in self._tasks:
                self._tasks[backbone] = self._bars.add_task(f"encoding with {label}", total=total)
            self._bars.update(self._tasks[backbone], completed=done)  # type: ignore[arg-type]
            self._draw()
            return
        share = 100 * done // max(1, total)
        if share // LINE_EVERY > self._said.get(backbone, -1):
            self._said[backbone] = share // LINE_EVERY
            self.say(f"encoding with {label}: {share} % of {total} tokens")

    def _on_encoded(self, encoding: Encoding) -> None:
        how = "encoded once" if encoding.made else "encoded before, and found"
        label = backbone_label(encoding.backbone)
        self.say(f"features: {encoding.tokens} tokens {how} with {label}, shared by all trials")

    def _on_plan(self, plan: Plan, layout: Layout) -> None:
        self._plan, self._began = plan, time.monotonic()
        self._started_before = plan.started()
        many = f"; up to {self._together} heads of one shape count as one trial there"
        self.say(f"running {where(layout)}{many if self._together > 1 else ''}")

    def _on_wait(self, reason: str) -> None:
        self._waits_for = reason
        if self._live is None:
            self.say(reason or "there is memory again")

    def _on_tick(self) -> None:
        self._draw()

    def _on_start(self, trial: Trial) -> None:
        if self._live is None and trial.reports:
            self.say(f"trial {trial.number} goes on after epoch {trial.reports[-1].epoch}")

    def _on_epoch(self, trial: Trial, report: EpochReport) -> None:
        """An epoch is no event of its own: the trial's end tells of it."""

    def _on_end(self, trial: Trial) -> None:
        if self._live is None:
            self.say(describe(trial))

    def _draw(self) -> None:
        if self._live is None or time.monotonic() - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = time.monotonic()
        if self._plan is None:
            self._live.update(self._bars, refresh=True)
            return
        trials = self._plan.study.trials
        running = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("trial", "model", "epoch", "F1 so far"):
            running.add_column(column, justify="left" if column == "model" else "right")
        for trial in trials:
            if trial.state is State.RUNNING:
                best = f"{trial.best.f1:.3f}" if trial.best and isfinite(trial.best.f1) else ""
                running.add_row(
                    str(trial.number), trial.config.model, str(len(trial.reports)), best
                )
        head = [Text(line) for line in (summary(self._plan, self._left()), self._waits_for) if line]
        models = models_so_far(self._plan.study.tally)
        self._live.update(Group(*head, running, Text(), models), refresh=True)

    def _left(self) -> str:
        """Time left by the share of the budget that this run has spent, or ""."""
        plan = self._plan
        if plan is None:
            return ""
        elapsed = time.monotonic() - self._began
        shares = []
        if plan.budget.trials:
            ended = plan.started() - plan.study.tally.states[State.RUNNING]
            wanted = plan.budget.trials - self._started_before
            if wanted > 0:
                shares.append((ended - self._started_before) / wanted)
        if plan.budget.wall_hours:
            shares.append(elapsed / 3600 / plan.budget.wall_hours)
        if plan.budget.card_hours:
            shares.append(plan.study.card_hours() / plan.budget.card_hours)
        share = max(shares, default=0.0)
        if share <= 0.02 or elapsed < 5:
            return ""
        seconds = elapsed * (1 - min(share, 1.0)) / share
        return f"about {duration(seconds)} left"


def summary(plan: Plan, left: str) -> str:
    """One line: trials by state, the best F1, what was spent, the time left."""
    trials = plan.study.trials
    counts = Counter(trial.state for trial in trials)
    parts = [f"{counts[state]} {state}" for state in State if counts[state]]
    complete = [t for t in trials if t.state is State.COMPLETE and t.best and not t.replicate]
    best = max(complete, key=lambda t: t.best.f1 if t.best else 0.0, default=None)
    if best is not None and best.best is not None:
        parts.append(f"best F1 {best.best.f1:.3f} ({best.config.model}, trial {best.number})")
    parts.append(f"{plan.study.card_hours():.3g} card hours")
    return " · ".join([*parts, *([left] if left else [])])


def models_so_far(tally: Tally) -> Table:
    """A row a model from the best F1, with the figures of `headhunt status`."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    ends = (State.COMPLETE, State.PRUNED, State.INFEASIBLE, State.FAILED)
    for column in ("model", "best F1", "F1 per GPU-hour", "card hours in all", *ends):
        table.add_column(column, justify="left" if column == "model" else "right")
    rows = sorted(tally.models.items(), key=lambda row: (-_best_f1(row[1]), row[0]))
    for names, model in rows[:MODELS_SHOWN]:
        best, hours = model.best, model.card_hours
        paid = best.card_hours if best else 0.0
        table.add_row(
            model_label(*names),
            f"{_best_f1(model):.4f}" if best else "",
            f"{_best_f1(model) / paid:.3g}" if paid else "",
            "" if hours is None else f"{hours:.3g}",
            *(str(model.states[state]) for state in ends),
        )
    return table


def _best_f1(model: ModelTally) -> float:
    return model.best.best.f1 if model.best and model.best.best else -1.0


def describe(trial: Trial) -> str:
    """One line about a trial that has ended."""
    name = f"trial {trial.number} {trial.config.model}"
    if (again := trial.replicate) is not None:
        share = "" if again.train_fraction == 1 else f", {again.train_fraction:g} of the notes"
        name += f" (trial {again.trial} again, seed {again.number}{share})"
    match trial.state:
        case State.COMPLETE | State.PRUNED if trial.best:
            hours = f", {trial.card_hours:.3g} card hours" if trial.footprint else ""
            epochs = len(trial.reports)
            many = "epoch" if epochs == 1 else "epochs"
            test = trial.outcome.test if trial.outcome else None
            score = f"test F1 {test.f1:.3f}" if test else f"F1 {trial.best.f1:.3f}"
            return f"{name} {trial.state}: {score} in {epochs} {many}{hours}"
        case _:
            return f"{name} {trial.state}: {trial.outcome.reason if trial.outcome else ''}"


def where(layout: Layout) -> str:
    """How many trials at a time, and what each has."""
    if not layout.slots:
        return "no trial at a time: no node is left"
    head = f"{layout.slots} {'trial' if layout.slots == 1 else 'trials'} at a time"
    if layout.on_gpus:
        several = len(layout.nodes) > 1
        return f"{head}: " + "; ".join(_devices(part, several) for part in layout.nodes)
    shares = sorted({part.cpus for part in layout.nodes})
    each = f"{head}, each with {' or '.join(f'{share:g}' for share in shares)} CPU"
    return each if len(layout.nodes) == 1 else f"{each} on {len(layout.nodes)} nodes"


def _devices(part: NodeSlots, several: bool) -> str:
    """The devices of a node and what shares them."""
    names = Counter(device.name for device in part.node.survey.devices)
    devices = " and ".join(f"{count} x {name}" for name, count in names.items())
    share = f" of {part.trial_bytes / 2**30:.2g} GiB" if part.trial_bytes else ""
    many = "trial" if part.slots == 1 else "trials"
    host = f" on {part.node.host}" if several else ""
    return f"{devices}{host} with {part.slots} {many}{share}, {part.cpus:g} CPU each"


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
