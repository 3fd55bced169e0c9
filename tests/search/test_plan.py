import itertools
import time
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import TrialState

from headhunt.search import ahead
from headhunt.search.plan import (
    KEPT_WEIGHTS,
    MOST_DEATHS,
    SMALLER,
    TOO_LARGE_IN_A_ROW,
    Budget,
    Plan,
    Turn,
    Watcher,
)
from headhunt.search.rungs import Rungs
from headhunt.search.sampling import Proposer, SpaceError
from headhunt.search.stopping import LEAST_TRIALS
from headhunt.search.study import Study
from headhunt.spaces.catalogue import CONTROLS, Space
from headhunt.spaces.configs import BaselineConfig, config_hash
from headhunt.spaces.record import STARTED, Outcome, Role, State
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.training.states import Kind, file_name

from .inline import DIES, DIVERGES, TOO_LARGE, play
from .toys import EIGHTEEN, FAMILIES, MANIFEST, NUMBERS, epoch_report, footprint, scratch

EPOCHS = 4
PLAIN = Space("plain", NUMBERS.suggest)  # with controls


class Killed(BaseException):
    """The process is no more."""


class Lab:
    """A store with the study `lab`, and plans for it."""

    def __init__(self, store: Path):
        self.store = store
        self.study: Study | None = None
        self.plan: Plan | None = None

    def plans(
        self,
        space=PLAIN,
        *,
        footprint=lambda _: None,
        rungs=(1, 3),
        objective=("f1",),
        elapsed_hours=lambda: 0.0,
        watcher=None,
        known_end=lambda _: None,
        resume=False,
        seed=0,
        **budget,
    ):
        self.study = study = (
            Study.open(self.store, "lab")
            if resume
            else Study.create(self.store, "lab", {**MANIFEST, "objective": list(objective)})
        )
        proposer = Proposer(
            space,
            sampler="tpe",
            seed=seed,
            objective=objective,
            trials=study.trials,
            values=study.values,
        )
        self.plan = Plan(
            study,
            proposer,
            footprint,
            Rungs(rungs, 3),
            Budget(**budget),
            seed=seed,
            elapsed_hours=elapsed_hours,
            watcher=watcher or Watcher(),
            known_end=known_end,
        )
        return self.plan

    def leave(self):
        """The process ends, one way or the other."""
        if self.plan:
            self.plan.close()
        if self.study:
            self.study.close()
        self.plan = self.study = None

    @property
    def trials(self):
        assert self.study
        return self.study.trials

    @property
    def states(self):
        return [t.state for t in self.trials]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.leave()


def curve(config):
    """Rises by epochs towards a height of the config's own."""
    if isinstance(config, BaselineConfig):
        return [0.4]
    height = int(config_hash(config)[:4], 16) / 16**4
    return [height * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]


def fits_half(config):
    """The card holds every other config."""
    if isinstance(config, BaselineConfig):
        return None
    return footprint(excess_mib=10 if int(config_hash(config), 16) % 2 else -10)


def fits_all(config):
    return None if isinstance(config, BaselineConfig) else footprint()


def test_the_controls_run_first(lab):
    played = play(lab.plans(trials=5), curve)

    assert tuple(a.config for a in played.assignments[:2]) == CONTROLS
    assert [t.role for t in lab.trials] == [Role.CONTROL] * 2 + [Role.SEARCH] * 3


def test_each_trial_has_a_seed_of_its_own_that_the_studys_seed_decides(lab, tmp_path):
    play(lab.plans(trials=4, seed=1), curve)
    seeds = [t.seed for t in lab.trials]
    other = Lab(tmp_path / "other")
    play(other.plans(trials=4, seed=2), curve)

    assert len({*seeds, *(t.seed for t in other.trials)}) == 8
    other.leave()


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_a_budget_of_trials_is_met_exactly(lab, slots):
    plan = lab.plans(trials=9)

    played = play(plan, curve, slots=slots)

    assert len(lab.trials) == len(played.assignments) == 9
    assert played.most_at_once == min(slots, 9)
    assert (plan.over, plan.short) == ("the budget of 9 trials is spent", False)
    assert all(t.outcome for t in lab.trials)


