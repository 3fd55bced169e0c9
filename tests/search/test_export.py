"""A model is taken away: what the folder holds, that it is the trial's, and that it needs no us."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from headhunt.search import retrain
from headhunt.search.cli import app
from headhunt.search.study import Study
from headhunt.spaces.configs import BaselineConfig
from headhunt.stores import store_at
from headhunt.trainables.artifact.calibration import Calibration, softmax
from headhunt.trainables.artifact.description import (
    BACKBONE,
    ArtifactError,
    facts_of,
    read_description,
)
from headhunt.trainables.artifact.load import load_artifact
from headhunt.trainables.artifact.model_card import Confirmed, model_card
from headhunt.trainables.artifact.networks import OnEncoder, TextNetwork
from headhunt.trainables.artifact.tokenizing import beyond
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.notes.corpus import Part, read_corpus
from headhunt.trainables.notes.synthetic import write_synthetic_notes
from headhunt.trainables.training.states import Kind

from ..confidential.canaries import modes_in
from ..trainables.backbone_dirs import make_backbone
from .exported import configs, trained_study

KINDS = [
    *("linear", "adapter", "adapter relu", "lightweight", "lightweight inner", "tiny attention"),
    *("grn", "last_k", "full", "lora", "transformer", "moe", "tfidf_lr", "tfidf_mlp"),
]
NETWORKS = KINDS[:-2]
BASELINES = KINDS[-2:]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
# Runs each card's lines in its folder, where headhunt cannot be imported, and keeps the logits.
WITHOUT_HEADHUNT = """
import json, os, sys
import numpy as np
sys.modules["headhunt"] = None  # as where it is not installed
texts, folders = json.load(open(sys.argv[1]))
for folder in folders:
    os.chdir(folder)
    lines = {}
    exec(open("lines.py").read(), lines)
    np.save("logits.npy", np.asarray(lines["logits"](texts)))
    assert len(lines["labels"]) == len(lines["probabilities"][0]), folder
assert not [name for name in sys.modules if name.startswith("headhunt.")]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A study with a trial of each kind; `exports` has a folder of each, none is changed."""
    folder = tmp_path_factory.mktemp("lab")
    write_synthetic_notes(folder / "notes.csv", 90)
    backbone = make_backbone(folder / "encoders" / "tiny")
    store = folder / "store"
    study = trained_study(
        *(store_at(store), folder / "notes.csv", configs(str(backbone))),
        backbone=str(backbone),
        precision="fp32",  # stored in half precision
    )
    for number, kind in enumerate(KINDS):
        exported = export(folder, "--trial", number, "-o", folder / "exports" / kind)
        assert exported.exit_code == 0, exported.output
    return folder, study


@pytest.fixture
def exports(lab):
    return lab[0] / "exports"


@pytest.fixture
def corpus(lab):
    return read_corpus(lab[0] / "notes.csv")


@pytest.fixture
def model(exports, tmp_path):
    """A copy of an exported model, to be spoiled."""
    return lambda kind: Path(shutil.copytree(exports / kind, tmp_path / "model"))


def export(folder, *words):
    return invoke(
        "export", "lab", "--store", folder / "store", "--notes", folder / "notes.csv", *words
    )


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def validation(corpus):
    places = corpus.indices(Part.VALIDATION)
    return [corpus.texts[place] for place in places], corpus.labels[places]


def backbone_of(lab, kind):
    frozen_or_partly = KINDS.index(kind) < KINDS.index("transformer") and kind != "full"
    return str(lab[0] / "encoders" / "tiny") if frozen_or_partly else None


def load(lab, kind, folder=None):
    return load_artifact(folder or lab[0] / "exports" / kind, backbone=backbone_of(lab, kind))


def trial_loss(lab, kind):
    return lab[1].trials[KINDS.index(kind)].best.validation_loss


# --- the model is the trial's ------------------------------------------------------------------


def trained_as(lab, corpus, kind):
    """The trial, what it was trained on, and what its own network says of validation."""
    trial, settings = lab[1].trials[KINDS.index(kind)], retrain.Settings.stored(lab[1].manifest)
    materials = retrain.materials_for(
        trial.config,
        corpus,
        settings,
        cache=cache_dir(lab[0] / "store"),
        states=lab[1].states,
        precision=lab[1].manifest["precision"],
        hooks=retrain.Hooks(),
    )
    weighed = retrain.weigh(trial, corpus, materials, torch.device("cpu"), retrain.Hooks())
    return trial, materials, np.log(weighed.probabilities)


@pytest.mark.parametrize("kind", KINDS)
def test_end_to_end_the_logits_are_the_trials(lab, corpus, kind):
    _, _, expected = trained_as(lab, corpus, kind)
    texts, labels = validation(corpus)

    found = np.log(softmax(load(lab, kind).model.logits(texts)))

    assert found == pytest.approx(expected, abs=1e-2)
    loss = -found[np.arange(len(labels)), labels].mean()
    assert loss == pytest.approx(trial_loss(lab, kind), abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_same_features_the_logits_are_the_trials(lab, corpus, kind):
    """The trial's own network on the trial's own features, beside the folder's."""
    trial, materials, expected = trained_as(lab, corpus, kind)
    loaded = load(lab, kind).model
    places = corpus.indices(Part.VALIDATION)
    if isinstance(trial.config, BaselineConfig):
        found = loaded.logits([corpus.texts[place] for place in places])
        assert softmax(found) == pytest.approx(np.exp(expected), abs=1e-6)
        return
    assert isinstance(loaded, TextNetwork)
    network = loaded.network.head if isinstance(loaded.network, OnEncoder) else loaded.network
    inputs = retrain.network_of(trial.config, corpus, materials).inputs
    with torch.inference_mode():
        logits = network(*inputs.batch(places, torch.device("cpu"))).logits
    assert logits.double().log_softmax(dim=1).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["adapter", "lora", "transformer", "moe"])
