import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from headhunt.analysis import compare, trials
from headhunt.analysis.tables import amount
from headhunt.search import run
from headhunt.search.cli import COMMANDS, app
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.sampling import SpaceError
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.configs import HeadConfig, model_label
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import JOURNAL_NAME
from headhunt.stores import StoreLostError, StudyError

from ..toys import begin, finish, footprint, scratch, write_notes

MAIN = "import sys\nfrom headhunt.search.cli import main\nsys.argv[0] = 'headhunt'\n"
LOADED_AT_THE_END = (
    "import atexit\natexit.register(lambda: print(*(m for m in ('torch', 'ray', 'transformers', "
    "'optuna', 'pandas') if m in sys.modules), file=sys.stderr))\n"
)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A working folder with notes, an empty store named by the environment, and broken things."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "no-mps")
    write_notes(Path("notes.csv"), 60)
    Path("label.csv").write_text("text\nhello\n")
    Path("file").touch()
    return tmp_path


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def made(lab, study="lab", *, budget=None, **given):
    """A study of the store that is open, with no trials."""
    settings = {"space": "scratch", **given}
    request = Request(
        notes=lab / "notes.csv",
        study=study,
        store=lab / "store",
        given=settings,
        budget=budget or Budget(),
    )
    return prepare(request).study


@pytest.mark.parametrize(
    "words",
    [
        ["search"],
        ["search", "notes.csv"],
        ["search", "notes.csv", "--study", "lab", "--trials", "many"],
        ["search", "notes.csv", "--study", "lab", "--gpus", "2"],
        ["demo", "--notes", "3"],
        ["status"],
        ["nothing"],
    ],
)
def test_a_command_that_cannot_be_read_ends_with_2_and_shows_its_usage(lab, words):
    result = invoke(*words)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_broken_request_has_no_traceback_in_a_process_of_its_own(lab):
    ended = process("search", "label.csv", "--study", "lab", "--sampler", "grid")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == ["error"] * 3


def test_a_study_that_exists_is_refused_without_resume_and_named(lab):
    made(lab).close()

    result = invoke("search", "notes.csv", "--study", "lab", "--space", "scratch")

    assert result.exit_code == 2
    assert "error: the study 'lab' exists in store: continue it with --resume" in result.stderr


def test_a_study_that_somebody_searches_is_refused_with_the_process(lab):
    study = made(lab)

    result = invoke("search", "notes.csv", "--study", "lab", "--resume")

    study.close()
    assert result.exit_code == 2
    assert f"is being searched by process {os.getpid()}" in result.stderr


def test_a_space_that_fails_in_the_middle_of_a_search_is_one_message(lab, monkeypatch):
    def run_search(prepared, show):
        prepared.study.close()
        raise SpaceError("the space 'mine' failed: ValueError: no more")

    monkeypatch.setattr(run, "run_search", run_search)

    result = invoke("search", "notes.csv", "--study", "lab", "--space", "scratch")

    assert result.exit_code == 2
    said = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert said == ["error: the space 'mine' failed: ValueError: no more"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreLostError("the store is gone"), "the store is gone; mend it, then continue with"),
        (StudyError("another has it"), "another has it; continue with"),
    ],
)
def test_a_store_that_fails_in_the_middle_of_a_search_is_one_message_with_the_way_on(
    lab, monkeypatch, error, said
):
    def run_search(prepared, show):
        prepared.study.close()
        raise error

    monkeypatch.setattr(run, "run_search", run_search)
    words = ("search", "notes.csv", "--study", "lab", "--space", "scratch", "--work", "my work")

    result = invoke(*words)

    assert (result.exit_code, result.stdout) == (1, "")
    again = "headhunt search notes.csv --study lab --store store --work 'my work' --resume"
    assert result.stderr.splitlines()[-1] == f"error: {said} `{again}`"


