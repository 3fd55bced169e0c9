import re

import pytest
from typer.testing import CliRunner

from headhunt.search import cli
from headhunt.search.telling import EncodingError, in_our_words, of_a_space, telling_by_type
from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import LinearHead
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.models.backbones import BackboneError
from headhunt.trainables.trainable import ASSIGNMENTS, HeadhuntTrainable, WorkerError

NOTE = "Zyxomètre de Mme Durand"


def test_an_error_that_nobody_foresaw_is_told_by_type_and_place(monkeypatch, capsys):
    def fail(prog_name):
        raise KeyError(NOTE) from ValueError(NOTE)

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(SystemExit) as ended:
        cli.main()

    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert re.match(
        r"error: headhunt failed: KeyError at __init__\.py:\d+(, \S+:\d+)?; what it says", line
    )


def test_what_a_command_refuses_still_ends_with_its_own_status(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["headhunt", "status", "none", "--store", str(tmp_path)])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert "no study 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ValueError(NOTE), EncodingError, "encoding failed: ValueError"),
        (OSError(NOTE), EncodingError, "encoding failed: OSError"),
        (OSError(28, "No space left", "rows.npy"), OSError, "No space left: 'rows.npy'"),
        (BackboneError("torn weights"), BackboneError, "torn weights"),
    ],
)
def test_what_reads_notes_fails_in_our_words(error, kind, said):
    with pytest.raises(kind, match=said) as told, telling_by_type("encoding"):
        raise error

    assert NOTE not in str(told.value)
    assert told.value.__suppress_context__
    assert type(in_our_words("encoding", error)) is kind


def test_a_space_is_told_our_own_words_about_a_config():
    with pytest.raises(ValueError, match="last_k") as caught:
        HeadConfig(backbone="x", head=LinearHead(), last_k=2)

    assert of_a_space(caught.value).startswith("ValueError: last_k > 0 must hold in mode last_k")


def test_a_workers_error_has_neither_its_words_nor_the_error_it_came_from(monkeypatch):
    def fail(*given, **named):
        raise ValueError(NOTE)

    monkeypatch.setattr(Assignment, "from_json", fail)
    worker = HeadhuntTrainable.__new__(HeadhuntTrainable)

    with pytest.raises(WorkerError, match=r"^crashed: ValueError at trainable\.py:\d+$") as told:
        worker.reset_config({ASSIGNMENTS: '["{}"]'})

    assert told.value.__cause__ is None
    assert told.value.__context__ is None


def test_forget_and_the_space_option_say_in_their_help_what_they_touch():
    runner = CliRunner()
    removed = runner.invoke(cli.app, ["forget", "--help"], env={"COLUMNS": "200"}).stdout
    spaces = runner.invoke(cli.app, ["search", "--help"], env={"COLUMNS": "200"}).stdout

    assert "checkpoints" in removed
    assert "deleted, not overwritten" in removed
    assert "your own code" in " ".join(spaces.split())