def test_notes_of_any_lengths_keep_their_order_and_tell_nothing_to_one_another(lab, corpus, kind):
    loaded = load(lab, kind).model
    texts = [text[: 3 + 11 * (7 * place % 10)] for place, text in enumerate(corpus.texts[:20])]

    found = loaded.logits(texts)

    alone = np.concatenate([loaded.logits([text]) for text in texts])
    assert np.ptp(found, axis=0).max() > 0.02  # or notes might change places unseen
    assert found == pytest.approx(alone, abs=1e-2 if kind == "adapter" else 1e-5)


def test_the_cards_lines_give_the_same_logits_where_headhunt_is_not_installed(
    lab, corpus, exports, tmp_path
):
    texts = [text[: 12 + 30 * place] for place, text in enumerate(corpus.texts[:8])]
    folders = []
    for kind in KINDS:
        folder = shutil.copytree(exports / kind, tmp_path / kind)
        (lines,) = BLOCK.findall((folder / "README.md").read_text(encoding="utf-8"))
        here = lines.replace("PATH/TO/tiny", str(lab[0] / "encoders" / "tiny"))
        assert (here != lines) is (backbone_of(lab, kind) is not None)
        (folder / "lines.py").write_text(here, encoding="utf-8")
        folders.append(str(folder))
    (tmp_path / "asked.json").write_text(json.dumps([texts, folders]))

    run = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_HEADHUNT, str(tmp_path / "asked.json")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    for kind in KINDS:
        loaded = load(lab, kind).model
        expected = loaded.logits(texts)
        assert np.load(tmp_path / kind / "logits.npy") == pytest.approx(expected, abs=2e-3), kind


def test_a_copied_backbone_needs_nothing_beside_the_folder(lab, corpus, tmp_path):
    folder = tmp_path / "whole"
    assert export(lab[0], "--trial", 0, "-o", folder, "--copy-backbone").exit_code == 0

    texts, _ = validation(corpus)
    found = load_artifact(folder).model.logits(texts)

    assert (folder / BACKBONE / "model.safetensors").is_file()
    assert found == pytest.approx(load(lab, "linear").model.logits(texts), abs=1e-6)


