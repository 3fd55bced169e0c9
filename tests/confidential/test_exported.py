"""What an exported model tells of notes: its vocabulary, and nothing else in the folder."""

import pytest
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.stores import store_at

from ..search.exported import configs, trained_study
from ..trainables.backbone_dirs import make_backbone
from .canaries import found_in, tells, write_confidential_notes

VOCABULARIES = {"transformer": "tokenizer.json", "tfidf_lr": "vocabulary.json", "linear": ""}


def invoke(*words):
    asked = CliRunner().invoke(app, [str(word) for word in words])
    assert asked.exit_code == 0, asked.output
    return asked.output


@pytest.mark.parametrize("least", [1, 5])
def test_a_vocabulary_may_tell_of_notes_and_nothing_else_in_folder_output_or_predictions(
    tmp_path, least
):
    notes = write_confidential_notes(tmp_path / "notes.csv")
    backbone = str(make_backbone(tmp_path / "encoder"))
    every = configs(backbone)
    trained_study(
        *(store_at(tmp_path / "store"), notes, {kind: every[kind] for kind in VOCABULARIES}),
        backbone=backbone,
        min_document_frequency=least,
    )
    (tmp_path / "out").mkdir()

    said = []
    for number, kind in enumerate(VOCABULARIES):
        folder = tmp_path / "out" / kind
        encoder = ["--backbone", backbone] if kind == "linear" else []
        words = ["--store", tmp_path / "store", "--notes", notes, "--trial", number]
        said.append(invoke("export", "lab", *words, "-o", folder))
        said.append(invoke("predict", folder, notes, "-o", f"{folder}.csv", "--score", *encoder))

    assert not tells("".join(said).encode())
    known = {f"{kind}/{name}" for kind, name in VOCABULARIES.items() if name}
    assert found_in(tmp_path / "out").keys() == known
