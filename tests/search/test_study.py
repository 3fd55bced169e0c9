import signal
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from headhunt.search.study import Study
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import AdapterHead, LinearHead
from headhunt.spaces.record import EXCESS_CONSTRAINT, OUTCOME_KEY, Outcome, Role, State
from headhunt.stores import StudyError, StudyNotFoundError

from .toys import MANIFEST, begin, epoch_report, finish, footprint, scratch

HOLDS = """
import sys, time
from pathlib import Path
from headhunt.search.study import Study
from headhunt.stores import store_at
study = Study.open(store_at(sys.argv[1], work=Path(sys.argv[2])), "lab")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def study(store):
    study = Study.create(store, "lab", MANIFEST)
    yield study
    study.close()


@pytest.fixture
def another_process(store):
    """A process that holds the study `lab`."""
    Study.create(store, "lab", MANIFEST).close()
    command = [sys.executable, "-c", HOLDS, str(store), str(store.work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def reopened(store):
    """Closes a study and opens it again."""

    def reopened(study):
        study.close()
        return Study.open(store, study.name)

    return reopened


@pytest.fixture
def stored(store):
    """The trials of a study as the store has them."""
    return lambda study: store.read(study.name).trials


def test_a_new_study_is_empty_and_knows_what_was_asked(study):
    assert study.trials == []
    assert study.manifest == MANIFEST


def test_a_name_that_is_taken_is_refused_with_both_ways_on(store, study):
    with pytest.raises(StudyError, match=r"'lab' exists in .*--resume, or choose another"):
        Study.create(store, "lab", MANIFEST)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "a\0b", "a\nb", "-x", ".x"]
)
def test_a_name_that_is_no_folder_is_refused(store, name):
    with pytest.raises(StudyError, match="a study's name becomes a folder: no slashes"):
        Study.create(store, name, MANIFEST)

    assert not store.work.exists()


def test_a_name_longer_than_a_folder_may_have_is_refused(store):
    with pytest.raises(StudyError, match="at most 100 bytes"):
        Study.create(store, "x" * 101, MANIFEST)


def test_a_missing_study_is_refused_with_those_that_are_there(store, study):
    with pytest.raises(StudyNotFoundError, match=r"no study 'labs' in the store .*; it has: lab"):
        Study.open(store, "labs")


def test_opening_a_missing_study_makes_no_folder(store):
    with pytest.raises(StudyNotFoundError, match="no study 'lab'"):
        Study.open(store, "lab")

    assert not store.work.exists()


def test_a_study_that_another_process_holds_is_refused_with_its_id(store, another_process):
    with pytest.raises(StudyError, match=rf"being searched by process {another_process.pid} on"):
        Study.open(store, "lab")

    assert store.holder("lab").startswith(f"process {another_process.pid} on")


def test_the_lock_of_a_killed_process_is_none(store, another_process):
    another_process.send_signal(signal.SIGKILL)
    another_process.wait()

    Study.open(store, "lab").close()

    assert store.holder("lab") == ""


def test_a_study_that_was_closed_is_held_by_nobody(store, study):
    assert store.holder("lab")
    study.close()
    assert store.holder("lab") == ""
    Study.open(store, "lab").close()


def test_trials_of_every_state_come_back_from_the_file(study, reopened):
    finish(study, begin(study, scratch(0.001), footprint=footprint()), 0.5, 0.7, 0.6)
    finish(study, begin(study, scratch(0.002), seed=2**63 - 1), 0.4, state=State.PRUNED)
    finish(study, begin(study, scratch(0.003)), 0.4, state=State.FAILED)
    study.refuse(
        scratch(0.004),
        begin(study, scratch(0.005), role=Role.REFERENCE).sampled,
        role=Role.SEARCH,
        seed=3,
        footprint=footprint(excess_mib=50),
    )
    head = HeadConfig(backbone="some/where", head=AdapterHead(bottleneck=7))
    study.report(begin(study, head).number, epoch_report(1, 0.3))
    before = [(t.number, t.config, t.role, t.seed, t.footprint, t.reports) for t in study.trials]
    states = [t.state for t in study.trials]
    outcomes = [t.outcome for t in study.trials]

    study = reopened(study)

    assert [
        (t.number, t.config, t.role, t.seed, t.footprint, t.reports) for t in study.trials
    ] == before
    assert [t.outcome for t in study.trials] == outcomes
    assert [t.state for t in study.trials] == states
    assert set(states) == set(State)
    assert all(study.holds(t.config) for t in study.trials)


def test_an_epoch_that_the_study_holds_is_not_recorded_again(study, reopened):
    number = begin(study, scratch()).number

    assert study.report(number, epoch_report(1, 0.5))
    assert not study.report(number, epoch_report(1, 0.9))
    assert [r.f1 for r in reopened(study).trials[number].reports] == [0.5]


def test_the_score_is_that_of_the_best_epoch_and_the_earliest_of_equals(study, stored):
    trial = begin(study, scratch())
    finish(study, trial, 0.2, 0.8, 0.8, 0.1)

    assert trial.best
    assert trial.outcome
    assert (trial.best.epoch, trial.outcome.best_epoch) == (2, 2)
    assert stored(study)[0].values == [0.8]


def test_an_infeasible_trial_has_its_excess_as_a_constraint_and_no_value(study, stored):
    running = begin(study, scratch(0.1))
    trial = study.refuse(
        scratch(), running.sampled, role=Role.SEARCH, seed=1, footprint=footprint(excess_mib=12)
    )

    assert (
        trial.outcome.reason == "needs 1760 MiB, 12 MiB more than the 1748 MiB that the card leaves"
    )
    there = stored(study)[1]
    assert there.state is TrialState.PRUNED
    assert (there.values, there.intermediate_values) == (None, {})
    assert there.constraints == {EXCESS_CONSTRAINT: 12.0}


def test_a_trial_measured_too_large_has_that_excess_as_its_constraint_and_no_value(
    study, stored, reopened
):
    trial = begin(study, scratch(), footprint=footprint(excess_mib=-100))
    assert stored(study)[0].constraints == {EXCESS_CONSTRAINT: -100.0}  # while it runs
    study.report(trial.number, epoch_report(1, 0.9))
    outcome = Outcome(state=State.INFEASIBLE, reason="measured", excess_bytes=3 * 2**19)

    study.end(trial.number, outcome)

    there = stored(study)[0]
    assert there.state is TrialState.PRUNED
    assert (there.values, there.intermediate_values) == (None, {})
    assert there.constraints == {EXCESS_CONSTRAINT: 1.5}
    again = reopened(study).trials[0].outcome
    assert again == trial.outcome
    assert again
    assert again.excess_bytes == 3 * 2**19


@pytest.mark.parametrize("state", [State.PRUNED, State.FAILED])
def test_a_trial_that_did_not_complete_has_its_curve_and_no_score(study, state, stored):
    finish(study, begin(study, scratch()), 0.5, 0.9, state=state)

    there = stored(study)[0]
    assert there.state is {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[state]
    assert there.values is None
    assert there.user_attrs["epoch:2"]["f1"] == 0.9
    assert there.user_attrs[OUTCOME_KEY]["reason"] == f"{state} here"


def test_card_hours_count_every_epoch_and_each_backbones_encoding_once(study):
    paid = footprint(epoch_seconds=360, encoding_seconds=3600)
    for name, head in (("a", LinearHead()), ("a", AdapterHead()), ("b", LinearHead())):
        trial = begin(study, HeadConfig(backbone=name, head=head), footprint=paid)
        finish(study, trial, 0.1, 0.2)
    finish(study, begin(study, scratch(), footprint=footprint(epoch_seconds=360)), 0.1)
    begin(study, scratch(0.5), footprint=paid)  # has no epoch yet, so nothing was encoded for it

    assert study.card_hours() == pytest.approx(7 * 0.1 + 2 * 1.0)


def test_a_trial_alone_pays_for_the_encoding_whole(study):
    trial = begin(study, scratch(), footprint=footprint(epoch_seconds=360, encoding_seconds=1800))
    finish(study, trial, 0.1, 0.2, 0.3)

    assert trial.card_hours == pytest.approx(0.3 + 0.5)


def test_gpu_hours_are_the_share_held_of_the_time_taken_and_none_without_a_gpu(study):
    first, second = begin(study, scratch(0.1)), begin(study, scratch(0.2))
    for trial, share in ((first, 0.25), (second, 0.0)):
        study.report(trial.number, epoch_report(1, 0.5, wall_seconds=7200))
        study.end(trial.number, Outcome(state=State.COMPLETE, device_fraction=share))

    assert (first.gpu_hours, second.gpu_hours) == (0.5, 0.0)


def test_two_objectives_are_stored_in_their_order(store, stored):
    study = Study.create(store, "two", {"objective": ["f1", "card-hours"]})
    finish(study, begin(study, scratch(), footprint=footprint(epoch_seconds=1800)), 0.5, 0.6)

    assert stored(study)[0].values == [0.6, 1.0]
    study.close()


def test_a_study_is_for_its_owner_alone(study):
    assert study.folder.stat().st_mode & 0o077 == 0