def test_only_the_changed_weights_are_in_the_folder(exports):
    sizes = {kind: (exports / kind / "model.safetensors").stat().st_size for kind in NETWORKS}

    assert sizes["linear"] < sizes["lora"] < sizes["last_k"] < sizes["full"]
    assert not (exports / "linear" / BACKBONE).exists()
    assert [file.name for file in (exports / "full" / BACKBONE).iterdir()] == ["config.json"]


# --- which trial, and how ----------------------------------------------------------------------


def test_without_a_number_it_is_the_best_complete_trial_and_says_which(lab, tmp_path):
    scores = [trial.best.f1 for trial in lab[1].trials]

    exported = export(lab[0], "-o", tmp_path / "best")

    best = scores.index(max(scores))
    assert exported.exit_code == 0
    assert f"trial {best} " in exported.stderr
    assert f"the best F1 of {len(KINDS)} complete trials" in exported.stderr
    told = json.loads((tmp_path / "best" / "headhunt.json").read_text(encoding="utf-8"))
    assert told["origin"]["trial"] == best


@pytest.mark.parametrize("kind", ["adapter", "lora", "moe"])
def test_weights_that_were_not_kept_are_trained_again_with_the_studys_numbers(
    lab, exports, tmp_path, kind
):
    folder = tmp_path / "again"
    shutil.copytree(lab[0] / "store" / "lab", tmp_path / "store" / "lab")
    number = KINDS.index(kind)
    removed = store_at(tmp_path / "store")
    states = Study.open(removed, "lab")
    states.states.remove(number, Kind.BEST)
    states.close()

    exported = invoke(
        *("export", "lab", "--store", tmp_path / "store", "--work", tmp_path / "store"),
        *("--notes", lab[0] / "notes.csv", "--trial", number, "-o", folder),
    )

    assert exported.exit_code == 0, exported.output
    assert "it is trained again from its seed" in exported.stderr
    assert "trained again at the export" in (folder / "README.md").read_text(encoding="utf-8")
    same = (folder / "model.safetensors").read_bytes()
    assert same == (exports / kind / "model.safetensors").read_bytes()


def test_a_model_with_other_scores_than_the_studys_is_refused(lab, corpus, tmp_path):
    trial = lab[1].trials[KINDS.index("tfidf_lr")]
    other = replace(trial.best, validation_loss=trial.best.validation_loss + 0.1)

    with pytest.raises(retrain.OtherNumbersError, match="has other numbers here than in the study"):
        retrain.weigh(
            replace(trial, reports=[other]),
            corpus,
            retrain.materials_for(
                trial.config,
                corpus,
                retrain.Settings.stored(lab[1].manifest),
                cache=tmp_path,
                states=lab[1].states,
                precision="fp32",
                hooks=retrain.Hooks(),
            ),
            torch.device("cpu"),
            retrain.Hooks(),
        )


