import json
import os
import shutil
import stat
from contextlib import closing

import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from headhunt.analysis import snapshot
from headhunt.search import forget
from headhunt.search.cli import app
from headhunt.search.launch import prepare
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME, Outcome, State
from headhunt.stores import SNAPSHOT, confirmation_of, store_at
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.notes.cache import CACHE_FOLDER, DONE, MADE_OF, cache_dir, make_once
from headhunt.trainables.notes.corpus import read_corpus
from headhunt.trainables.runner import run_trial
from headhunt.trainables.training.states import Kind, Saved, StateFolder

from ..toys import begin, scratch, write_notes

SMALL = scratch(width=8, feed_forward=8, vocabulary=200)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store named by the environment, and two files of notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    write_notes(tmp_path / "notes.csv", 60)
    write_notes(tmp_path / "others.csv", 60, words="elsewhere")
    return tmp_path / "store"


def trained(store, study="lab", *, notes="notes.csv", resume=False, epochs=2, place=None, **given):
    """A study whose only trial is really trained for so many epochs; open, its trial running.

    It lies in `place`, with `store` as its work folder, where that is another one.
    """
    given = {} if resume else {"space": "scratch", "max_tokens": 32, "max_epochs": 2, **given}
    prepared = prepare(
        Request(
            notes=store.parent / notes,
            study=study,
            store=place or store,
            resume=resume,
            given=given,
        )
    )
    opened, settings = prepared.study, prepared.settings
    materials = Materials(
        settings=TrainingSettings(
            max_epochs=2, patience=0, batch_limit=8, max_tokens=settings.max_tokens
        ),
        states=opened.states,
        cache=cache_dir(store),
        features={},
    )
    trial = opened.trials[0] if opened.trials else begin(opened, SMALL)
    assignment = Assignment(number=0, config=SMALL, seed=1, known_epochs=len(trial.reports))
    steps = run_trial(
        assignment, prepared.corpus, materials, device=torch.device("cpu"), device_fraction=0.0
    )
    for _, step in zip(range(epochs), steps, strict=False):
        assert step.report
        opened.report(0, step.report)
    return prepared


def ended(store, study="lab", **given):
    """The same, complete and closed."""
    opened = trained(store, study, **given).study
    opened.end(0, Outcome(state=State.COMPLETE, reason="all epochs trained"))
    opened.close()
    return opened


def invoke(*words, **options):
    return CliRunner().invoke(app, list(words), **options)


def cached(store):
    return sorted(p.name for p in (store / CACHE_FOLDER).iterdir() if p.is_dir())


def test_a_forgotten_study_has_no_confidential_file_and_ranks_as_before(store):
    ended(store)
    before = [invoke(*words).stdout for words in (["rank", "lab", "--by", "f1"], ["trials", "lab"])]

    result = invoke("forget", "lab", "--yes")

    assert result.exit_code == 0
    assert cached(store) == []
    assert {p.name for p in (store / "lab").iterdir()} == {JOURNAL_NAME, "lock", "lock.holder"}
    after = [invoke(*words).stdout for words in (["rank", "lab", "--by", "f1"], ["trials", "lab"])]
    assert after == before


def test_a_snapshot_of_the_frames_goes_with_them(store, monkeypatch):
    monkeypatch.setattr(snapshot, "LEAST_TRIALS", 1)
    ended(store)
    kept = store / "lab" / SNAPSHOT.format("trials")
    invoke("trials", "lab")
    assert kept.exists()

    assert invoke("forget", "lab", "--yes").exit_code == 0

    assert not kept.exists()


def test_what_was_removed_is_said_in_files_and_bytes(store):
    study = ended(store)
    folders = [*(store / CACHE_FOLDER).glob("tokens-*/"), study.folder / "trials"]
    size = sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file())

    result = invoke("forget", "lab", "--yes")

    assert f"lab: 1 folders of encoded notes and 2 files of checkpoints and weights, {size:,} " in (
        result.stderr
    )
    assert result.stdout == f"removed {size:,} bytes; the record of 1 trials stays\n"


def test_what_another_study_of_the_same_notes_needs_stays_until_that_is_forgotten(store):
    ended(store)
    ended(store, "twin")
    shared = cached(store)

    first = invoke("forget", "lab", "--yes")

    assert "1 folders stay: another study needs them" in first.stderr
    assert cached(store) == shared
    assert list(StateFolder(store / "twin" / "trials").find(0, Kind.BEST))
    assert invoke("forget", "twin", "--yes").exit_code == 0
    assert cached(store) == []


