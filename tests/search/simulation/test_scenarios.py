import dataclasses
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from benchmarks import toy_study as toy
from headhunt.search.plan import Budget
from headhunt.search.sampling import SpaceError
from headhunt.search.simulation import scenarios
from headhunt.search.simulation.recorded import SimulationError
from headhunt.search.simulation.report import compare, study_space
from headhunt.search.simulation.scenarios import Scenario, simulate
from headhunt.search.simulation.surrogate import Surrogate
from headhunt.search.simulation.trainer import Source, Trainer
from headhunt.search.study import Study, Trial
from headhunt.spaces.configs import BaselineConfig, config_hash
from headhunt.spaces.record import Outcome, Role, State

from ..toys import epoch_report, scratch

TRIALS = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    toy.record(folder, trials=TRIALS)
    return folder


@pytest.fixture(scope="module")
def trainer(store):
    return Trainer(toy.recorded(store))


def scenario(sampler="recorded", *, slots=1, rungs=True, trials=TRIALS):
    return Scenario(sampler=sampler, slots=slots, rungs=rungs, budget=Budget(trials=trials))


def played(trainer, monkeypatch, *given, **options):
    """The trials that a scenario leaves in its study."""
    kept = []

    class Kept(Study):
        def close(self):
            kept.extend(self.trials)
            super().close()

    monkeypatch.setattr(scenarios, "Study", Kept)
    simulate(trainer, study_space(trainer.recorded), scenario(*given, **options), seed=0)
    return kept


def said(trials):
    return [(t.config, t.state, [r.f1 for r in t.reports]) for t in trials]


def test_a_replay_on_one_slot_has_the_recorded_states_scores_and_prunings(trainer, monkeypatch):
    again = played(trainer, monkeypatch)

    assert said(again) == said(trainer.recorded.trials)
    assert {State.COMPLETE, State.PRUNED, State.INFEASIBLE} == {t.state for t in again}


def test_a_replay_takes_the_hours_that_the_study_took_and_guesses_nothing(store):
    fresh = Trainer(toy.recorded(store))

    run = simulate(fresh, None, scenario(), seed=0)

    seconds = sum(r.wall_seconds for t in fresh.recorded.trials for r in t.reports)
    assert run.wall_hours == pytest.approx(seconds / 3600)
    assert run.busy_share == pytest.approx(1.0)
    assert run.curves == {Source.RECORDED: TRIALS, Source.PARTLY: 0, Source.SURROGATE: 0}
    assert fresh.quality is None


def test_the_searchs_own_sampler_and_seed_propose_what_was_recorded(trainer, monkeypatch):
    assert said(played(trainer, monkeypatch, "random")) == said(trainer.recorded.trials)


def test_without_rungs_a_pruned_curve_goes_on_from_its_recorded_end(trainer, monkeypatch):
    again = played(trainer, monkeypatch, rungs=False)

    assert State.PRUNED not in {t.state for t in again}
    for trial, before in zip(again, trainer.recorded.trials, strict=True):
        curve = [r.f1 for r in before.reports]
        assert [r.f1 for r in trial.reports][: len(curve)] == curve
        if before.state is State.PRUNED:
            assert len(trial.reports) > len(curve)
            guessed = trial.reports[len(curve) :]
            assert {r.wall_seconds for r in guessed} == {before.reports[0].wall_seconds}
            assert trial.outcome.reason in ("all 9 epochs trained", "no better F1 for 4 epochs")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_infeasible_configs_are_refused_and_never_run(trainer, monkeypatch, sampler):
    again = played(trainer, monkeypatch, sampler, trials=150)

    refused = [t for t in again if t.state is State.INFEASIBLE]
    assert refused or sampler == "tpe"  # which learns what fits
    assert all(not t.reports and t.footprint.excess_bytes > 0 for t in refused)
    assert sum(t.state is not State.INFEASIBLE for t in again) == 150


def test_two_slots_take_about_half_the_hours_and_the_same_card_hours(trainer):
    one, two = (simulate(trainer, None, scenario(slots=n), seed=0) for n in (1, 2))

    assert 0.5 <= two.wall_hours / one.wall_hours < 0.6
    assert two.card_hours == pytest.approx(one.card_hours, rel=0.2)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_run_and_another_one_another(trainer, sampler):
    space = study_space(trainer.recorded)
    first, again, other = (
        simulate(trainer, space, scenario(sampler, slots=4), seed=seed) for seed in (1, 1, 2)
    )

    assert first == again
    assert dataclasses.replace(first, seed=2) != other


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_is_drawn_at_once_is_what_a_thread_draws(trainer, monkeypatch, sampler):
    at_once = played(trainer, monkeypatch, sampler, slots=4)
    monkeypatch.setattr(scenarios, "AtOnce", lambda: ThreadPoolExecutor(1))

    in_a_thread = played(trainer, monkeypatch, sampler, slots=4)

    assert said(at_once) == said(in_a_thread)


def test_card_hours_and_virtual_hours_end_a_search(trainer):
    space = study_space(trainer.recorded)
    for budget, named in (
        (Budget(wall_hours=0.02), "the budget of 0.02 wall hours is spent"),
        (Budget(card_hours=0.02), "the budget of 0.02 card hours is spent"),
    ):
        asked = dataclasses.replace(scenario("random"), budget=budget)
        run = simulate(trainer, space, asked, seed=0)
        assert run.over == named
        assert run.wall_hours == pytest.approx(0.02, rel=0.3)


