"""`headhunt bundle`, over a real search: what is in the file, what is not, and who reads it."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from headhunt.analysis import bundle, compare, confirmation, curves, rank, trials
from headhunt.search import run
from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.record import Outcome, State
from headhunt.trainables.card.cards import CARDS, card_toml

from ...confidential.canaries import tells, write_confidential_notes
from ...trainables.backbone_dirs import make_backbone
from ..here import run_here
from ..toys import begin, scratch

PLACE = "Wqkzfolderj"  # a folder of the machine, and what else tells of it
HOST = "Jxqhostwvk"
SPACE = """
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead


def mixed(trial, options):
    tuned = Optimisation(learning_rate=trial.suggest_float("rate", 3e-3, 3e-2, log=True))
    if trial.number % 2:
        return ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=tuned)
    return HeadConfig(backbone=options.backbones[0], head=AdapterHead(bottleneck=4),
        optimisation=tuned)
"""
HIDDEN = ["backbone", "family", "config_hash"]  # of a backbone that is a folder


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A store with a study of canaries that was searched and confirmed, on a card of its own."""
    folder = tmp_path_factory.mktemp("searched") / PLACE
    folder.mkdir()
    notes = write_confidential_notes(folder / "notes.csv")
    (folder / "mine.py").write_text(SPACE)
    card = card_toml(CARDS["p620"]).replace("Quadro P620", f"P620 of {HOST}")
    (folder / "card.toml").write_text(card)
    request = Request(
        notes=notes,
        study="lab",
        store=folder / "store",
        given={
            "space": f"{folder}/mine.py:mixed",
            "backbones": (str(make_backbone(folder / "encoder")),),
            "checkpoints": str(folder / "checkpoints"),
            "card": str(folder / "card.toml"),
            "max_epochs": 2,
            "max_tokens": 24,
            "sampler": "random",
            "rungs": False,
        },
        budget=Budget(trials=5),
    )
    run_here(prepare(request))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_search", run_here)
        words = ["--by", "f1", "--top", "2", "--seeds", "1", "--train-fractions", "0.6,1"]
        places = ["--notes", notes, "--store", folder / "store"]
        confirmed = invoke("confirm", "lab", *words, *places)
    assert confirmed.exit_code == 0, confirmed.output
    study = Study.open(folder / "store", "lab")
    trial = begin(study, scratch(), seed=99)
    why = f"its process died 3 times: {folder}/checkpoints cannot be written or read: No space"
    study.end(trial.number, Outcome(state=State.FAILED, reason=why))
    study.set_manifest(host=HOST, corpus={**study.manifest["corpus"], "file": str(notes)})
    study.close()
    return folder