@pytest.mark.parametrize("slots", [2, 3])
def test_trials_that_prove_too_large_at_the_end_of_a_budget_are_replaced(lab, slots):
    too_large = iter([False, False, False, True, True])
    known = {}

    def drawn(config):
        if config not in known:
            known[config] = [0.5, TOO_LARGE] if next(too_large, False) else [0.5]
        return known[config]

    plan = lab.plans(NUMBERS, trials=4, footprint=lambda _: footprint(), rungs=())

    play(plan, drawn, slots=slots)

    assert lab.states.count(State.COMPLETE) == 4
    assert lab.states.count(State.INFEASIBLE) == 2
    assert (plan.over, plan.short) == ("the budget of 4 trials is spent", False)


def test_a_slot_waits_while_running_trials_may_use_up_the_budget(lab):
    plan = lab.plans(NUMBERS, trials=2, footprint=lambda _: footprint())
    first, second = plan.next(), plan.next()
    assert isinstance(first, Assignment)
    assert isinstance(second, Assignment)

    assert plan.next() is Turn.WAIT
    assert not plan.is_over()
    assert plan.over == ""
    plan.end(first.number, Outcome(state=State.INFEASIBLE, excess_bytes=1))
    third = plan.next()
    assert isinstance(third, Assignment)
    assert plan.next() is Turn.WAIT
    for running in (second, third):
        plan.end(running.number, Outcome(state=State.COMPLETE))
    assert plan.is_over()
    assert plan.next() is Turn.OVER


@pytest.mark.parametrize("resume", [False, True])
def test_a_config_whose_end_is_known_is_recorded_and_never_started(lab, resume):
    def known_end(config):
        if isinstance(config, BaselineConfig) or config.model != "moe":
            return None
        return Outcome(state=State.INFEASIBLE, reason="measured: needs more", excess_bytes=7)

    started = []
    watcher = Watcher(on_start=lambda trial: started.append(trial.config.model))
    if resume:  # one was running when it was not known yet
        plan = lab.plans(FAMILIES, trials=8, footprint=fits_all)
        while "moe" not in [t.config.model for t in lab.trials]:
            plan.next()
        lab.leave()
    plan = lab.plans(
        FAMILIES, trials=8, footprint=fits_all, watcher=watcher, known_end=known_end, resume=resume
    )

    play(plan, curve, slots=2)

    ends = [t.outcome for t in lab.trials if t.config.model == "moe"]
    assert ends
    assert {(end.state, end.reason, end.excess_bytes) for end in ends} == {
        (State.INFEASIBLE, "measured: needs more", 7)
    }
    assert "moe" not in started
    assert plan.over == "the budget of 8 trials is spent"
    assert sum(t.state in STARTED for t in lab.trials) == 8


def test_infeasible_trials_do_not_count_and_never_start(lab):
    plan = lab.plans(trials=8, footprint=fits_half)

    played = play(plan, curve, slots=2)

    infeasible = [t for t in lab.trials if t.state is State.INFEASIBLE]
    assert infeasible
    assert sum(t.state in STARTED for t in lab.trials) == 8
    assert {a.number for a in played.assignments}.isdisjoint(t.number for t in infeasible)
    assert not any(t.reports for t in infeasible)


def test_a_budget_of_card_hours_ends_the_search_and_what_runs_finishes(lab):
    def hourly(config):
        return None if isinstance(config, BaselineConfig) else footprint(epoch_seconds=3600)

    plan = lab.plans(footprint=hourly, card_hours=10, rungs=())

    play(plan, curve, slots=2)

    assert plan.over == "the budget of 10 card hours is spent"
    assert 10 <= lab.study.card_hours() < 10 + 2 * EPOCHS
    assert set(lab.states) == {State.COMPLETE}


def test_a_budget_of_wall_hours_ends_the_search_by_the_clock(lab):
    epochs = itertools.count()
    plan = lab.plans(wall_hours=2.0, elapsed_hours=lambda: next(epochs) * 0.5)

    play(plan, curve)

    assert plan.over == "the budget of 2 wall hours is spent"
    assert len(lab.trials) == 4


def test_the_first_budget_that_is_reached_ends_the_search(lab):
    plan = lab.plans(trials=3, wall_hours=100.0, card_hours=100.0)

    play(plan, curve)

    assert plan.over == "the budget of 3 trials is spent"


def test_a_space_with_nothing_feasible_ends_short_and_names_the_nearest_config(lab, monkeypatch):
    monkeypatch.setattr(ahead, "REFUSALS_IN_A_ROW", 20)
    excess = itertools.count(30)
    plan = lab.plans(NUMBERS, trials=5, footprint=lambda _: footprint(excess_mib=next(excess)))

    played = play(plan, curve)

    assert played.assignments == []
    assert lab.states == [State.INFEASIBLE] * 20
    assert plan.short
    assert plan.over == (
        "20 proposals in a row did not fit the card; the nearest one needs 1778 MiB, 30 MiB more "
        f"than the 1748 MiB that the card leaves: {SMALLER}"
    )


