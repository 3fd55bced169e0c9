"""headhunt."""

import time
from collections.abc import Callable
from pathlib import Path

from headhunt.analysis import trials
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.search.study import Trial
from headhunt.spaces.record import Role
from headhunt.trainables.models.backbones import DEMO

from . import space
from .problem import SLOTS, TOKENS, Problem, Ran

CONTROLS = 2  # TF-IDF baselines, which every search begins with


def run_headhunt(problem: Problem, count: int, store: Path) -> tuple[Ran, list[float]]:
    """A search of so many adapters after its two controls; and their learning rates."""
    times: dict[str, float] = {"begin": time.perf_counter()}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: times.update({name: time.perf_counter()})

    def started(trial: Trial) -> None:
        if trial.role is not Role.CONTROL:
            times.setdefault("first", time.perf_counter())

    request = Request(
        notes=problem.notes,
        study="peers",
        store=store,
        given={
            "space": f"{Path(space.__file__)}:adapter",
            "backbones": (DEMO,),
            "sampler": "random",
            "rungs": False,
            "patience": 0,
            "max_epochs": problem.epochs,
            "max_tokens": TOKENS,
        },
        budget=Budget(trials=count + CONTROLS),
        slots=SLOTS,
    )
    show = Show(
        watcher=Watcher(on_start=started, on_end=note("end")),
        on_encoding=lambda *_: None,
        on_encoded=lambda _: None,
        on_plan=lambda *_: None,
        on_tick=lambda: None,
    )
    run_search(prepare(request), show)
    frame = trials("peers", store=store)
    ours = frame[frame["role"] == "search"]
    assert (ours["state"] == "complete").all(), ours["reason"].unique()
    ran = Ran(
        "headhunt",
        len(ours),
        times["end"] - times["begin"],
        times["first"] - times["begin"],
        ours["f1"].tolist(),
    )
    return ran, ours["learning_rate"].tolist()
