import itertools
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headhunt.search import identities
from headhunt.search.launch import LaunchError, prepare
from headhunt.search.plan import Budget
from headhunt.search.sampling import SpaceError
from headhunt.search.settings import Request, Settings
from headhunt.search.space_files import load_space
from headhunt.search.study import Study
from headhunt.spaces.catalogue import SPACES
from headhunt.spaces.record import MANIFEST_KEY
from headhunt.trainables.card.cards import CARDS

from ..trainables.backbone_dirs import edit_json, make_backbone
from .toys import write_notes

MINE = """
from __future__ import annotations

from dataclasses import dataclass

from headhunt.spaces.configs import Optimisation, ScratchConfig


@dataclass
class Widths:
    largest: int = 64


NUMBER = 7


def one(trial):
    return ScratchConfig(width=trial.suggest_categorical("width", [32, Widths().largest]))


def two(trial, options):
    size = trial.suggest_int("batch_size", 1, options.batch_limit)
    return ScratchConfig(optimisation=Optimisation(batch_size=size))


def broken(trial):
    raise RuntimeError("not today")
"""


@pytest.fixture
def notes(tmp_path):
    return write_notes(tmp_path / "notes.csv", 60)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_backbone(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def request_of(notes, tmp_path):
    """A request for the scratch models in the study `lab`, with these changes."""

    def make(*, resume=False, study="lab", budget=None, **given):
        return Request(
            notes=notes,
            study=study,
            store=tmp_path / "store",
            resume=resume,
            given=given if resume else {"space": "scratch", **given},
            budget=budget or Budget(),
        )

    return make


@pytest.fixture
def made(request_of):
    """Makes a study that is not held, and returns what it was prepared with."""

    def make(**given):
        prepared = prepare(request_of(**given))
        prepared.study.close()
        return prepared

    return make


def problems(request):
    with pytest.raises(LaunchError) as caught:
        prepare(request)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_a_sound_request_makes_a_study_that_knows_what_was_asked(made):
    prepared = made(seed=3, max_epochs=5)

    study = Study.open(prepared.request.store, "lab")
    asked = study.manifest
    study.close()
    assert (asked["space"], asked["seed"], asked["max_epochs"]) == ("scratch", 3, 5)
    assert asked["settings"]["patience"] == 4
    assert asked["card"]["name"] == "Quadro P620"
    assert asked["corpus"]["notes"] == 60
    assert asked["corpus"]["classes"] == ["loud", "quiet"]
    assert asked["budget"]["trials"] == prepared.budget.trials == 40


def test_no_word_of_a_note_is_in_the_study(notes, made):
    write_notes(notes, 60, words="Zwetschgendatschi")
    made()

    for path in notes.parent.joinpath("store").rglob("*"):
        assert path.is_dir() or b"Zwetschgendatschi" not in path.read_bytes()


def test_all_that_is_wrong_is_said_at_once(request_of, notes):
    notes.write_text("text,label\nhello,\n,a\n")

    found = problems(
        request_of(
            study="a/b",
            space="everything",
            backbones=("no/such/directory/here/at/all",),
            objective=("accuracy",),
            sampler="grid",
            seed=-1,
            max_epochs=0,
            patience=-1,
            card="gtx",
            max_tokens=2,
            batch_limit=0,
            precision="fp8",
            conflicting="merge",
            train_fraction=2.0,
            budget=Budget(trials=0, card_hours=-1.0, gpu_hours=1.0, wall_hours=float("nan")),
        )
    )

    expected = [
        "a study's name becomes a folder",
        "conflicting is 'keep' or 'drop'",
        "0 < train_fraction <= 1",
        "a .toml file, 'auto' for the GPU of this machine, or in a search 'none'",
        "is neither a directory",
        "a space is one of",
        "a sampler is one of",
        "--max-epochs must be at least 1; got 0",
        "--patience must not be negative; got -1",
        "--max-tokens must be at least 8; got 2",
        "--batch-limit must be at least 1; got 0",
        "--seed must be in [0, 2**31); got -1",
        "--precision is auto, fp32 or bf16; got 'fp8'",
        "--objective is f1 or f1,card-hours; got 'accuracy'",
        "--trials must be a positive number; got 0",
        "--card-hours must be a positive number; got -1.0",
        "--wall-hours must be a positive number; got nan",
        "--gpu-hours needs a GPU to measure",
    ]
    assert [part for part in expected if not any(part in problem for problem in found)] == []
    assert any("row 1" in problem and "label" in problem for problem in found)
    assert any("row 2" in problem and "text" in problem for problem in found)


def test_nothing_is_made_in_the_store_when_something_is_wrong(request_of):
    request = request_of(max_epochs=0)
    problems(request)

    assert not request.store.exists()


def test_a_name_that_is_taken_is_refused(made, request_of):
    made()

    assert "exists in" in problems(request_of())[0]


@pytest.mark.parametrize("space", ["heads", "all"])
def test_a_space_with_heads_needs_a_backbone(request_of, space):
    assert problems(request_of(space=space)) == (
        f"the space {space!r} needs at least one --backbone: a name (camembert-bio, drbert, "
        "alibert, minilm), a Hugging Face id or a directory; --space scratch needs none",
    )


def test_a_directory_that_is_no_backbone_is_refused(request_of, tmp_path):
    (tmp_path / "empty").mkdir()

    (found,) = problems(request_of(space="heads", backbones=(str(tmp_path / "empty"),)))

    assert "backbone" in found


@pytest.mark.parametrize(
    ("sampler", "card", "warned"),
    [
        ("nsga2", "p620", True),
        ("random", "p620", True),
        ("tpe", "p620", False),
        ("nsga2", "none", False),
    ],
)
def test_a_sampler_that_does_not_learn_what_fits_is_told_of(made, sampler, card, warned):
    warnings = made(sampler=sampler, card=card).warnings

    assert len(warnings) == warned
    assert all(f"{sampler!r} does not learn what fits the card" in said for said in warnings)


@pytest.mark.parametrize(
    ("space", "together", "warned"),
    [("scratch", 4, True), ("scratch", 1, False), ("heads", 4, False)],
)
def test_training_together_where_no_head_can_be_is_told_of(
    request_of, encoder, space, together, warned
):
    backbones = () if space == "scratch" else (str(encoder),)
    request = replace(request_of(space=space, backbones=backbones), together=together)

    prepared = prepare(request)
    prepared.study.close()

    assert [w.startswith("--together changes nothing here") for w in prepared.warnings] == (
        [True] if warned else []
    )


def test_fewer_than_one_together_is_refused(request_of):
    found = problems(replace(request_of(), together=0))

    assert found == ("--together must be 1 or more; got 0",)


def test_a_machine_too_full_to_load_a_backbone_is_told_so(request_of, encoder, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(identities, "load_backbone", fail)

    (found,) = problems(request_of(space="heads", backbones=(str(encoder),)))

    assert found.startswith("this machine has not the memory to load the backbone ")


@pytest.mark.parametrize("hours", [1.0, 1e-3])
def test_card_hours_without_a_card_are_refused(request_of, hours):
    assert problems(request_of(card="none", budget=Budget(card_hours=hours))) == (
        "--card-hours needs a card: without one there are no card hours",
    )


def test_card_hours_as_an_objective_without_a_card_are_refused(request_of):
    (found,) = problems(request_of(card="none", objective=("f1", "card-hours")))

    assert found.startswith("--objective card-hours needs a card")


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_gp_and_cmaes_are_refused_for_the_spaces_of_the_catalogue(request_of, sampler):
    (found,) = problems(request_of(sampler=sampler))

    assert f"the sampler {sampler!r} models only" in found


def test_a_resume_takes_what_was_not_said_from_the_study(made, request_of):
    before = made(seed=5, max_epochs=3, card="none", sampler="random", budget=Budget(trials=7))

    after = prepare(request_of(resume=True))
    after.study.close()

    assert after.settings == before.settings
    assert after.budget == Budget(trials=7)
    assert after.corpus.digest == before.corpus.digest


def test_a_resume_may_say_again_what_the_study_was_made_with(made, request_of):
    made(seed=5, objective=("f1",))

    prepare(request_of(resume=True, seed=5, objective=("f1",), space="scratch")).study.close()


def test_a_resume_may_change_the_budget_and_the_slots(made, request_of):
    made(budget=Budget(trials=7))

    after = prepare(replace(request_of(resume=True, budget=Budget(trials=70)), slots=3))
    after.study.close()

    assert (after.budget, after.request.slots) == (Budget(trials=70), 3)


@pytest.mark.parametrize(
    ("name", "value", "was"),
    [
        ("seed", 6, "0"),
        ("space", "baselines", "'scratch'"),
        ("max_epochs", 11, "10"),
        ("sampler", "random", "'tpe'"),
        ("card", "none", "'p620'"),
        ("objective", ("f1", "card-hours"), r"['f1']"),
        ("rungs", False, "True"),
    ],
)
def test_a_resume_refuses_other_settings_with_what_they_were(made, request_of, name, value, was):
    made()

    found = problems(request_of(resume=True, **{name: value}))

    assert f"was made with {name}={was}, and cannot go on with" in found[0]


def test_a_resume_refuses_other_notes(made, request_of, notes):
    made()
    write_notes(notes, 61)

    (found,) = problems(request_of(resume=True))

    assert re.fullmatch(
        r"the notes, their split or their labels changed since the study 'lab' was made "
        r"\(42 \+ 9 \+ 9 notes in 2 classes, \w{8} then, 43 \+ 9 \+ 9 notes in 2 classes, \w{8} "
        r"now\): give it what it was made with, or start another study",
        found,
    )


def test_a_manifest_says_which_commit_made_the_study(made):
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    ).stdout.strip()

    assert made().study.manifest["commit"].removesuffix("+") == head


def test_a_resume_refuses_another_space_file(made, request_of, mine):
    made(space=f"{mine}:one")
    mine.write_text(MINE.replace("[32,", "[16,"))

    (found,) = problems(request_of(resume=True))

    assert found.startswith("the file of the space changed since")


def test_a_resume_refuses_a_backbone_whose_files_changed(made, request_of, tmp_path):
    folder = make_backbone(tmp_path / "encoder")
    made(space="heads", backbones=(str(folder),))
    edit_json(folder / "config.json", layer_norm_eps=1e-3)

    (found,) = problems(request_of(resume=True))

    assert found.startswith("the files of a backbone changed since")
    assert "made (encoder): give it" in found


def test_a_resume_loads_no_backbone_whose_files_are_as_they_were(
    made, request_of, tmp_path, monkeypatch
):
    folder = make_backbone(tmp_path / "encoder")
    made(space="heads", backbones=(str(folder),))
    loaded = []
    monkeypatch.setattr(identities, "load_backbone", lambda *given: loaded.append(given))

    prepare(request_of(resume=True)).study.close()

    assert loaded == []


def test_a_resume_tells_of_a_backbone_that_was_torn_since(made, request_of, tmp_path):
    folder = make_backbone(tmp_path / "encoder")
    made(space="heads", backbones=(str(folder),))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    (found,) = problems(request_of(resume=True))

    assert found.startswith("the backbone 'encoder' cannot be loaded")


def test_a_resume_takes_a_card_whose_numbers_are_only_better_explained(
    made, request_of, monkeypatch
):
    made()
    p620 = replace(CARDS["p620"], source="somewhere else")
    monkeypatch.setitem(CARDS, "p620", p620)

    again = prepare(request_of(resume=True))
    again.study.close()

    assert again.card == p620


def test_a_resume_refuses_a_card_file_that_changed(made, request_of, tmp_path):
    card = tmp_path / "card.toml"
    fields = 'name = "c"\nreserve_bytes = 1\nflops = 1e12\nbandwidth = 1e9\nwatts = 9\nsource = "x"'
    card.write_text(f"{fields}\nmemory_bytes = 1000000000\n")
    made(card=str(card))
    card.write_text(f"{fields}\nmemory_bytes = 2000000000\n")

    (found,) = problems(request_of(resume=True))

    assert "made (memory_bytes 1000000000 then, 2000000000 now): give it" in found


def test_a_resume_of_a_missing_study_says_that_alone(request_of):
    found = problems(replace(request_of(resume=True), notes=Path("nowhere.csv")))

    assert len(found) == 1
    assert "no study 'lab': the store" in found[0]


def test_a_resume_of_a_study_that_is_held_says_that_alone(request_of):
    held = prepare(request_of())

    found = problems(request_of(resume=True))

    held.study.close()
    assert len(found) == 1
    assert f"is being searched by process {os.getpid()}" in found[0]


@pytest.mark.parametrize(("function", "parameters"), [("one", {"width"}), ("two", {"batch_size"})])
def test_a_space_of_ones_own_takes_a_trial_or_a_trial_and_the_options(mine, function, parameters):
    import optuna

    space = load_space(Settings(space=f"{mine}:{function}", batch_limit=4))

    trial = optuna.create_study().ask()
    config: Any = space.suggest(trial)
    assert set(trial.params) == parameters
    assert config.optimisation.batch_size in (*range(1, 5), 8)
    assert len(space.controls) == 2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("mine.py:three", "has no function 'three'"),
        ("mine.py:NUMBER", "has no function 'NUMBER'"),
        ("mine.py:", "has no function ''"),
        ("mine.py:broken", r"failed: RuntimeError at mine.py:27 \(what it says is not shown"),
        ("other.py:one", "there is no file"),
        ("mine.py", r"a space is one of \['all', .*\] or FILE.py:FUNCTION; got "),
        ("mine.txt:one", r"a space is one of"),
        ("syntax.py:one", "syntax.py' failed: SyntaxError at syntax.py:1"),
        ("fails.py:one", "fails.py' failed: AttributeError at fails.py:2"),
    ],
)
def test_a_space_of_ones_own_that_cannot_be_had_is_refused(mine, space, message):
    mine.with_name("mine.txt").write_text(MINE)
    mine.with_name("syntax.py").write_text("def one(trial:")
    mine.with_name("fails.py").write_text("import math\nmath.nothing")

    with pytest.raises(SpaceError, match=message):
        load_space(Settings(space=str(mine.with_name(space))))