def test_a_store_that_is_gone_when_the_search_is_over_is_one_message(lab, monkeypatch):
    def run_search(prepared, show):
        prepared.study.close()
        shutil.rmtree(lab / "store")
        return SimpleNamespace(study=prepared.study, over="the budget is spent", short=False)

    monkeypatch.setattr(run, "run_search", run_search)

    result = invoke("search", "notes.csv", "--study", "lab", "--space", "scratch")

    assert (result.exit_code, result.stdout) == (1, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: no study 'lab'")
    assert last.endswith("; the search is over, and `headhunt rank` shows it")


def process(*words, before=""):
    return subprocess.run(
        [sys.executable, "-c", f"{MAIN}{before}main()", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
    )


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_is_there_at_once_without_torch_ray_or_pandas(command):
    ended = process(*command, "--help", before=LOADED_AT_THE_END)

    assert ended.returncode == 0
    assert f"Usage: headhunt {' '.join(command)}".rstrip() in ended.stdout
    assert ended.stderr.strip() == ""


def test_the_help_names_every_command_with_what_it_does():
    shown = " ".join(invoke("--help").stdout.split())

    for name, (_, what) in COMMANDS.items():
        assert re.search(rf"\b{name}\b", shown)
        assert what.split(",")[0].rstrip(".")[:40] in shown


def test_studies_of_a_store_that_is_not_there_says_how_to_make_one(lab):
    result = invoke("studies")

    assert result.exit_code == 0
    assert "store holds no study yet: `headhunt demo` or `headhunt search`" in result.stdout


@pytest.fixture
def searched(lab):
    """The study `lab` after four trials, one of them infeasible and one unfinished."""
    study = made(lab, budget=Budget(trials=9, card_hours=20.0), card="p620")
    paid = footprint(epoch_seconds=3600, encoding_seconds=7200)
    for bottleneck in (8, 16):
        head = HeadConfig(backbone="an/encoder", head=AdapterHead(bottleneck=bottleneck))
        finish(study, begin(study, head, footprint=paid), 0.25, bottleneck / 20)
    running = begin(study, scratch(), footprint=footprint())
    study.refuse(
        scratch(0.5),
        running.sampled,
        role=running.role,
        seed=1,
        footprint=footprint(excess_mib=10),
    )
    yield study
    study.close()


def test_studies_has_a_row_a_study_with_its_trials_by_state(lab, searched):
    made(lab, "another").close()

    lines = invoke("studies").stdout.splitlines()

    assert lines[0].split()[:4] == ["study", "notes", "space", "complete"]
    assert lines[1].split() == ["another", "60", "scratch", *"000000"]
    assert lines[2].split() == ["lab", "60", "scratch", "2", "0", "1", "0", "1", "0", "0.8000"]


def test_studies_lists_the_others_beside_one_that_cannot_be_read(lab):
    made(lab).close()
    (lab / "store" / "broken").mkdir()
    (lab / "store" / "broken" / JOURNAL_NAME).write_text("<html>\n" * 3)

    result = invoke("studies")

    assert result.exit_code == 0
    assert result.stderr.startswith("error: the journal store/broken/study.journal cannot be read")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["study", "lab"]


def test_a_study_that_was_killed_while_it_was_made_is_none(lab):
    made(lab).close()
    journal = lab / "store" / "lab" / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])

    assert invoke("studies").exit_code == 0
    status = invoke("status", "lab")

    assert (status.exit_code, status.stdout) == (2, "")
    assert status.stderr.startswith("error: the study 'lab' was killed while it was made")


def test_status_of_a_study_in_work_says_who_searches_it_and_what_was_spent(searched):
    lines = invoke("status", "lab").stdout.splitlines()

    assert lines[0] == "lab: space scratch, sampler tpe, card Quadro P620"
    assert lines[1].startswith("notes: 60 in 2 classes; ")
    assert "best F1: 0.8000 (adapter, trial 1)" in lines
    assert "budget: 3 of 9 trials" in lines
    assert lines[-1].startswith(f"it is being searched by process {os.getpid()} on ")


def test_status_shows_the_models_with_the_figures_of_compare(searched):
    shown = " ".join(invoke("status", "lab").stdout.split())

    table = compare(trials("lab", store="store")).table
    (row,) = table[table["model"] == "adapter"].to_dict("records")
    hours = amount(row["total_card_hours"])
    ends = " ".join(str(row[state]) for state in ("complete", "pruned", "infeasible", "failed"))
    expected = f"{row['f1']:.4f} {row['trial']} {amount(row['f1_per_gpu_hour'])} {hours} {ends}"
    assert f"{model_label(row['model'], row['backbone'], row['mode'])} {expected}" in shown


def test_a_trial_is_running_while_somebody_holds_the_study_and_unfinished_after(lab, searched):
    assert "1 running" in invoke("status", "lab").stdout
    assert invoke("studies").stdout.splitlines()[1].split()[-3:-1] == ["1", "0"]

    searched.close()

    assert "1 unfinished" in invoke("status", "lab").stdout
    assert "running" not in invoke("status", "lab").stdout
    assert invoke("studies").stdout.splitlines()[1].split()[-3:-1] == ["0", "1"]


def test_status_before_the_first_trial_says_what_the_search_does(lab):
    study = made(lab)

    last = invoke("status", "lab").stdout.splitlines()[-1]

    study.close()
    assert last.endswith("which first encodes the notes: no trial began yet")


def test_status_counts_the_encoding_once_as_the_budget_does(searched):
    lines = invoke("status", "lab").stdout.splitlines()

    assert f"budget: {searched.card_hours():g} of 20 card hours" in lines
    assert searched.card_hours() == 4 * 1 + 2


def test_status_of_a_study_that_nobody_searches_says_how_to_go_on(lab, searched):
    searched.close()

    lines = invoke("status", "lab").stdout.splitlines()

    assert lines[-1] == "nobody searches it: --resume continues its 1 unfinished trial"
    Study.open(lab / "store", "lab").close()  # asking has not taken it


def test_status_of_a_study_without_trials_says_so(lab):
    made(lab).close()

    assert "trials: none yet" in invoke("status", "lab").stdout


def test_status_of_a_missing_study_ends_with_2_and_the_studies_there(lab):
    made(lab).close()

    result = invoke("status", "labs")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == ["error: no study 'labs' in the store store; it has: lab"]


def test_a_demo_that_cannot_write_its_store_ends_with_2(lab):
    result = invoke("demo", "--notes", "100", "--store", "file")

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: the folder file cannot be written")
