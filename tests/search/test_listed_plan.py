"""Plans of a confirmation: a list of trials, of which each is held in the end."""

import itertools
from contextlib import suppress

import pytest

from headhunt.search import ahead
from headhunt.search.plan import TOO_LARGE_IN_A_ROW, Budget, Plan, Watcher
from headhunt.search.replicates import Replicates, Wanted
from headhunt.search.rungs import Rungs
from headhunt.search.study import Study
from headhunt.spaces.record import Replicate, Role, State

from .inline import TOO_LARGE, play
from .toys import MANIFEST, footprint, scratch


class Killed(BaseException):
    """The process is no more."""


def listed(store, configs, *, footprint, resume=False):
    """A plan of a confirmation: each config once, as replicate of a trial of its number."""
    wanted = [
        Wanted.of(config, Role.SEARCH, Replicate(trial=place, number=1), 0)
        for place, config in enumerate(configs)
    ]
    study = Study.open(store, "lab") if resume else Study.create(store, "lab", MANIFEST)
    return Plan(
        study,
        Replicates(wanted, study.trials, lambda _: footprint),
        footprint,
        Rungs((), 3),
        Budget(trials=len(wanted)),
        seed=0,
        elapsed_hours=lambda: 0.0,
        watcher=Watcher(),
        wanted=wanted,
    )


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("measured", [False, True])
def test_a_list_is_gone_through_however_many_of_it_are_too_large(
    tmp_path, monkeypatch, slots, measured
):
    monkeypatch.setattr(ahead, "REFUSALS_IN_A_ROW", 8)
    small = [scratch(0.1 + place) for place in range(3)]
    large = [scratch(100.0 + place) for place in range(TOO_LARGE_IN_A_ROW + 5)]

    def excess(config):
        return 10 if config in large and not measured else -10

    configs = [small[0], *large, *small[1:], scratch(99.0)]
    plan = listed(tmp_path, configs, footprint=lambda config: footprint(excess_mib=excess(config)))
    play(plan, lambda config: [TOO_LARGE] if config in large and measured else [0.5], slots=slots)

    assert [t.config for t in plan.study.trials] == configs
    states = [t.state for t in plan.study.trials]
    assert states.count(State.INFEASIBLE) == len(large)
    assert states.count(State.COMPLETE) == 4
    assert not plan.short
    assert plan.over == f"all trials that were wanted have ended, {len(configs)} of them"
    plan.study.close()


@pytest.mark.parametrize("killed_after", range(4))
def test_a_list_whose_last_ones_are_too_large_ends_as_any_other_wherever_it_was_killed(
    tmp_path, killed_after
):
    configs = [scratch(0.1), scratch(0.2), scratch(100.0), scratch(101.0)]

    def large(config):
        return footprint(excess_mib=10 if config in configs[2:] else -10)

    epochs = itertools.count()

    def kill():
        if next(epochs) == killed_after:
            raise Killed

    plan = listed(tmp_path, configs, footprint=large)
    with suppress(Killed):
        play(plan, lambda _: [0.5, 0.6], on_epoch=kill)
    plan.study.close()
    plan = listed(tmp_path, configs, footprint=large, resume=True)
    play(plan, lambda _: [0.5, 0.6])

    assert [t.config for t in plan.study.trials] == configs
    states = [t.state for t in plan.study.trials]
    assert states == [State.COMPLETE] * 2 + [State.INFEASIBLE] * 2
    assert plan.is_over()
    assert not plan.short
    plan.study.close()