@pytest.mark.parametrize("slots", [1, 3])
def test_a_search_ends_where_a_better_trial_has_become_unlikely(lab, slots):
    plan = lab.plans(trials=200, stop_margin=0.01, rungs=())

    play(plan, lambda _: [0.5], slots=slots)

    searched = [t for t in lab.trials if t.role is not Role.CONTROL]
    assert LEAST_TRIALS <= len(searched) < LEAST_TRIALS + slots
    assert all(t.outcome for t in lab.trials)
    assert not plan.short
    assert plan.over == (
        f"in {200 - len(lab.trials)} more trials one that beats the best F1 0.500 by 0.01 is "
        "unlikely (0.0%)"
    )
    lab.leave()
    again = lab.plans(trials=200, stop_margin=0.01, rungs=(), resume=True)

    assert play(again, lambda _: [0.5]).assignments == []
    assert "is unlikely" in again.over


def test_a_search_that_climbs_goes_on_and_one_without_a_margin_never_ends_early(lab, tmp_path):
    height = itertools.count()
    known = {}

    def climbing(config):
        return known.setdefault(config, [0.3 + next(height) / 100])

    play(lab.plans(trials=60, stop_margin=0.001, rungs=()), climbing)
    other = Lab(tmp_path / "other")
    play(other.plans(trials=60, rungs=()), lambda _: [0.5])

    assert len(lab.trials) > 55  # of the very last, none may come that is better
    assert len(other.trials) == 60
    other.leave()


def leave_files(study, number):
    """As the trial's worker does."""
    folder = study.states.folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    for kind in Kind:
        (folder / file_name(kind, 1)).touch()


def test_a_trial_measured_too_large_counts_against_no_budget_and_leaves_nothing(lab):
    curves = iter([[0.5, 0.6], [0.5, TOO_LARGE], [TOO_LARGE], [0.4, 0.3]])
    plan = lab.plans(NUMBERS, trials=2, footprint=lambda _: footprint(), rungs=(1,))
    told = {}

    def drawn(config):
        if config not in told:
            told[config] = next(curves)
            leave_files(lab.study, len(told) - 1)
        return told[config]

    play(plan, drawn)

    assert lab.states[1] is lab.states[2] is State.INFEASIBLE
    assert plan.started() == 2
    assert plan.over == "the budget of 2 trials is spent"
    assert lab.trials[1].outcome.best_epoch == 1  # told, but scores nothing
    assert [lab.study.states.folder(n).exists() for n in range(3)] == [True, False, False]
    lab.leave()

    plan = lab.plans(NUMBERS, trials=2, footprint=lambda _: footprint(), resume=True)
    assert lab.states[1:3] == [State.INFEASIBLE] * 2
    assert lab.trials[2].outcome.excess_bytes == 2**20
    assert plan.next() is Turn.OVER


def test_a_model_that_is_wrong_about_the_memory_does_not_search_for_ever(lab):
    plan = lab.plans(NUMBERS, trials=5, footprint=lambda _: footprint())

    play(plan, lambda _: [TOO_LARGE])

    assert lab.states == [State.INFEASIBLE] * TOO_LARGE_IN_A_ROW
    assert plan.short
    assert plan.over == (
        "20 trials in a row were too large for the card, though their footprints fit; the nearest "
        "one measured: needs more in epoch 1"
    )


def test_a_trial_that_was_pruned_has_run_and_ends_the_row_of_those_that_were_too_large(lab):
    heights = {}

    def drawn(config):
        place = heights.setdefault(config, len(heights))
        return [TOO_LARGE] if place % TOO_LARGE_IN_A_ROW else [1 - place / 1000] * EPOCHS

    plan = lab.plans(NUMBERS, trials=4, footprint=lambda _: footprint())

    play(plan, drawn)

    assert lab.states.count(State.PRUNED) == 3
    assert plan.over == "the budget of 4 trials is spent"


