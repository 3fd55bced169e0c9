"""How busy the slots are: 100 trials of a few seconds on this machine, after the features exist.

Training time is the trials' own (`wall_seconds`); slot time runs from the moment at which the
features exist to the end of the last trial. So the start of the workers counts against us.
"""

import tempfile
import time
from pathlib import Path

from headhunt.analysis import trials
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Plan, Watcher
from headhunt.search.run import Layout, Show, run_search
from headhunt.search.settings import Request
from headhunt.trainables.models.backbones import demo_backbone
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, TRIALS, EPOCHS = 400, 100, 3
LIMIT = 0.9


def measure() -> str:
    """Run the search and say how busy it was."""
    backbone = demo_backbone()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.csv"
        write_synthetic_notes(notes, NOTES)
        times: dict[str, float] = {}
        layouts: list[Layout] = []

        def on_plan(plan: Plan, layout: Layout) -> None:
            del plan
            times["features"] = time.perf_counter()
            layouts.append(layout)

        def on_end(trial: object) -> None:
            del trial
            times["last"] = time.perf_counter()

        request = Request(
            notes=notes,
            study="busy",
            store=Path(folder),
            given={
                "space": "all" if backbone else "scratch",
                "backbones": (backbone,) if backbone else (),
                "max_epochs": EPOCHS,
            },
            budget=Budget(trials=TRIALS),
        )
        show = Show(
            watcher=Watcher(on_end=on_end),
            on_encoding=lambda *_: None,
            on_encoded=lambda _: None,
            on_plan=on_plan,
            on_tick=lambda: None,
        )
        run_search(prepare(request), show)
        frame = trials("busy", store=folder)
    elapsed = times["last"] - times["features"]
    busy = frame["wall_seconds"].sum() / (layouts[0].slots * elapsed)
    return (
        f"busy: {busy:.0%} of slot time was training ({TRIALS} trials of "
        f"{frame['wall_seconds'].mean():.1f} s in mean, {layouts[0].slots} slots, {elapsed:.0f} s; "
        f"at least {LIMIT:.0%})"
    )