@pytest.mark.parametrize("name", SPACES)
def test_the_spaces_of_the_catalogue_load_by_name(name):
    assert load_space(Settings(space=name, backbones=("some/encoder",))).name == name


def test_heads_on_a_local_encoder_are_prepared_with_the_hash_of_its_files(made, encoder):
    prepared = made(space="all", backbones=(str(encoder),))

    hashes = prepared.study.manifest["backbones"]
    assert hashes.keys() == {str(encoder)}
    assert len(set(itertools.chain(*hashes.values()))) > 1


def test_a_space_whose_config_cannot_be_built_is_refused_before_the_study_is_made(
    request_of, tmp_path
):
    (tmp_path / "odd.py").write_text(
        "from headhunt.spaces.configs import ScratchConfig\n"
        "def space(trial):\n"
        "    return ScratchConfig(width=32, attention_heads=trial.suggest_int('heads', 3, 3))\n",
        encoding="utf-8",
    )

    said = problems(request_of(space=f"{tmp_path}/odd.py:space"))

    assert len(said) == 1
    assert "proposes a config that cannot be built" in said[0]
    assert not (tmp_path / "store" / "lab").exists()


def test_hours_are_not_asked_of_baselines(request_of):
    by_hours = problems(request_of(space="baselines", budget=Budget(card_hours=1.0)))
    by_front = problems(
        request_of(space="baselines", objective=("f1", "card-hours"), budget=Budget(trials=3))
    )

    assert by_hours == (
        "baselines use no GPU hours: give --space baselines --trials or --wall-hours",
    )
    assert by_front == ("--objective card-hours means nothing to baselines, which use no GPU",)