def test_controls_are_those_that_were_recorded_and_count_as_no_best(trainer, monkeypatch):
    again = played(trainer, monkeypatch, "tpe")

    controls = [t for t in again if t.role is Role.CONTROL]
    assert [t.best.f1 for t in controls] == [0.5, 0.5]
    assert all(isinstance(t.config, BaselineConfig) and len(t.reports) == 1 for t in controls)


def ended(state, *f1, **outcome):
    """A recorded trial that ended so."""
    config = scratch()
    return Trial(
        number=0,
        config=config,
        config_hash=config_hash(config),
        role=Role.SEARCH,
        seed=0,
        footprint=None,
        sampled=create_trial(state=TrialState.RUNNING),
        reports=[epoch_report(n, score, 3.0) for n, score in enumerate(f1, start=1)],
        outcome=Outcome(state=state, **outcome),
    )


@pytest.mark.parametrize(
    "known",
    [
        ended(State.FAILED, 0.2, reason="diverged: the training loss of epoch 2 is not finite"),
        ended(State.INFEASIBLE, 0.2, reason="measured", excess_bytes=5),
        ended(State.FAILED, reason="crashed: KeyError"),
    ],
)
def test_a_trial_that_failed_or_was_too_large_does_so_again(trainer, known):
    trainer = Trainer(dataclasses.replace(trainer.recorded, trials=(known,)))
    sources = []

    steps = list(trainer.steps(known, sources.append))

    assert [s.report for s in steps] == [*known.reports, None]
    assert steps[-1].outcome == known.outcome
    assert sources[-1] is Source.RECORDED


def test_a_trial_whose_end_was_not_recorded_ends_where_the_rule_ends_it(trainer):
    known = dataclasses.replace(ended(State.RUNNING, 0.5, 0.4, 0.4, 0.4, 0.4), outcome=None)
    trainer = Trainer(dataclasses.replace(trainer.recorded, trials=(known,)))

    steps = list(trainer.steps(known, lambda _: None))

    assert [s.outcome.state for s in steps] == [State.RUNNING] * 4 + [State.COMPLETE]
    assert steps[-1].outcome.reason == "no better F1 for 4 epochs"


def test_the_surrogate_knows_a_smooth_function_and_says_how_well(tmp_path):
    toy.record(tmp_path, trials=150)
    surrogate, quality = Surrogate.of(toy.recorded(tmp_path))

    assert quality.first_rank_correlation > 0.7
    assert quality.f1_error < 0.05
    assert quality.seconds_error < 0.05
    assert surrogate.seconds(scratch(width=128, blocks=2)) == pytest.approx(8.0, rel=0.2)
    assert surrogate.next_f1(scratch(10**-2.5, width=64), ()) > surrogate.next_f1(scratch(1e-2), ())


def test_seconds_between_trials_are_the_studys_own_median(store):
    recorded = toy.recorded(store)
    assert recorded.pause_seconds == 0.0  # no time passes in a toy

    for trial in recorded.trials:
        for place, report in enumerate(trial.reports):
            trial.reports[place] = dataclasses.replace(report, wall_seconds=0.0)
    slow = dataclasses.replace(recorded)
    assert 0 < slow.pause_seconds < 1


def test_what_a_trial_waited_for_others_of_its_group_is_no_pause(store):
    recorded = toy.recorded(store)

    for trial in recorded.trials:
        began, ended = trial.sampled.datetime_start, trial.sampled.datetime_complete
        assert began
        assert ended
        share = (ended - began).total_seconds() / 8 / max(1, len(trial.reports))
        for place, report in enumerate(trial.reports):
            trial.reports[place] = dataclasses.replace(report, wall_seconds=share, group_size=8)

    assert dataclasses.replace(recorded).pause_seconds == pytest.approx(0.0, abs=1e-6)


def test_too_few_trials_say_how_many_there_are_and_what_to_do(tmp_path):
    toy.record(tmp_path, trials=10)

    with pytest.raises(
        SimulationError, match=r"has 8 trials with a score, .* needs 20: .*recorded"
    ):
        compare(toy.recorded(tmp_path), [scenario("random")], seeds=[0])


def test_a_space_of_a_file_that_is_gone_or_has_changed_is_named(trainer, tmp_path):
    file = tmp_path / "mine.py"
    settings = dataclasses.replace(trainer.recorded.settings, space=f"{file}:mine")
    manifest = {
        **trainer.recorded.manifest,
        "settings": dataclasses.asdict(settings),
        "space_file": "as it was",
    }
    recorded = dataclasses.replace(trainer.recorded, manifest=manifest)

    with pytest.raises(SimulationError, match=r"mine.py', which is gone: put the file back"):
        study_space(recorded)
    file.write_text("def mine(trial): ...")
    with pytest.raises(SimulationError, match=r"mine.py', which has changed since: put the file"):
        study_space(recorded)
    assert compare(recorded, [scenario()], seeds=[0]).results  # a replay needs no space


def test_a_sampler_that_cannot_search_the_space_is_refused(trainer):
    with pytest.raises(SpaceError, match="the sampler 'gp' models only"):
        compare(trainer.recorded, [scenario("gp")], seeds=[0])


def test_nothing_is_written(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    simulate(trainer, None, scenario(), seed=0)

    assert list(Path(tmp_path).iterdir()) == []