def features_of(opened):
    """An entry of the cache, as an encoding of the study's notes leaves it."""
    texts = opened.manifest["texts_digest"]
    made_of = {"texts_digest": texts, "max_tokens": 32}
    make_once(cache_dir(opened.work), f"features-{texts[:8]}", lambda _: {}, made_of=made_of)


@pytest.mark.parametrize("other", [{"seed": 7}, {"notes": "relabelled.csv"}])
def test_features_stay_while_a_study_of_the_same_texts_needs_them(store, other):
    notes = (store.parent / "notes.csv").read_text()
    (store.parent / "relabelled.csv").write_text(notes.replace(",quiet", ",calm"))
    features_of(ended(store))
    features_of(ended(store, "twin", **other))
    assert len(cached(store)) == 3  # a vocabulary each

    first = invoke("forget", "lab", "--yes")

    assert "1 folders stay: another study needs them" in first.stderr
    assert len(cached(store)) == 2
    assert invoke("forget", "twin", "--yes").exit_code == 0
    assert cached(store) == []


def of_an_earlier_version(opened):
    """Its record has no hash of its texts; the features of then are known by the whole corpus."""
    made_of = {"corpus": opened.manifest["corpus"]["digest"], "backbone": "b", "max_tokens": 32}
    make_once(cache_dir(opened.work), "features-old", lambda _: {}, made_of=made_of)
    with closing(Study.open(opened.work, opened.name)) as again:
        again._set_manifest({k: v for k, v in again.manifest.items() if k != "texts_digest"})


def go_on(store):
    prepared = trained(store, resume=True)
    forget.tell_needs(prepared.study, prepared.corpus, store.parent / "notes.csv")
    prepared.study.close()


def take_away(store):
    done = invoke("export", "lab", "-o", str(store.parent / "model"), "--notes", "notes.csv")
    assert done.exit_code == 0, done.stderr


def confirm(store):
    digest = read_corpus(store.parent / "notes.csv").texts_digest
    with closing(Study.open(store, "lab")) as study:
        manifest = {**study.manifest, "texts_digest": digest}
    Study.create(store, confirmation_of("lab"), manifest).close()


@pytest.mark.parametrize("use", [go_on, take_away, confirm])
def test_a_study_of_an_earlier_version_that_is_used_again_is_forgotten_whole(store, use):
    study = ended(store)
    features_of(study)
    of_an_earlier_version(study)
    use(store)
    features = next(name for name in cached(store) if name.startswith("features-"))

    with FileLock(store / CACHE_FOLDER / f"{features}.lock"):
        assert invoke("forget", "lab", "--yes").exit_code == 2
    assert invoke("forget", "lab", "--yes").exit_code == 0

    assert cached(store) == []


def test_features_of_an_earlier_version_are_needed_by_none_of_this_one(store):
    of_an_earlier_version(ended(store))
    ended(store, "twin")
    with closing(Study.open(store, "twin")) as twin:
        twin.set_manifest(backbones={"one": "b"})

    assert invoke("forget", "lab", "--yes").exit_code == 0

    assert "features-old" not in cached(store)


@pytest.mark.parametrize("change", [{"max_tokens": 16}, {"min_document_frequency": 2}])
def test_a_study_of_the_same_notes_that_reads_them_otherwise_needs_them_not(store, change):
    ended(store)
    prepare(
        Request(
            notes=store.parent / "notes.csv",
            study="twin",
            store=store,
            given={"space": "scratch", "max_tokens": 32, **change},
        )
    ).study.close()

    invoke("forget", "lab", "--yes")

    assert cached(store) == []


def test_what_a_study_of_another_store_needs_in_the_same_work_folder_stays(store, tmp_path):
    ended(store)
    request = Request(
        notes=store.parent / "notes.csv",
        study="twin",
        store=store_at(tmp_path / "elsewhere", work=store),
        given={"space": "scratch", "max_tokens": 32},
    )
    prepared = prepare(request)
    twin = prepared.study
    forget.tell_needs(twin, prepared.corpus, request.notes)
    features_of(twin)
    twin.close()

    first = invoke("forget", "lab", "--yes")

    assert "2 folders stay: another study needs them" in first.stderr
    assert len(cached(store)) == 2
    there = ("--store", str(tmp_path / "elsewhere"), "--work", str(store))
    assert invoke("forget", "twin", "--yes", *there).exit_code == 0
    assert cached(store) == []
    assert not twin.folder.joinpath(forget.NEEDS).exists()