def test_a_backbone_of_the_hub_is_named_by_id_and_commit_and_found_again(
    tmp_path, monkeypatch, store
):
    commit, hub = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub"
    repository = hub / "models--lab--tiny"
    make_backbone(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    write_synthetic_notes(tmp_path / "notes.csv", 60)
    wanted = {"linear": configs("lab/tiny")["linear"], "tfidf_lr": BaselineConfig()}
    trained_study(store, tmp_path / "notes.csv", wanted, backbone="lab/tiny")
    words = ("export", "lab", "--store", store, "--work", store.work)

    for number in range(2):
        exported = invoke(
            *words,
            "--notes",
            tmp_path / "notes.csv",
            "--trial",
            number,
            "-o",
            tmp_path / f"{number}",
        )
        assert exported.exit_code == 0, exported.output
    unknown = invoke(*words, "-o", tmp_path / "unknown")

    reference = load_artifact(tmp_path / "0").description.backbone
    assert reference is not None
    assert (reference.hub_id, reference.revision, reference.name) == ("lab/tiny", commit, "tiny")
    card = (tmp_path / "0" / "README.md").read_text(encoding="utf-8")
    assert f"AutoModel.from_pretrained('lab/tiny', revision='{commit}')" in card
    assert "base_model: lab/tiny" in card
    assert unknown.exit_code == 2
    assert "is not known on this machine: name the file by --notes" in unknown.stderr


def test_a_forgotten_study_is_not_exported(tmp_path):
    store = store_at(tmp_path / "store")
    write_synthetic_notes(tmp_path / "notes.csv", 60)
    trained_study(store, tmp_path / "notes.csv", {"tfidf_lr": BaselineConfig()})
    assert invoke("forget", "lab", "--yes", "--store", store).exit_code == 0

    refused = export(tmp_path, "-o", tmp_path / "model")

    assert refused.exit_code == 2
    assert "the confidential files of the study 'lab' were removed at" in refused.stderr
    assert not (tmp_path / "model").exists()


def test_confirmed_metrics_stand_in_the_card_with_their_intervals(exports):
    description = read_description(exports / "moe")
    told = json.loads((exports / "moe" / "calibration.json").read_text())
    confirmed = Confirmed(
        name="F1",
        value=0.81,
        low=0.77,
        high=0.85,
        level=0.95,
        seeds=3,
        training_notes=400,
        notes=90,
    )

    card = model_card(description, Calibration(**told), [confirmed])

    assert "(90 notes; trained 3 times anew on\n400 notes, so" in card
    assert "95 % interval" in card
    assert "| F1 | 0.8100 | 0.7700 to 0.8500 |" in card
    assert "not confirmed" not in card


# --- what is refused, and what is left ---------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trial", 99], "has the trials 0 to 13"),
        (["--trial", 0, "-o", "{exports}/linear"], "exists: name another folder"),
        (["--trial", 0, "-o", "{lab}", "--overwrite"], "holds no exported model"),
        (["--trial", 0, "--notes", "{lab}/gone.csv"], "does not exist"),
        (["--trial", 0, "--notes", "{lab}/others.csv"], "the notes, their split or their labels"),
    ],
)
def test_what_cannot_be_exported_ends_in_one_message(lab, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    write_synthetic_notes(lab[0] / "others.csv", 60, 7)
    places = {"exports": lab[0] / "exports", "lab": lab[0]}

    refused = export(lab[0], *(str(word).format(**places) for word in words))

    assert refused.exit_code == 2
    errors = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_or_is_interrupted_leaves_nothing_and_keeps_what_was_there(
    lab, tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    assert export(lab[0], "--trial", 12, "-o", folder).exit_code == 0
    before = (folder / "model.safetensors").read_bytes()
    for error, status in ((OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 130)):

        def fail(*unused, error=error, **unused_too):
            raise error

        monkeypatch.setattr("headhunt.trainables.artifact.export.model_card", fail)
        failed = export(lab[0], "--trial", 10, "-o", folder, "--overwrite")
        assert failed.exit_code == status, failed.output
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        assert (folder / "model.safetensors").read_bytes() == before
    monkeypatch.undo()

    assert export(lab[0], "--trial", 10, "-o", folder, "--overwrite").exit_code == 0

    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "model.safetensors").read_bytes() != before


def test_what_no_export_has_written_is_not_removed(lab, model):
    folder = model("moe")
    (folder / "predictions.csv").write_text("row,label\n")

    refused = export(lab[0], "--trial", 12, "-o", folder, "--overwrite")

    assert refused.exit_code == 2
    assert "also holds 'predictions.csv', which no export has written" in refused.stderr
    assert (folder / "predictions.csv").exists()


def test_files_are_the_owners_alone_and_hold_no_path_of_this_machine(lab, exports):
    for kind in KINDS:
        modes = modes_in(exports / kind)
        assert {mode for name, mode in modes.items() if "." in name[1:]} == {0o600}
        assert {mode for name, mode in modes.items() if "." not in name[1:]} == {0o700}
        for file in (exports / kind).rglob("*"):
            assert file.is_dir() or str(lab[0]).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("kind", ["transformer", "tfidf_lr"])
def test_command_and_card_warn_of_a_vocabulary_learned_from_notes(lab, exports, tmp_path, kind):
    exported = export(lab[0], "--trial", KINDS.index(kind), "-o", tmp_path / "model")

    card = " ".join((exports / kind / "README.md").read_text(encoding="utf-8").split())
    for told in (" ".join(exported.stderr.split()), card):
        assert "learned from the notes and can hold names" in told
        assert "--min-document-frequency" in told


# --- a folder from elsewhere -------------------------------------------------------------------


def changed(name, change):
    """Rewrites a JSON file of the folder."""

    def spoil(folder):
        stored = json.loads((folder / name).read_text(encoding="utf-8"))
        change(stored)
        (folder / name).write_text(json.dumps(stored), encoding="utf-8")

    return spoil


def told(change):
    return changed("headhunt.json", change)


SPOILED = {
    "no description": lambda f: (f / "headhunt.json").unlink(),
    "no JSON": lambda f: (f / "headhunt.json").write_text("{"),
    "deep JSON": lambda f: (f / "headhunt.json").write_text("[" * 100_000),
    "of something else": told(lambda d: d.update(format="bert")),
    "a later version": told(lambda d: d.update(version=99)),
    "a key is missing": told(lambda d: d.pop("labels")),
    "a file that leads out": told(
        lambda d: d["files"].update({"../x": d["files"]["tokenizer.json"]})
    ),
    "a backbone that leads out": told(lambda d: d["backbone"].update(name="../../etc")),
    "an adapter beside": told(
        lambda d: d["files"].update({"backbone/adapter_config.json": {"bytes": 1, "sha256": ""}})
    ),
    "a huge model": told(lambda d: d["config"]["head"].update(bottleneck=10_000_000)),
    "no number": told(lambda d: d["config"].update(dropout="much")),
    "an unknown head": told(lambda d: d["config"]["head"].update(kind="__import__")),
    "more labels": told(lambda d: d["labels"].append("more")),
    "no origin": told(lambda d: d.update(origin={})),
    "labels that are none": told(lambda d: d.update(labels=[1, 2])),
    "torn weights": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:-1]
    ),
    "a bit of the weights": lambda f: flip(f / "model.safetensors"),
    "a bit of the tokenizer": lambda f: flip(f / "tokenizer.json"),
    "weights missing": lambda f: (f / "model.safetensors").unlink(),
    "a link": lambda f: relinked(f / "tokenizer.json"),
    "no temperature": changed("calibration.json", lambda d: d.update(temperature=float("nan"))),
    "no calibration": lambda f: (f / "calibration.json").unlink(),
}