def test_a_small_space_of_which_nothing_fits_ends_with_the_nearest_config(lab):
    excess = itertools.count(30)
    space = Space("eighteen", EIGHTEEN.suggest)  # with controls, which fit everywhere

    def need(config):
        if isinstance(config, BaselineConfig):
            return None
        return footprint(excess_mib=next(excess))

    plan = lab.plans(space, trials=40, footprint=need)

    play(plan, curve)

    assert plan.short
    assert plan.over == (
        "no config of the space fits the card, and all 18 were tried; the nearest one needs "
        f"1778 MiB, 30 MiB more than the 1748 MiB that the card leaves: {SMALLER}"
    )


def test_a_space_that_is_exhausted_ends_short_with_every_config_tried_once(lab):
    plan = lab.plans(EIGHTEEN, trials=40)

    play(plan, curve, slots=2)

    assert len({t.config for t in lab.trials}) == len(lab.trials) == 18
    assert (plan.over, plan.short) == ("the space holds no config that was not tried", True)


def test_a_pruned_trial_stops_at_a_rung_with_its_curve_and_the_reason(lab):
    heights = iter([0.9, 0.8, 0.1])
    known = {}

    def flat(config):
        if config not in known:
            known[config] = next(heights)
        return [known[config]] * EPOCHS

    play(lab.plans(NUMBERS, trials=3), flat)

    assert lab.states == [State.COMPLETE, State.PRUNED, State.PRUNED]
    pruned = lab.trials[2]
    assert pruned.outcome.reason == "not among the best of its family at epoch 1"
    assert [r.f1 for r in pruned.reports] == [0.1]


@pytest.mark.parametrize("end", [TOO_LARGE, DIVERGES])
@pytest.mark.parametrize("resume", [False, True])
def test_trials_whose_score_does_not_count_end_no_other_one_at_a_rung(lab, end, resume):
    curves = iter([[0.9, end]] * 4 + [[0.5] * EPOCHS])
    known = {}

    def drawn(config):
        if config not in known:
            known[config] = next(curves)
        return known[config]

    trials = 1 if end == TOO_LARGE else 5
    plan = lab.plans(NUMBERS, trials=trials, footprint=lambda _: footprint())
    if resume:

        def stop():
            if len(lab.trials) == 5:
                raise Killed

        with suppress(Killed):
            play(plan, drawn, on_epoch=stop)
        lab.leave()
        plan = lab.plans(NUMBERS, trials=trials, footprint=lambda _: footprint(), resume=True)

    play(plan, drawn)

    assert lab.states[-1] is State.COMPLETE


def test_rungs_prune_within_a_family_only(lab):
    """All of one family are better than all of the other, and the best of each completes."""

    def curve(config):
        if isinstance(config, BaselineConfig):
            return [0.99]
        return [(0.9 if config.model == "moe" else 0.1) + config.optimisation.learning_rate] * 4

    play(lab.plans(FAMILIES, trials=20), curve)

    for model in ("moe", "transformer"):
        family = [t for t in lab.trials if t.config.model == model]
        best = max(family, key=lambda t: t.best.f1)
        assert best.state is State.COMPLETE
        assert any(t.state is State.PRUNED for t in family)


def test_a_diverging_trial_is_a_failed_row_and_the_search_goes_on(lab):
    def diverging(config):
        low = not isinstance(config, BaselineConfig) and config.dropout < 0.25
        return [0.5, DIVERGES] if low else [0.5, 0.6]

    plan = lab.plans(trials=10, rungs=())

    play(plan, diverging)

    failed = [t for t in lab.trials if t.state is State.FAILED]
    assert failed
    assert {t.outcome.reason for t in failed} == {"diverged in epoch 2"}
    assert len(lab.trials) == 10
    assert not plan.short


def test_a_trial_whose_process_died_goes_on_from_its_last_epoch(lab):
    plan = lab.plans(NUMBERS, trials=2, rungs=())

    played = play(plan, curve, dies=lambda a, epoch: (a.number, a.known_epochs, epoch) == (0, 0, 3))

    again = [a for a in played.assignments if a.number == 0]
    assert [a.known_epochs for a in again] == [0, 2]
    assert lab.states == [State.COMPLETE] * 2
    assert [r.epoch for r in lab.trials[0].reports] == [1, 2, 3, 4]
    assert played.epochs == 2 * EPOCHS


def test_a_trial_fails_after_its_process_died_so_many_times(lab):
    plan = lab.plans(NUMBERS, trials=2)

    played = play(plan, lambda _: [DIES])

    assert [a.number for a in played.assignments] == [0] * 3 + [1] * 3
    assert MOST_DEATHS == 3
    assert lab.states == [State.FAILED] * 2
    assert lab.trials[0].outcome.reason == "its process died 3 times: killed"
    assert not plan.short


