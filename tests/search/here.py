"""Runs a prepared search in this process, one group after the other: all of it but Ray."""

from collections.abc import Callable

import torch

from headhunt.search import run
from headhunt.search.groups import Groups
from headhunt.search.launch import Prepared
from headhunt.search.plan import Plan, Turn, Watcher
from headhunt.search.run import Show
from headhunt.spaces.record import State
from headhunt.trainables.group import run_group
from headhunt.trainables.steps import Step

CPU = torch.device("cpu")


def run_here(
    prepared: Prepared,
    show: Show | None = None,
    *,
    before_hearing: Callable[[int, Step], None] = lambda *_: None,
) -> Plan:
    """Encode, plan and run; `before_hearing` a step it may raise, which ends everything."""
    nothing = Show(
        watcher=Watcher(),
        on_encoding=lambda *_: None,
        on_encoded=lambda _: None,
        on_plan=lambda *_: None,
        on_tick=lambda: None,
    )
    try:
        run.tell_needs(prepared.study, prepared.corpus, prepared.request.notes)
        shared = run._encode(prepared, show or nothing)
        plan = run._plan(prepared, shared, show or nothing, lambda: 0.0)
        groups = Groups(plan, prepared.request.together, lambda: 1)
        try:
            while not isinstance(group := groups.next(), Turn):
                rounds = run_group(
                    group, prepared.corpus, shared.materials, device=CPU, device_fraction=0.0
                )
                dropped: list[int] | None = None
                while True:
                    try:
                        steps = rounds.send(dropped)
                    except StopIteration:
                        break
                    dropped = []
                    for number, step in steps.items():
                        before_hearing(number, step)
                        ended = step.outcome.state is not State.RUNNING
                        if not plan.hear(number, step) and not ended:
                            dropped.append(number)
        finally:
            plan.close()
        return plan
    finally:
        prepared.study.close()
