import json
from pathlib import Path

import pytest

from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME, OUTCOME_KEY, Outcome, State
from headhunt.stores import StudyError, StudyNotFoundError, store_at

from ..search.toys import MANIFEST, begin, epoch_report, finish, scratch


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path, "lab", MANIFEST)
    yield study
    study.close()


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StudyError, match=r"the store .*file cannot be written"):
        Study.create(tmp_path / "file", "lab", MANIFEST)


@pytest.mark.parametrize("lines", [0, 1])
def test_a_study_killed_before_its_manifest_was_whole_is_none(tmp_path, lines):
    Study.create(tmp_path, "lab", MANIFEST).close()
    journal = tmp_path / "lab" / JOURNAL_NAME
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole[:lines]) + whole[lines][:-2])

    with pytest.raises(StudyNotFoundError, match="no study 'lab'"):
        Study.open(tmp_path, "lab")
    study = Study.create(tmp_path, "lab", {**MANIFEST, "again": True})

    assert study.manifest["again"]
    assert store_at(tmp_path).names() == ["lab"]
    study.close()


def test_a_study_from_before_memory_was_measured_opens(study):
    trial = begin(study, scratch())
    study.report(trial.number, epoch_report(1, 0.5))
    study.end(trial.number, Outcome(state=State.COMPLETE))
    journal = study.folder / JOURNAL_NAME
    study.close()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        for value in line.get("user_attr", {}).values():
            if isinstance(value, dict):
                for new in ("peak_bytes", "reserved_bytes", "energy_joules", "excess_bytes"):
                    value.pop(new, None)
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "peak_bytes" not in journal.read_text()

    study = Study.open(study.folder.parent, "lab")

    assert study.trials[0].reports[0].peak_bytes is None
    assert study.trials[0].outcome == Outcome(state=State.COMPLETE, best_epoch=1)
    study.close()


def test_a_trial_killed_between_the_two_writes_of_its_end_is_running_again(study):
    trial = begin(study, scratch())
    study.report(trial.number, epoch_report(1, 0.5))
    finish(study, trial)
    journal = Path(study.folder / JOURNAL_NAME)
    study.close()
    *lines, last = journal.read_bytes().splitlines(keepends=True)
    assert "state" in json.loads(last)
    assert OUTCOME_KEY in str(json.loads(lines[-1]))
    journal.write_bytes(b"".join(lines))

    study = Study.open(study.folder.parent, "lab")

    assert study.trials[0].state is State.RUNNING
    study.end(0, Outcome(state=State.COMPLETE, reason="again"))
    assert store_at(study.folder.parent).read("lab").trials[0].values == [0.5]
    study.close()


def test_what_must_stay_on_a_machine_may_lie_apart_from_the_journals(tmp_path):
    store = store_at(tmp_path / "journals", work=tmp_path / "work")

    study = Study.create(store, "lab", MANIFEST)

    assert study.states.folder(3) == tmp_path / "work" / "lab" / "trials" / "00003"
    assert study.folder.stat().st_mode & 0o077 == 0
    assert (tmp_path / "journals" / "lab" / JOURNAL_NAME).exists()
    study.close()