def flip(file):
    held = bytearray(file.read_bytes())
    held[-3] ^= 1
    file.write_bytes(held)


def relinked(file):
    moved = file.rename(file.parent.parent / "moved.json")
    file.symlink_to(moved)


@pytest.mark.parametrize("case", SPOILED)
def test_a_forged_or_torn_folder_is_refused_in_one_message(lab, model, tmp_path, case):
    folder = model("adapter")
    SPOILED[case](folder)

    refused = invoke(
        *("predict", folder, lab[0] / "notes.csv", "-o", tmp_path / "out.csv"),
        *("--backbone", lab[0] / "encoders" / "tiny"),
    )

    assert refused.exit_code == 2, refused.output
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(folder) in line
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("weight", [float("nan"), "much", None])
def test_a_baseline_whose_terms_weigh_no_number_is_refused(lab, model, tmp_path, weight):
    folder = model("tfidf_lr")
    changed("vocabulary.json", lambda v: v["idf"].__setitem__(0, weight))(folder)
    facts = asdict(facts_of(folder / "vocabulary.json"))
    told(lambda d: d["files"].update({"vocabulary.json": facts}))(folder)

    refused = invoke("predict", folder, lab[0] / "notes.csv", "-o", tmp_path / "out.csv")

    assert refused.exit_code == 2
    assert "its files do not fit one another (ValueError)" in refused.stderr


def test_a_baseline_of_another_number_of_classes_is_refused(lab, model, tmp_path):
    folder = model("tfidf_lr")
    told(lambda d: d["labels"].append("more"))(folder)

    refused = invoke("predict", folder, lab[0] / "notes.csv", "-o", tmp_path / "out.csv")

    assert refused.exit_code == 2
    assert "its files do not fit one another (ValueError)" in refused.stderr
    assert not (tmp_path / "out.csv").exists()