def test_what_a_trial_reports_after_its_end_is_not_recorded(lab):
    plan = lab.plans(NUMBERS, trials=1)
    play(plan, curve)

    assert not plan.report(0, epoch_report(5, 1.0))
    plan.end(0, Outcome(state=State.FAILED, reason="late"))
    plan.died(0, "late")

    assert len(lab.trials[0].reports) == EPOCHS
    assert lab.states == [State.COMPLETE]


def test_the_best_ten_keep_their_weights_and_no_ended_trial_a_checkpoint(lab):
    plan = lab.plans(NUMBERS, trials=16)

    def writes_files():
        for trial in lab.trials:
            if trial.state is State.RUNNING:
                leave_files(lab.study, trial.number)

    play(plan, lambda config: [curve(config)[-1]], slots=2, on_epoch=writes_files)

    by_score = sorted(lab.trials, key=lambda t: (-t.best.f1, t.number))
    kept = {p.parent.name for p in lab.study.folder.glob("trials/*/best-*")}
    assert kept == {f"{t.number:05d}" for t in by_score[:KEPT_WEIGHTS]}
    assert not list(lab.study.folder.glob("trials/*/checkpoint-*"))


def test_two_objectives_have_no_made_up_values_in_the_file(lab):
    """A cheap trial that F1 alone would end goes on: with two objectives there are no rungs."""
    plan = lab.plans(
        trials=8, rungs=(), objective=("f1", "card-hours"), footprint=lambda _: footprint()
    )

    play(plan, curve)

    assert set(lab.states) == {State.COMPLETE}
    assert lab.study.values(lab.trials[3]) == [lab.trials[3].best.f1, EPOCHS * 1.0]


@pytest.mark.parametrize("pace", [(0.0,), (0.02, 0.0), (0.0, 0.0, 0.03)])
def test_the_order_of_the_configs_does_not_depend_on_how_slow_the_footprint_is(lab, tmp_path, pace):
    def searched(lab, pace):
        waits = itertools.cycle(pace)

        def slow(config):
            time.sleep(next(waits))
            return fits_half(config)

        play(lab.plans(trials=16, footprint=slow), curve)
        return [(t.config, t.state, t.seed) for t in lab.trials]

    other = Lab(tmp_path / "other")
    expected = searched(other, (0.0, 0.01))
    other.leave()

    assert searched(lab, pace) == expected


@pytest.mark.parametrize("where", ["the footprint", "the space"])
def test_what_fails_while_drawing_ahead_is_raised_where_the_trial_is_asked_for(lab, where):
    def suggest(trial):
        if where == "the space" and trial.number == 2:
            raise ValueError("no more")
        return NUMBERS.suggest(trial)

    def needs(config):
        if where == "the footprint" and len(lab.trials) == 2:
            raise OverflowError("too large to trace")
        return footprint()

    plan = lab.plans(Space("mine", suggest, controls=()), trials=9, footprint=needs)

    with pytest.raises(
        (SpaceError, OverflowError), match=r"ValueError at test_plan.py|too large to trace"
    ):
        play(plan, curve)
    assert State.FAILED not in lab.states


def test_a_resumed_plan_continues_unfinished_trials_first_with_the_epochs_that_it_knows(lab):
    epochs = itertools.count()

    def interrupt():
        if next(epochs) == 5:
            raise Killed

    with suppress(Killed):
        play(lab.plans(NUMBERS, trials=6, rungs=()), curve, slots=2, on_epoch=interrupt)
    lab.leave()

    played = play(lab.plans(NUMBERS, trials=6, rungs=(), resume=True), curve, slots=2)

    first = [(a.number, a.known_epochs) for a in played.assignments[:2]]
    assert first == [(0, 3), (1, 2)]
    assert len(lab.trials) == 6
    assert played.epochs == 6 * EPOCHS - 5


def test_a_trial_killed_between_its_report_and_its_pruning_is_judged_again(lab):
    plan = lab.plans(NUMBERS, trials=3)
    for f1 in (0.9, 0.8, 0.1):
        number = plan.next().number
        goes_on = plan.report(number, epoch_report(1, f1))
    assert not goes_on
    lab.leave()

    plan = lab.plans(NUMBERS, trials=3, resume=True)
    turn = plan.next()

    assert turn.number == 0
    assert plan.next() is Turn.WAIT
    assert lab.states == [State.RUNNING, State.PRUNED, State.PRUNED]


