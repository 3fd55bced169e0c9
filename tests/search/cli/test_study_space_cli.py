"""`headhunt search --space study` and `headhunt footprint --study` as their user meets them."""

import csv
import json
import os
from collections import Counter
from functools import partial

import pytest
from typer.testing import CliRunner

from headhunt.analysis import compare, trials
from headhunt.search import run
from headhunt.search.cli import app
from headhunt.spaces.comparison import ENCODERS
from headhunt.spaces.configs import model_label
from headhunt.trainables.notes.synthetic import synthetic_notes

from ...trainables.backbone_dirs import make_backbone
from ..here import run_here

STAND_INS = {"one": "camembert", "two": "roberta", "three": "bert"}
HEADS = ("linear", "adapter", "lightweight", "tiny_attention", "grn")
MODES = ("frozen", "last_k", "full")


def invoke(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with synthetic notes."""
    folder = tmp_path_factory.mktemp("replayed")
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "patient_id"])
        rows.writerows((n.text, n.label, n.patient_id) for n in synthetic_notes(40))
    return folder


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.proof)])
def stand_ins(request, lab):
    """The names of small encoders in that folder."""
    chosen = dict([*STAND_INS.items()][: request.param])
    for seed, (name, kind) in enumerate(chosen.items()):
        make_backbone(lab / name, kind, seed=seed)
    return [*chosen]


@pytest.fixture(scope="module")
def replayed(lab, stand_ins):
    """What the search said, with a budget for all that the space names; trials run in here.

    They run in another folder than the search was called in, as a worker does.
    """
    budget = 4 + 16 * len(stand_ins) + 2 * (2 + len(stand_ins))
    given = [word for name in stand_ins for word in ("--backbone", name)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab)
        moved = partial(run_here, before_hearing=lambda *_: os.chdir("/"))
        patch.setattr(run, "run_search", moved)
        patch.setenv("HEADHUNT_STORE", str(lab / f"store of {len(stand_ins)}"))
        return invoke(
            *("search", str(lab / "notes.csv"), "--study", "replay", "--space", "study"),
            *("--trials", str(budget), "--max-tokens", "16", "--max-epochs", "1", *given),
        )


@pytest.fixture
def frame(lab, stand_ins, replayed):
    assert replayed.exit_code == 0, replayed.output
    return trials("replay", store=lab / f"store of {len(stand_ins)}")


def test_the_table_has_every_model_of_the_comparison_with_a_score(frame, stand_ins):
    expected = {
        *((head, name, mode) for head in HEADS for name in stand_ins for mode in MODES),
        *(("linear", name, "lora") for name in stand_ins),
        *((model, "", "") for model in ("transformer", "moe", "tfidf_lr", "tfidf_mlp")),
    }

    table = compare(frame).table

    rows = table[["model", "backbone", "mode"]].fillna("").itertuples(index=False)
    found = [(model, backbone.rpartition("/")[2], mode) for model, backbone, mode in rows]
    assert Counter(found) == Counter(expected)
    assert table["f1"].notna().all()


def models_in(shown):
    """The first column of the comparison; a long name goes on in the next line."""
    lines = shown.splitlines()
    header = next(n for n, line in enumerate(lines) if line.startswith(" model"))
    place = lines[header].index("F1") - len("0.12")
    names = []
    for line in lines[header + 2 : lines.index(" " * len(lines[1]), header)]:
        if line[place:].strip():
            names.append(line[:place].strip())
        else:
            names[-1] += f" {line.strip()}"
    return names


def test_the_search_ends_in_the_comparison_and_what_the_real_three_need(replayed, frame):
    words = " ".join(replayed.stdout.split())

    assert "replay: the best complete trial of each model" in words
    table = compare(frame).table[["model", "backbone", "mode"]].fillna("")
    labels = [model_label(*row) for row in table.itertuples(index=False)]
    assert models_in(replayed.stdout) == labels
    assert {"linear on one, lora", "linear on one, full", "grn on one", "moe"} < {*labels}
    assert words.index("of each model") < words.index("The study's three encoders on the card")
    assert "a corpus of 40 notes of" in words
    assert "could not have run on it" in words
    assert "F1 per GPU-hour" not in words  # the ranking is another command's


def test_the_bounds_hold_in_all_that_ran(frame):
    assert (frame["batch_size"] * frame["accumulation"].fillna(1)).max() == 8


def test_every_family_has_at_least_three_trials(frame, stand_ins):
    counts = frame.groupby("family").size()

    assert counts.pop("baselines") == 2
    assert len(counts) == len(stand_ins) * 4 + 2
    assert counts.min() >= 3


def test_missing_encoders_and_passed_bounds_are_said_at_once_before_anything_is_made(
    lab, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    store = tmp_path / "store"

    result = invoke(
        *("search", str(lab / "notes.csv"), "--study", "new", "--space", "study"),
        *("--store", str(store), "--batch-limit", "16", "--max-tokens", "512"),
    )

    assert (result.exit_code, result.stdout, store.exists()) == (2, "", False)
    missing, batch, tokens = result.stderr.splitlines()
    for encoder in ENCODERS:
        assert missing.count(f"hf download {encoder}") == 1
    assert missing.count("not on this machine") == missing.count("--backbone DIR") == 1
    assert "rewritten once as safetensors" in missing
    assert "--batch-limit must be at most 8" in batch
    assert "--max-tokens must be at most 256" in tokens


@pytest.fixture(scope="module")
def real():
    """The rows of the real three, by encoder, head and mode."""
    result = invoke("footprint", "--study", "--format", "json", "--epochs", "1")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_of_the_real_three_frozen_heads_fit_and_full_fine_tuning_does_not(real):
    heads = [row for row in real if row["config"]["kind"] == "head"]
    by_mode = {mode: [r for r in heads if r["config"]["mode"] == mode] for mode in (*MODES, "lora")}

    assert [len(rows) for rows in by_mode.values()] == [15, 15, 15, 3]
    assert {row["config"]["backbone"] for row in heads} == set(ENCODERS)
    assert all(row["fits"] for row in [*by_mode["frozen"], *by_mode["last_k"]])
    assert not any(row["fits"] for row in [*by_mode["full"], *by_mode["lora"]])
    for row in by_mode["full"]:  # with the context: about the 3.4 GiB that is known of it
        reserve = row["parts_mib"]["reserve (allowance)"]
        assert row["peak_mib"] + reserve == pytest.approx(3.4 * 1024, rel=0.06)


def test_the_largest_batch_is_the_studys_where_that_fits_and_smaller_elsewhere(real):
    for row in real:
        assert (row["largest_batch_up_to_8_notes"] == 8) is row["fits"]
        assert row["config"]["optimisation"]["batch_size"] == 8
        assert "accumulation" not in row["config"]["optimisation"]
        assert row["card_hours"] > 0


def test_a_table_of_the_study_takes_no_model_of_ones_own():
    result = invoke("footprint", "grn", "--study", "--max-tokens", "128")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "--max-tokens, MODEL would change nothing for the study's table" in result.stderr