def test_weights_of_another_type_are_refused(lab, model, tmp_path):
    folder = model("transformer")
    weights = {name: t.half() for name, t in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    facts = asdict(facts_of(folder / "model.safetensors"))
    told(lambda d: d["files"].update({"model.safetensors": facts}))(folder)

    refused = invoke("predict", folder, lab[0] / "notes.csv", "-o", tmp_path / "out.csv")

    assert refused.exit_code == 2
    assert "does not hold the weights of the model" in refused.stderr


def test_a_token_without_an_embedding_is_a_gap_in_a_note(lab):
    loaded = load(lab, "linear").model
    assert isinstance(loaded, TextNetwork)
    rows = loaded.tokenizer.get_vocab_size()
    loaded.tokenizer.add_special_tokens(["<mask>"])
    assert beyond(loaded.tokenizer, rows) == ["<mask>"]

    found = replace(loaded, unread=["<mask>"]).logits(["vu <mask> ce jour", "vu   ce jour"])

    assert np.array_equal(found[0], found[1])


def test_a_backbone_with_other_files_is_refused_and_one_that_is_not_here_asked_for(
    lab, exports, tmp_path
):
    other = make_backbone(tmp_path / "tiny", seed=1)

    for words, said in (
        (["--backbone", other], "has other files than the one that the model was trained on"),
        ([], "give the directory by --backbone"),
    ):
        refused = invoke(
            *("predict", exports / "grn", lab[0] / "notes.csv"),
            *("-o", tmp_path / "out.csv", *words),
        )
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_code_and_pickles_that_lie_in_the_folder_are_not_looked_at(lab, model, corpus, tmp_path):
    folder, marker = model("full"), tmp_path / "executed"
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    for name in ("modeling.py", "sitecustomize.py", "backbone.py", "README.md"):
        (folder / name).write_text(code)

    load_artifact(folder)
    assert not marker.exists()

    (folder / BACKBONE / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ArtifactError, match="1 files that were not exported"):
        load_artifact(folder)


# --- predictions -------------------------------------------------------------------------------


def predict(lab, kind, notes, out, *words):
    encoder = backbone_of(lab, kind)
    given = ["--backbone", encoder] if encoder else []
    return invoke("predict", lab[0] / "exports" / kind, notes, "-o", out, *given, *words)


def rows_of(file):
    with file.open(encoding="utf-8", newline="") as read:
        return list(csv.DictReader(read))


@pytest.mark.parametrize("chunk", [7, 512])
def test_each_note_has_a_row_with_its_number_label_and_calibrated_probabilities(
    lab, corpus, tmp_path, monkeypatch, chunk
):
    monkeypatch.setattr("headhunt.trainables.artifact.predict.CHUNK", chunk)
    loaded = load(lab, "transformer")

    done = predict(lab, "transformer", lab[0] / "notes.csv", tmp_path / "out.csv")

    assert done.exit_code == 0, done.output
    assert "predicted: 100 % of 90 notes" in done.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["row", "label", *(f"probability_{n}" for n in loaded.labels)]
    assert [row["row"] for row in rows] == [str(row) for row in corpus.rows]
    expected = softmax(loaded.model.logits(corpus.texts) / loaded.temperature)
    found = [[float(row[f"probability_{n}"]) for n in loaded.labels] for row in rows]
    assert np.array(found) == pytest.approx(expected, abs=1e-5)
    assert [row["label"] for row in rows] == [loaded.labels[c] for c in expected.argmax(axis=1)]
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_uncalibrated_probabilities_are_the_models_own(lab, corpus, tmp_path):
    loaded = load(lab, "tfidf_lr")

    predict(lab, "tfidf_lr", lab[0] / "notes.csv", tmp_path / "out.csv", "--uncalibrated")

    name = loaded.labels[0]
    found = [float(row[f"probability_{name}"]) for row in rows_of(tmp_path / "out.csv")]
    assert loaded.temperature != 1
    assert found == pytest.approx(softmax(loaded.model.logits(corpus.texts))[:, 0], abs=1e-5)


def test_scores_on_validation_are_those_of_the_study(lab, corpus, tmp_path):
    places = corpus.indices(Part.VALIDATION)
    with (tmp_path / "some.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "diagnosis", "text"])
        rows.writerows(
            [f"n{p}", corpus.label_names[corpus.labels[p]], corpus.texts[p]] for p in places
        )

    done = predict(
        *(lab, "tfidf_mlp", tmp_path / "some.csv", tmp_path / "out.csv"),
        *("--score", "--label-column", "diagnosis", "--id-column", "id"),
    )

    best = lab[1].trials[KINDS.index("tfidf_mlp")].best
    assert f"F1: {best.f1:.4f}" in done.stdout
    assert f"accuracy: {best.accuracy:.4f}" in done.stdout
    assert [row["id"] for row in rows_of(tmp_path / "out.csv")] == [f"n{p}" for p in places]


@pytest.mark.parametrize(
    ("name", "data", "words", "said"),
    [
        ("a.csv", b'text\nfine\n""\nfine\n', [], "row 2: the text is empty"),
        ("a.csv", b"text\nfi\0ne\n", [], "a NUL byte"),
        ("a.csv", b"text\n\xff\xfeno\n", [], "not UTF-8"),
        ("a.csv", b"text,x\nfine,1\nfine\n", [], "row 2: not the 2 cells"),
        ("a.csv", b"note\nfine\n", [], "no text column 'text'"),
        ("a.csv", b"text\n", [], "the table has no rows"),
        ("a.csv", b"text,label\nfine,quiet\n", ["--score"], "row 1: the label is none of"),
        ("a.jsonl", b'{"x": 1}\n{"text": "late"}\n', [], "row 1: the text is empty"),
        ("a.csv", b"text\nfine\n", ["--id-column", "text"], "which are never written"),
        ("a.csv", b"text\nfine\n", ["-o", "out.txt"], "-o ends in .csv"),
    ],
)
def test_notes_that_cannot_be_predicted_end_in_one_message(
    lab, tmp_path, monkeypatch, name, data, words, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)

    refused = predict(lab, "tfidf_lr", tmp_path / name, tmp_path / "out.csv", *words)

    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_predictions_never_take_the_place_of_the_notes(lab, tmp_path):
    (tmp_path / "a.csv").write_text("text\nune note\n")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")

    for output in ("a.csv", "b.csv"):
        refused = predict(lab, "moe", tmp_path / "a.csv", tmp_path / output, "--overwrite")
        assert refused.exit_code == 2
        assert "is the file of notes: name another one" in refused.stderr

    assert (tmp_path / "a.csv").read_text() == "text\nune note\n"


def test_a_byte_order_mark_and_other_formats_are_read(lab, tmp_path):
    texts = ["une note", "une autre, avec une virgule"]
    (tmp_path / "a.csv").write_text(f'\ufefftext\n{texts[0]}\n"{texts[1]}"\n', encoding="utf-8")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "b.jsonl").write_text(lines, encoding="utf-8")

    for name in ("a.csv", "b.jsonl"):
        assert predict(lab, "moe", tmp_path / name, tmp_path / f"{name}.csv").exit_code == 0

    assert (tmp_path / "a.csv.csv").read_bytes() == (tmp_path / "b.jsonl.csv").read_bytes()


def test_a_prediction_that_fails_leaves_no_file_and_the_earlier_one(lab, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    assert predict(lab, "moe", lab[0] / "notes.csv", out).exit_code == 0
    before = out.read_bytes()
    assert predict(lab, "moe", lab[0] / "notes.csv", out).exit_code == 2  # without --overwrite

    def fail(*unused):
        raise KeyboardInterrupt

    monkeypatch.setattr("headhunt.trainables.artifact.predict._rows", fail)
    failed = predict(lab, "moe", lab[0] / "notes.csv", out, "--overwrite")

    assert failed.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert out.read_bytes() == before