@pytest.fixture
def lab(searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", str(searched / "store"))
    return "lab"


@pytest.fixture
def file(lab):
    done = invoke("bundle", lab)
    assert done.exit_code == 0, done.output
    return "lab.headhunt.zip"


def members(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def letters_of(data: bytes, canary: str) -> bool:
    """Whether a part of it is there, in any case."""
    parts = (canary[start : start + 7].lower() for start in range(len(canary) - 6))
    return any(part.encode() in data.lower() for part in parts)


def test_no_byte_of_a_bundle_tells_of_notes_patients_vocabularies_paths_or_the_machine(
    lab, searched
):
    invoke("trials", "lab", "-o", "trials.csv")
    invoke("bundle", "lab", "--with-corpus-hash")
    found = members("lab.headhunt.zip")
    manifest = trials("lab").attrs["manifest"]

    assert letters_of(Path("trials.csv").read_bytes(), PLACE)  # it was there to be found
    assert letters_of(json.dumps(manifest).encode(), HOST)
    assert set(found) == {
        *("README.txt", "study.json", "columns.csv", "trials.csv", "curves.csv"),
        *(f"confirmed_{name}.csv" for name in ("models", "pairs", "fractions", "scorings")),
    }
    for name, data in [*found.items(), ("names", " ".join(found).encode())]:
        assert not tells(data), name
        assert not letters_of(data, PLACE), name
        assert not letters_of(data, HOST), name
    identity = next(iter(manifest["backbones"].values()))
    whole = b"".join(found.values()).decode()
    assert f"encoder-{identity[:8]}" in whole
    assert "its process died 3 times" in whole
    assert manifest["space_file"] not in whole


def test_what_is_left_out_of_the_manifest_is_told_by_name_and_nothing_else_is(lab):
    made = bundle("lab")

    assert set(made.fields) == {
        *("host", "corpus.file", "texts_digest"),
        *("space_file", "card.source", "card.element_rates"),
        *(f"settings.{name}_column" for name in ("text", "label", "patient", "split")),
        *("settings.backbones", "settings.card", "settings.checkpoints"),
    }
    assert (made.columns, made.reasons) == ((), 1)
    manifest = made.bundle.manifest
    assert "digest" not in manifest["corpus"]
    assert (manifest["space"], manifest["settings"]["space"]) == ("own", "own")
    assert manifest["card"]["name"].startswith("card-")
    assert manifest["corpus"]["parts"] == trials("lab").attrs["manifest"]["corpus"]["parts"]


@pytest.mark.parametrize("read", [trials, curves])
def test_the_frames_of_a_bundle_are_those_of_the_store(file, read):
    there, here = read("lab"), read(file)

    both = [name for name in there.columns if name not in {*HIDDEN, "reason"}]
    assert list(here.columns) == list(there.columns)
    assert_frame_equal(here[both], there[both])
    assert (here.dtypes == there.dtypes).all()
    assert here.attrs["columns"] == there.attrs["columns"]


def test_only_what_tells_of_a_folder_or_of_a_crash_is_told_otherwise(file):
    there, here = trials("lab"), trials(file)

    shared = there["backbone"].isna()
    names = {*here.loc[~shared, "backbone"]}
    assert len(names) == 1
    assert {*here.loc[~shared, "family"]} == {f"{names.pop()} frozen"}
    assert here.loc[~shared, "config_hash"].isna().all()
    assert_frame_equal(here.loc[shared, HIDDEN], there.loc[shared, HIDDEN])
    differ = here["reason"] != there["reason"]
    assert here.loc[differ, "reason"].tolist() == ["its process died 3 times"]


def test_what_was_confirmed_is_read_from_a_bundle_without_a_class_of_a_note(file):
    there, here = confirmation("lab"), confirmation(file)

    assert here.sentences == there.sentences
    for name in ("models", "pairs", "fractions", "scorings"):
        frame, other = getattr(here, name), getattr(there, name)
        both = [column for column in other if column not in HIDDEN]
        assert list(frame.columns) == list(other.columns)
        assert_frame_equal(frame[both], other[both])


def test_the_same_study_makes_the_same_bytes_and_the_command_tells_what_is_in_them(lab):
    first = invoke("bundle", "lab", "-o", "a.headhunt.zip")
    second = invoke("bundle", "lab", "-o", "b.headhunt.zip")

    assert Path("a.headhunt.zip").read_bytes() == Path("b.headhunt.zip").read_bytes()
    assert Path("a.headhunt.zip").stat().st_mode & 0o777 == 0o600
    assert second.output == first.output.replace("a.headhunt", "b.headhunt")
    for told in (
        *("6 trials (5 complete, 1 failed)", "confirmed of 3 models, scored 6 times on test"),
        *("'loud', 'quiet' (--without-labels", "the hash of the notes (--with-corpus-hash)"),
        *("the words of 1 reason,", "settings.text_column", "by the hash of its files"),
    ):
        assert told in first.output
    assert not tells(first.output.encode())


def test_without_labels_no_class_is_named_and_another_name_for_the_study_is_everywhere(lab):
    made = invoke("bundle", "lab", "--without-labels", "--as", "ours")

    data = b"".join(members("ours.headhunt.zip").values())
    assert made.exit_code == 0
    assert b"quiet" not in data
    assert b"loud" not in data
    told = trials("ours.headhunt.zip").attrs["manifest"]
    assert told["study"] == "ours"
    assert told["corpus"]["classes"] == ["class 0", "class 1"]


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(file):
    before = Path(file).read_bytes()

    again = invoke("bundle", "lab", "--without-labels")
    assert (again.exit_code, Path(file).read_bytes()) == (2, before)
    assert "lab.headhunt.zip exists" in again.stderr
    assert invoke("bundle", "lab", "--without-labels", "--overwrite").exit_code == 0
    assert Path(file).read_bytes() != before
    assert [p.name for p in Path().iterdir()] == [file]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody"], "no study 'nobody'"),
        (["lab/confirm"], "bundle 'lab', and it goes with it"),
        (["lab", "-o", "lab.zip"], "-o ends in .headhunt.zip"),
        (["lab", "-o", "nowhere/lab.headhunt.zip"], "there is no folder nowhere"),
        (["lab", "--as", "a/b"], "a study's name becomes a folder"),
        (["lab", "--as", "a/confirm", "-o", "a.headhunt.zip"], "the name of a confirmation"),
        (["lab", "--name-backbone", "minilm"], "has no backbone 'minilm'"),
    ],
)
def test_what_cannot_be_bundled_is_refused_in_one_message_and_nothing_is_written(lab, words, told):
    refused = invoke("bundle", *words)

    assert refused.exit_code == 2
    assert told in refused.stderr
    assert refused.stderr.count("error:") == 1
    assert not list(Path().iterdir())


