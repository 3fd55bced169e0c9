import copy
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from headhunt.search.study import Study, read_trial
from headhunt.spaces.record import Outcome, State
from headhunt.stores import SharingStorage
from headhunt.trainables.training.states import Kind, Saved

from ..search.toys import MANIFEST, begin, epoch_report, scratch


def running():
    return create_trial(
        state=TrialState.RUNNING,
        params={"rate": 0.5},
        distributions={"rate": FloatDistribution(0, 1)},
        user_attrs={"seed": 1},
        system_attrs={"noted": 2},
        intermediate_values={1: 0.1},
    )


def as_a_sampler_has_it(storage, trial):
    """Optuna's own trial, which writes into what the storage gives it."""
    live = optuna.Trial(optuna.load_study(study_name="lab", storage=storage), trial)
    live.suggest_float("width", 0, 1)
    live.set_user_attr("seed", 3)
    live.set_constraint("excess", 1.0)
    live.report(0.2, 2)


CHANGES = {
    "by a live trial": as_a_sampler_has_it,
    "parameter": lambda s, t: s.set_trial_param(t, "width", 0.25, FloatDistribution(0, 1)),
    "attribute": lambda s, t: s.set_trial_user_attr(t, "seed", 3),
    "note": lambda s, t: s.set_trial_system_attr(t, "noted", 4),
    "value": lambda s, t: s.set_trial_intermediate_value(t, 2, 0.2),
    "end": lambda s, t: s.set_trial_state_values(t, TrialState.COMPLETE, [0.3]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_does_not_reach_the_trial_that_was_given(change):
    storage, given = SharingStorage(), running()
    before = copy.deepcopy(given)
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "lab")
    first, second = (storage.create_new_trial(study, given) for _ in range(2))

    CHANGES[change](storage, first)

    assert given == before
    assert storage.get_trial(first) != storage.get_trial(second)
    assert [storage.get_trial(each).number for each in (first, second)] == [0, 1]


def test_a_trial_that_is_given_nothing_begins_empty():
    storage = SharingStorage()
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "lab")

    trial = storage.get_trial(storage.create_new_trial(study))

    assert (trial.state, trial.params) == (TrialState.RUNNING, {})


def test_a_study_in_memory_holds_what_one_in_a_folder_does(tmp_path):
    in_memory, in_folder = Study.in_memory("lab", MANIFEST), Study.create(tmp_path, "lab", MANIFEST)
    found = []
    for study in (in_memory, in_folder):
        trial = begin(study, scratch())
        study.report(trial.number, epoch_report(1, 0.5))
        study.end(trial.number, Outcome(state=State.COMPLETE))
        begin(study, scratch(width=64))
        storage = study._held.storage
        stored = storage.get_all_trials(study._held.study_id)
        found.append([read_trial(each) for each in stored])
        study.close()

    for memory, folder in zip(*found, strict=True):
        assert memory.config == folder.config
        assert memory.reports == folder.reports
        assert memory.outcome == folder.outcome
    assert [trial.state for trial in in_memory.trials] == [State.COMPLETE, State.RUNNING]


def test_no_file_is_written_for_a_study_in_memory_and_none_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study.in_memory("lab", MANIFEST)
    begin(study, scratch())
    for place in (study.work, study.folder, study.states.root):
        file = tmp_path / place.name / "trials" / "00000" / "best-0001.safetensors"
        file.parent.mkdir(parents=True)
        file.touch()

    study.states.remove(0, Kind.BEST)

    assert len(list(tmp_path.rglob("best-0001.safetensors"))) == 3
    assert list(study.states.find(0, Kind.BEST)) == []
    with pytest.raises(OSError, match="Not a directory"):
        study.states.put(0, Kind.BEST, Saved(1, {}))
    assert Path(study.own_name) == Path("lab")