def test_a_word_of_needs_that_cannot_be_read_removes_nothing(store):
    ended(store)
    (store / "twin").mkdir()
    (store / "twin" / forget.NEEDS).write_text("{")

    result = invoke("forget", "lab", "--yes")

    assert result.exit_code == 2
    assert "twin/needs.json cannot be read" in result.stderr
    assert len(cached(store)) == 1


def test_encoded_notes_of_other_notes_stay(store):
    ended(store, "other", notes="others.csv")
    others = cached(store)
    ended(store)

    invoke("forget", "lab", "--yes")

    assert cached(store) == others


def test_what_an_encoding_began_is_removed_and_a_converted_encoder_stays(store):
    study = ended(store)
    cache = cache_dir(store)
    part = cache / ".features-0123.part"
    part.mkdir()
    corpus = study.manifest["corpus"]["digest"]
    (part / MADE_OF).write_text(json.dumps({"corpus": corpus, "max_tokens": 32}))
    make_once(cache, "backbone-0123", lambda _: {"converted": True})

    invoke("forget", "lab", "--yes")

    assert cached(store) == ["backbone-0123"]


def test_what_does_not_say_whose_it_is_goes_with_the_last_study(store):
    ended(store)
    ended(store, "other", notes="others.csv")
    for made_of in (store / CACHE_FOLDER).glob(f"*/{MADE_OF}"):
        made_of.unlink()

    first = invoke("forget", "lab", "--yes")

    assert "2 folders stay: an earlier version made them" in first.stderr
    assert len(cached(store)) == 2
    invoke("forget", "other", "--yes")
    assert cached(store) == []


@pytest.mark.parametrize(("answer", "status"), [("n\n", 1), ("", 1), ("y\n", 0)])
def test_nothing_is_removed_before_the_user_says_yes(store, answer, status):
    study = ended(store)

    result = invoke("forget", "lab", input=answer)

    assert result.exit_code == status
    assert (study.folder / "trials").exists() == bool(status)
    assert ("nothing was removed" in result.stderr) == bool(status)
    assert bool(cached(store)) == bool(status)


def test_states_that_are_kept_elsewhere_are_removed_there(store, tmp_path):
    place = f"file://{tmp_path}/shared"
    prepared = trained(store, epochs=0, checkpoints=place)
    prepared.states.put(0, Kind.BEST, Saved(1, {"weight": torch.zeros(1)}))
    prepared.study.close()
    (found,) = (tmp_path / "shared").rglob("best-*")

    result = invoke("forget", "lab", "--yes")

    assert f"and those in {place}" in result.stderr
    assert not found.exists()


def test_a_study_that_is_searched_is_refused_and_keeps_everything(store):
    opened = trained(store).study

    result = invoke("forget", "lab", "--yes")

    opened.close()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        f"error: the study 'lab' is being searched by process {os.getpid()} on "
    )
    assert list(opened.states.find(0, Kind.CHECKPOINT))
    assert len(cached(store)) == 1


def test_a_folder_that_is_being_written_is_left_and_said(store):
    ended(store)
    name = cached(store)[0]

    with FileLock(store / CACHE_FOLDER / f"{name}.lock"):
        result = invoke("forget", "lab", "--yes")

    assert result.exit_code == 2
    assert "1 folders are being written by a search" in result.stderr
    assert cached(store) == [name]
    assert invoke("forget", "lab", "--yes").exit_code == 0
    assert cached(store) == []


@pytest.mark.parametrize("study", ["labs", "..", "a/b", ".confidential"])
def test_a_study_that_is_not_there_is_refused(store, study):
    ended(store)

    result = invoke("forget", study, "--yes")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(cached(store)) == 1


def test_a_removal_that_was_interrupted_is_ended_by_the_next_and_read_by_nobody(store, monkeypatch):
    ended(store)
    tokens = store / CACHE_FOLDER / cached(store)[0]

    def stop(folder, *others, **named):
        if folder.name == tokens.name:
            (folder / "rows.npy").unlink()
            raise KeyboardInterrupt
        rmtree(folder, *others, **named)

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", stop)
    assert invoke("forget", "lab", "--yes").exit_code == 130
    monkeypatch.undo()
    monkeypatch.setenv("HEADHUNT_STORE", str(store))

    assert tokens.exists()
    assert not (tokens / DONE).exists()
    assert invoke("forget", "lab", "--yes").exit_code == 0
    assert cached(store) == []
    assert invoke("forget", "lab", "--yes").stdout == "nothing is left to remove\n"