def test_trials_rank_and_compare_read_bundles_and_studies_side_by_side(file, searched):
    Path("other").mkdir()
    shutil.copytree(searched / "store" / "lab", "other/store/lab")
    invoke("bundle", "lab", "--store", "other/store", "--without-labels", "-o", f"other/{file}")
    sources = ["lab", file, f"other/{file}"]

    joined = pd.read_csv(io.StringIO(invoke("trials", *sources).stdout))
    assert joined["study"].drop_duplicates().tolist() == sources
    assert len(joined) == 3 * len(trials("lab"))
    ranked = json.loads(invoke("rank", *sources, "--by", "f1", "--format", "json").stdout)
    assert {row["study"] for row in ranked["ranking"]} == set(sources)
    compared = json.loads(invoke("compare", *sources, "--format", "json").stdout)
    assert {row["study"] for row in compared["models"]} == set(sources)
    assert "same corpus is not known" in compared["notes"][0]


def test_a_single_bundle_ranks_as_its_study_does(file):
    there, here = rank(trials("lab"), "f1"), rank(trials(file), "f1")

    assert here.table["trial"].tolist() == there.table["trial"].tolist()
    assert here.notes == there.notes
    models = [compare(trials(source)).table["model"].tolist() for source in ("lab", file)]
    assert models[0] == models[1]


def test_the_file_explains_itself_to_whoever_has_no_headhunt(file):
    found = members(file)
    columns = pd.read_csv(io.BytesIO(found["columns.csv"]))
    tables = [name for name in found if name.endswith(".csv") and name != "columns.csv"]

    for name in tables:
        frame = pd.read_csv(io.BytesIO(found[name]))
        described = columns[columns["table"] == name.removesuffix(".csv")]
        assert described["column"].tolist() == frame.columns.tolist()
        assert name in found["README.txt"].decode()
    assert columns[["type", "origin", "text"]].notna().all(axis=None)
    assert max(map(len, found["README.txt"].decode().splitlines())) <= 100
    assert json.loads(found["study.json"])["format"] == "headhunt bundle"


def test_a_report_of_a_bundle_is_refused_with_what_reads_it(file):
    refused = invoke("report", file)

    assert refused.exit_code == 2
    assert "is a bundle: `headhunt compare`" in refused.stderr