def test_a_budget_that_was_spent_starts_nothing_on_resume(lab):
    play(lab.plans(trials=4), curve)
    lab.leave()

    played = play(lab.plans(trials=4, resume=True), curve)

    assert played.assignments == []
    assert len(lab.trials) == 4


def test_a_larger_budget_on_resume_is_met_exactly(lab):
    play(lab.plans(trials=4), curve)
    lab.leave()

    play(lab.plans(trials=7, resume=True), curve)

    assert len({t.config for t in lab.trials}) == len(lab.trials) == 7


def killed_at(lab, append, *, written):
    """Play until the journal's append of this number; whether it came to that."""
    plan = lab.plans(FAMILIES, trials=6, footprint=fits_half)
    backend = lab.study._held.journal
    counts, write = itertools.count(), backend.append_logs

    def dying(logs):
        if next(counts) != append:
            write(logs)
            return
        if written:
            write(logs)
        raise Killed

    backend.append_logs = dying
    try:
        play(plan, curve, slots=2)
    except Killed:
        return True
    finally:
        lab.leave()
    return False


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_killed_at_any_write_and_resumed_every_trial_ends_once(tmp_path, written):
    for append in itertools.count():
        lab = Lab(tmp_path / f"{append}")
        if not killed_at(lab, append, written=written):
            assert append > 30
            return

        plan = lab.plans(FAMILIES, trials=6, footprint=fits_half, resume=True)
        ended = {t.number: t.outcome for t in lab.trials if t.outcome}
        reports = {t.number: len(t.reports) for t in lab.trials}
        played = play(plan, curve, slots=2)

        assert {a.number for a in played.assignments}.isdisjoint(ended)
        assert len({t.config for t in lab.trials}) == len(lab.trials)
        assert sum(t.state in STARTED for t in lab.trials) == 6
        assert State.RUNNING not in lab.states
        for trial in lab.trials:
            assert trial.outcome == ended.get(trial.number, trial.outcome)
            assert [r.epoch for r in trial.reports] == [*range(1, len(trial.reports) + 1)]
            assert len(trial.reports) >= reports.get(trial.number, 0)
            expected = curve(trial.config)[: len(trial.reports)]
            assert [r.f1 for r in trial.reports] == expected
        lab.leave()
        again = Study.open(lab.store, "lab")
        assert all(t.state is not State.RUNNING for t in again.trials)
        assert not any(
            s.state is TrialState.RUNNING
            for s in again._storage.get_all_trials(again._held.study_id)
        )
        again.close()


def test_files_of_trials_that_had_ended_when_it_was_killed_are_removed_on_resume(lab):
    play(lab.plans(NUMBERS, trials=12, rungs=()), curve)
    for trial in lab.trials:
        leave_files(lab.study, trial.number)
    lab.leave()

    lab.plans(NUMBERS, trials=12, resume=True)

    assert len(list(lab.study.folder.glob("trials/*/best-*"))) == KEPT_WEIGHTS
    assert not list(lab.study.folder.glob("trials/*/checkpoint-*"))


def test_the_watcher_is_told_of_every_start_epoch_and_end_once(lab):
    told = []
    watcher = Watcher(
        lambda trial: told.append(("start", trial.number)),
        lambda trial, report: told.append((trial.number, report.epoch)),
        lambda trial: told.append(("end", trial.number)),
    )

    play(lab.plans(NUMBERS, trials=3, footprint=fits_half, watcher=watcher), curve)

    assert len(told) == len(set(told))
    assert [n for what, n in told if what == "end"] == sorted(t.number for t in lab.trials)
    assert sum(what == "start" for what, _ in told) == 3


def test_cmaes_leaves_nothing_pickled_in_the_file(tmp_path):
    study = Study.create(tmp_path, "lab", MANIFEST)
    proposer = Proposer(
        NUMBERS, sampler="cmaes", seed=0, objective=["f1"], trials=[], values=study.values
    )
    plan = Plan(
        study,
        proposer,
        lambda _: None,
        Rungs((), 3),
        Budget(trials=30),
        seed=0,
        elapsed_hours=lambda: 0.0,
        watcher=Watcher(),
    )

    play(plan, curve)

    study.close()
    in_view = [t.system_attrs for t in proposer._view.get_trials()]
    assert any(key.startswith("cma:") for attributes in in_view for key in attributes)
    journal = next(tmp_path.rglob("*.journal")).read_text()
    assert "cma" not in journal
    assert scratch().kind in journal