def test_a_raised_budget_is_remembered(request_of):
    for budget, resume in ((Budget(trials=5), False), (Budget(trials=9), True)):
        prepare(request_of(budget=budget, resume=resume)).study.close()

    last = prepare(request_of(resume=True))
    last.study.close()

    assert last.budget == Budget(trials=9)


def test_an_empty_column_name_has_the_column_ignored(request_of):
    prepared = prepare(request_of(patient_column="", split_column=""))
    prepared.study.close()

    assert prepared.corpus.patients is None


def test_card_hours_alone_are_no_objective(request_of):
    said = problems(request_of(objective=("card-hours",)))

    assert [problem for problem in said if "--objective must have f1 in it" in problem]


# --- rare words --------------------------------------------------------------------------------


def test_the_frequency_of_words_is_kept_in_the_study_and_cannot_change(made, request_of):
    prepared = made(min_document_frequency=3)
    assert prepared.settings.min_document_frequency == 3

    again = prepare(request_of(resume=True))
    again.study.close()

    assert again.settings.min_document_frequency == 3
    (problem,) = problems(request_of(resume=True, min_document_frequency=2))
    assert "was made with min_document_frequency=3" in problem


def test_a_study_from_before_there_was_a_frequency_goes_on_without_one(made, request_of):
    study = Study.open(made().request.store, "lab")
    manifest = study.manifest
    del manifest["settings"]["min_document_frequency"]
    study._storage.set_study_user_attr(study._held.study_id, MANIFEST_KEY, manifest)
    study.close()

    for given in ({}, {"min_document_frequency": 1}):
        again = prepare(request_of(resume=True, **given))
        again.study.close()
        assert again.settings.min_document_frequency == 1


