from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headhunt.search.groups import Groups
from headhunt.search.plan import Budget, Turn
from headhunt.spaces.configs import HeadConfig, Mode, Optimisation
from headhunt.spaces.heads import AdapterHead, GrnHead
from headhunt.trainables.assignment import Assignment

from .toys import footprint, scratch

NARROW = HeadConfig(backbone="some/encoder", head=AdapterHead(bottleneck=8))
WIDE = replace(NARROW, head=AdapterHead(bottleneck=64))
WHOLE = replace(NARROW, mode=Mode.FULL)


def at_rate(config, rate):
    return replace(config, optimisation=Optimisation(learning_rate=rate))


class Planned:
    """A plan that was given its configs; it is over when they are."""

    def __init__(self, *configs, peak_mib=None):
        need = peak_mib and footprint(excess_mib=peak_mib - 1748)
        trials = [
            SimpleNamespace(footprint=need, config=config, replicate=None) for config in configs
        ]
        self.study = SimpleNamespace(trials=trials)
        self._todo = [Assignment(number=n, config=c, seed=n) for n, c in enumerate(configs)]
        self._configs = configs
        self.budget = Budget()
        self.deaths = []

    def started(self):
        return len(self._configs) - len(self._todo)

    def next(self):
        return self._todo.pop(0) if self._todo else Turn.OVER

    def is_over(self):
        return not self._todo

    def died(self, number, reason):
        self.deaths.append((number, reason))
        self._todo.append(Assignment(number=number, config=self._configs[number], seed=number))


def groups_of(plan: Any, most: int, slots: int = 1) -> Groups:
    return Groups(plan, most, lambda: slots)


def all_groups(groups: Groups):
    found = []
    while not isinstance(turn := groups.next(), Turn):
        found.append([assignment.number for assignment in turn])
    return found


def test_consecutive_heads_of_one_shape_make_a_group_and_nothing_is_reordered():
    planned = Planned(NARROW, at_rate(NARROW, 0.01), WIDE, NARROW, at_rate(NARROW, 0.02))

    assert all_groups(groups_of(planned, 8)) == [[0, 1], [2], [3, 4]]


def test_a_group_has_at_most_as_many_as_were_asked_for():
    planned = Planned(*[at_rate(NARROW, 0.001 * n) for n in range(1, 6)])

    assert all_groups(groups_of(planned, 2)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("config", [scratch(), WHOLE], ids=["scratch", "full"])
def test_only_heads_on_a_frozen_backbone_are_grouped(config):
    planned = Planned(config, at_rate(config, 0.01))

    assert all_groups(groups_of(planned, 8)) == [[0], [1]]


def test_one_at_a_time_asks_the_plan_for_one_at_a_time():
    planned = Planned(NARROW, NARROW)

    groups_of(planned, 1).next()

    assert not planned.is_over()


@pytest.mark.parametrize(("share", "groups"), [(0.74, [[0, 1], [2, 3], [4]]), (0.76, None)])
def test_a_group_leaves_a_quarter_of_the_card_to_the_features_by_its_footprints(share, groups):
    planned = Planned(*[NARROW] * 5, peak_mib=1748 * share / 2)

    assert all_groups(groups_of(planned, 8)) == (groups or [[0], [1], [2], [3], [4]])


def test_what_is_left_of_a_budget_is_shared_by_all_slots():
    planned = Planned(*[NARROW] * 10)
    planned.budget = Budget(trials=10)

    assert all_groups(groups_of(planned, 8, slots=4)) == [[0, 1, 2], [3, 4], [5, 6], [7], [8], [9]]


def test_a_shape_whose_group_came_apart_is_trained_alone_from_then_on():
    planned = Planned(NARROW, NARROW, NARROW, at_rate(NARROW, 0.02), WIDE, WIDE)
    groups = groups_of(planned, 2)
    groups.next()

    groups.came_apart(0)

    assert all_groups(groups) == [[2], [3], [4, 5]]


def test_the_search_is_not_over_while_a_trial_that_was_taken_waits_for_its_slot():
    planned = Planned(NARROW, WIDE)
    groups = groups_of(planned, 8)

    groups.next()

    assert planned.is_over()
    assert not groups.is_over()
    assert [a.number for a in cast("Any", groups.next())] == [1]
    assert groups.is_over()


def test_a_trial_whose_process_died_is_tried_again_alone():
    planned = Planned(NARROW, NARROW, NARROW, NARROW)
    groups = groups_of(planned, 2)
    groups.next()

    groups.died(0, "killed")
    groups.died(1, "killed")

    assert planned.deaths == [(0, "killed"), (1, "killed")]
    assert all_groups(groups) == [[2, 3], [0], [1]]


def test_a_head_of_another_kind_is_another_shape():
    other = replace(NARROW, head=GrnHead(bottleneck=8))

    assert all_groups(groups_of(Planned(NARROW, other), 8)) == [[0], [1]]
