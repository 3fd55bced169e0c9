"""Everything that a user may give and no command can work with, in one table.

Each entry ends with status 2 and one message that names what, where and what to do, without a
traceback or a word of a note, and nothing is written.
"""

import re
import shutil
import sys
import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.settings import Request
from headhunt.trainables.notes.corpus import CorpusError, read_corpus

from ..search.toys import begin, finish, scratch
from ..trainables.backbone_dirs import make_backbone
from .models import BACKBONES, CARDS, SPACES
from .notes import NOTES, SECRET, csv_of, rows
from .requests import FILES, OPTIONS, STUDIES, long_line

LONGEST_MESSAGE = 2_000  # characters


def written(name, data):
    """Writes a file of notes, and checks it."""
    return lambda lab: (lab / name).write_bytes(data)


TABLE = {
    **{
        f"notes: {case}": (written(name, data), ["corpus", "check", name], said)
        for case, (name, data, said) in NOTES.items()
    },
    **{f"file: {case}": entry for case, entry in FILES.items()},
    **{f"backbone: {case}": entry for case, entry in BACKBONES.items()},
    **{f"space: {case}": entry for case, entry in SPACES.items()},
    **{f"card: {case}": entry for case, entry in CARDS.items()},
    **{f"option: {case}": entry for case, entry in OPTIONS.items()},
    **{f"study: {case}": entry for case, entry in STUDIES.items()},
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A working folder in which all is well."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "notes.csv").write_bytes(csv_of(rows(60)))
    make_backbone(folder / "encoder")
    request = Request(
        notes=folder / "notes.csv",
        study="kept",
        store=folder / "store",
        given={"space": "scratch"},
    )
    study = prepare(request).study
    for rate in (0.1, 0.2):
        finish(study, begin(study, scratch(rate)), rate)
    study.close()
    return folder


@pytest.fixture
def lab(sound, tmp_path, monkeypatch):
    folder = tmp_path / "lab"
    shutil.copytree(sound, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "no-mps")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of a space's file, by Python itself
    return folder


def contents(folder):
    """Every file below the folder but the study's lock, which opening a study leaves behind."""
    files = (path for path in folder.rglob("*") if not path.name.startswith("lock"))
    return {
        path: path.read_bytes() if path.is_file() and path.suffix != ".csv" else b""
        for path in files
    }


def message_of(result):
    """What was said, without the frame and the line breaks of a usage error."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert isinstance(result.exception, SystemExit)
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.mark.parametrize("case", TABLE)
def test_bad_input_ends_with_2_and_one_message_and_writes_nothing(lab, case):
    make, words, said = TABLE[case]
    end = make(lab) if make else None
    before = contents(lab)

    result = CliRunner().invoke(app, words)

    if callable(end):
        end()
    message = message_of(result)
    assert [part for part in said if part not in message] == []
    assert "Traceback" not in message
    assert SECRET.lower() not in message.lower()
    assert len(message) < LONGEST_MESSAGE
    if not message.startswith("Usage: "):
        assert {line[:7] for line in result.stderr.splitlines()} == {"error: "}
    assert contents(lab) == before


def test_the_input_that_the_table_breaks_is_sound(lab):
    """Each entry breaks one thing: without it, the commands work."""
    for words in (
        ["corpus", "check", "notes.csv", "--backbone", "encoder"],
        ["footprint", "linear", "--backbone", "encoder"],
        ["status", "kept"],
        ["rank", "kept"],
        ["trials", "kept"],
    ):
        assert CliRunner().invoke(app, words).exit_code == 0
    given = {"space": "heads", "backbones": ("encoder",)}
    request = Request(notes=Path("notes.csv"), study="new", store=Path("store"), given=given)
    prepare(request).study.close()


def test_a_line_of_200_mb_is_refused_before_it_is_in_memory(tmp_path):
    long_line(tmp_path)
    tracemalloc.start()

    with pytest.raises(CorpusError, match="line 2 is longer"):
        read_corpus(tmp_path / "a.csv")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 100e6