@pytest.mark.parametrize(
    ("frequency", "message"),
    [
        (0, "--min-document-frequency must be at least 1; got 0"),
        (61, "leaves no word: the training notes are of 4"),
    ],
)
def test_a_frequency_that_means_nothing_is_refused(request_of, frequency, message):
    (problem,) = problems(request_of(min_document_frequency=frequency))

    assert message in problem


def test_a_comparison_has_no_rungs_and_a_budget_for_twice_what_it_names_unless_told(made, encoder):
    usual = made(space="study", backbones=(str(encoder),))
    told = made(space="study", study="told", backbones=(str(encoder),), rungs=True)

    assert (usual.settings.rungs, told.settings.rungs) == (False, True)
    assert usual.budget.trials == 2 * (4 + 16 + 6)
    assert usual.settings.card == "p620"
    assert usual.warnings == []


def test_a_budget_too_small_for_every_model_is_warned_of(made, encoder):
    few = made(space="study", backbones=(str(encoder),), budget=Budget(trials=25))

    (warning,) = few.warnings
    assert "names 26 trials before it searches" in warning
    assert "and 25 are fewer" in warning


def test_a_comparison_that_is_resumed_is_on_the_same_encoders(made, request_of, encoder):
    made(space="study", backbones=(str(encoder),))

    again = prepare(request_of(resume=True))
    again.study.close()

    assert again.settings.backbones == (str(encoder),)
    assert (again.settings.space, again.settings.rungs) == ("study", False)