def test_a_link_in_the_place_of_encoded_notes_is_removed_and_not_followed(store, tmp_path):
    ended(store)
    tokens = store / CACHE_FOLDER / cached(store)[0]
    moved = tmp_path / "moved"
    tokens.rename(moved)
    tokens.symlink_to(moved)

    invoke("forget", "lab", "--yes")

    assert not tokens.is_symlink()
    assert (moved / "rows.npy").exists()


def test_a_forgotten_study_that_is_resumed_says_so_and_trains_what_was_unfinished_as_it_would_have(
    store,
):
    alone = ended(store, "alone").trials[0].reports
    trained(store, epochs=1).study.close()
    invoke("forget", "lab", "--yes")
    status = invoke("status", "lab").stdout
    assert "its confidential files were removed at 20" in status

    prepared = trained(store, resume=True)

    assert any("were removed at 20" in warning for warning in prepared.warnings)
    assert prepared.study.forgotten_at == ""
    resumed = prepared.study.trials[0].reports
    assert [r.f1 for r in resumed] == [r.f1 for r in alone]
    assert [r.train_loss for r in resumed] == [r.train_loss for r in alone]
    prepared.study.close()
    again = Study.open(store, "lab")
    assert not again.forgotten_at
    again.close()
    assert invoke("status", "lab").stdout.count("removed at") == 0


def test_a_study_whose_neighbour_cannot_be_read_keeps_everything(store):
    ended(store)
    ended(store, "twin")
    journal = store / "twin" / JOURNAL_NAME
    journal.write_bytes(b"{broken}\n" + journal.read_bytes())

    result = invoke("forget", "lab", "--yes")

    assert result.exit_code == 2
    assert "until then it is not known what that study needs" in result.stderr
    assert len(cached(store)) == 1


def test_all_that_tells_of_notes_is_its_owners_alone_whatever_the_umask(store):
    before = os.umask(0)
    try:
        ended(store)
    finally:
        os.umask(before)

    inside = [store / CACHE_FOLDER, store / "lab" / "trials" / "00000"]
    everything = [path for folder in inside for path in (folder, *folder.rglob("*"))]
    assert len(everything) > 8
    for path in everything:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((store / "lab").stat().st_mode) == 0o700


def test_weights_stay_their_owners_alone_in_a_study_that_was_opened_to_others(store):
    opened = trained(store, epochs=1).study
    opened.close()
    opened.folder.chmod(0o755)
    opened.states.folder(0).chmod(0o755)

    trained(store, resume=True).study.close()

    assert stat.S_IMODE(opened.states.folder(0).stat().st_mode) == 0o700
    assert forget.find_leftovers(Study.open(store, "lab"), []).files == 2


@pytest.mark.proof
def test_a_study_in_a_database_is_forgotten_here_and_its_record_stays_there(store, database):
    place = store_at(database, work=store)
    there = ("--store", database)
    study = ended(store, place=place)
    rank = invoke("rank", "lab", "--by", "f1", *there).stdout
    assert (study.folder / "trials").exists()
    assert len(cached(store)) == 1

    result = invoke("forget", "lab", "--yes", *there, "--work", str(store))

    assert result.exit_code == 0, result.stderr
    assert cached(store) == []
    assert list(study.folder.iterdir()) == []
    assert "F1" in rank
    assert invoke("rank", "lab", "--by", "f1", *there).stdout == rank
    assert "were removed at 20" in invoke("status", "lab", *there).stdout
    prepared = trained(store, place=place, resume=True, epochs=0)
    prepared.study.close()
    assert any("were removed at 20" in warning for warning in prepared.warnings)
    assert "removed at" not in invoke("status", "lab", *there).stdout


@pytest.mark.proof
def test_states_of_one_name_in_two_stores_lie_apart_in_a_folder_that_both_use(
    store, database, tmp_path
):
    shared = str(tmp_path / "shared")
    here = trained(store, epochs=0, checkpoints=shared)
    there = trained(
        store, epochs=0, checkpoints=shared, place=store_at(database, work=tmp_path / "work")
    )
    for prepared in (here, there):
        prepared.states.put(0, Kind.BEST, Saved(1, {"weight": torch.zeros(1)}))
        prepared.study.close()

    invoke("forget", "lab", "--yes")

    assert not list(here.states.find(0, Kind.BEST))
    assert list(there.states.find(0, Kind.BEST))
