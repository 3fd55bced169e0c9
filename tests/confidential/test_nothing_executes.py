"""Nothing executes from data: a pickle lies in each place that is read, and is never loaded.

Loading one would make a file. Then the command that reads the place ends with a clear error, or
makes anew what it cannot read.
"""

import ast
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

from headhunt.search.cli import app
from headhunt.search.sampling import STARTUP_TRIALS, Proposer
from headhunt.search.study import Study
from headhunt.spaces.record import JOURNAL_NAME, Role
from headhunt.trainables.models.backbones import load_backbone
from headhunt.trainables.notes.cache import DONE, MADE_OF, cache_dir, read_meta
from headhunt.trainables.notes.features import MARK, encode_features
from headhunt.trainables.notes.tokens import encode_tokens
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.checkpoints import load_checkpoint
from headhunt.trainables.training.states import Kind, Saved, StateFolder, file_name, from_bytes

from ..analysis.recorded import Recorded, record
from ..search.toys import MANIFEST, NUMBERS, finish, scratch, write_notes
from ..trainables.backbone_dirs import make_backbone

SOURCE = Path(__file__).parents[2]
FOLDERS = ("spaces", "trainables", "search", "analysis")


class Bomb:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.fixture
def marker(tmp_path):
    """What a pickle would make; it must not be there at the end."""
    marker = tmp_path / "executed"
    yield marker
    assert not marker.exists()


@pytest.fixture
def bomb(marker):
    return pickle.dumps(Bomb(marker))


def objects(marker, shape=(3,)):
    """A .npy file of objects: its data are a pickle."""
    array = np.empty(shape, dtype=object)
    array[...] = Bomb(marker)
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_the_planted_pickles_would_execute_if_they_were_loaded(tmp_path):
    marker = tmp_path / "shown"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()
    marker.rmdir()
    np.load(io.BytesIO(objects(marker)), allow_pickle=True)
    assert marker.exists()


# --- the source --------------------------------------------------------------------------------


def test_no_module_can_load_a_pickle():
    wrong = []
    for file in sorted(f for folder in FOLDERS for f in (SOURCE / folder).rglob("*.py")):
        wrong += [f"{file.name}:{line}: {what}" for line, what in loads_pickles(file.read_text())]

    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as c",
        "import joblib",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "pd.read_pickle(file)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "shutil.unpack_archive(file)",
    ],
)
def test_a_way_to_execute_data_would_be_found_in_the_source(code):
    assert loads_pickles(code)


def loads_pickles(source):
    """(line, what) of each way to execute data."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [name.name for name in names]
            case ast.ImportFrom(module=str(module)):
                modules = [module]
            case _:
                modules = []
        line = getattr(node, "lineno", 0)
        for module in modules:
            if module.split(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "marshal"}:
                yield line, module
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in {"eval", "exec", "shutil.unpack_archive"} or called.endswith(
                ".read_pickle"
            ):
                yield line, called
            if called in {"torch.load", "yaml.load"} and given.get("weights_only") != "True":
                yield line, called
            for option in ("allow_pickle", "trust_remote_code"):
                if given.get(option, "False") != "False":
                    yield line, option
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                named = isinstance(key, ast.Constant) and key.value == "trust_remote_code"
                if named and ast.unparse(value) != "False":
                    yield line, "trust_remote_code"


# --- what is made of notes ---------------------------------------------------------------------


def tokens_of(corpus, cache):
    return encode_tokens(corpus, cache, vocabulary=200, max_tokens=16)


@pytest.mark.parametrize("name", ["rows.npy", "offsets.npy", DONE, MADE_OF])
@pytest.mark.parametrize("as_array", [False, True])
def test_tokens_with_a_pickle_in_them_are_made_anew(
    small_corpus, tmp_path, marker, bomb, name, as_array
):
    cache = cache_dir(tmp_path)
    folder = tokens_of(small_corpus, cache)
    whole = Ragged.open(folder).rows.clone()
    (folder / name).write_bytes(objects(marker) if as_array else bomb)

    again = tokens_of(small_corpus, cache)

    assert torch.equal(Ragged.open(again).rows, whole)
    assert read_meta(again)["tokens"] == len(whole)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = make_backbone(tmp_path_factory.mktemp("encoder") / "tiny")
    return load_backbone(str(folder), tmp_path_factory.mktemp("cache"))


def features_of(corpus, backbone, cache):
    device = torch.device("cpu")
    return encode_features(corpus, backbone, cache, max_tokens=16, precision="fp32", device=device)


@pytest.mark.parametrize("name", ["rows.npy", "offsets.npy", DONE])
def test_features_with_a_pickle_in_them_are_made_anew(
    small_corpus, backbone, tmp_path, marker, name
):
    cache = cache_dir(tmp_path)
    folder, _ = features_of(small_corpus, backbone, cache)
    whole = Ragged.open(folder).rows.clone()
    (folder / name).write_bytes(objects(marker, (len(whole), whole.shape[1])))

    again, made = features_of(small_corpus, backbone, cache)

    assert made
    assert torch.equal(Ragged.open(again).rows, whole)


@pytest.mark.parametrize("mark", ["3", "many"])
def test_a_pickle_in_an_encoding_that_was_begun_is_written_over(
    small_corpus, backbone, tmp_path, marker, mark
):
    cache = cache_dir(tmp_path)
    folder, _ = features_of(small_corpus, backbone, cache)
    whole = Ragged.open(folder).rows.clone()
    part = cache / f".{folder.name}.part"
    folder.rename(part)
    (part / DONE).unlink()
    (part / "rows.npy").write_bytes(objects(marker, (len(whole), whole.shape[1])))
    (part / MARK).write_text(mark)

    again, _ = features_of(small_corpus, backbone, cache)

    assert torch.equal(Ragged.open(again).rows, whole)


# --- a trial's state ---------------------------------------------------------------------------


def test_a_pickle_in_the_place_of_a_checkpoint_or_of_weights_is_none(tmp_path, marker, bomb):
    states = StateFolder(tmp_path)
    states.folder(1).mkdir()
    for kind in Kind:
        (states.folder(1) / file_name(kind, 1)).write_bytes(bomb)
        assert list(states.find(1, kind)) == []
    assert load_checkpoint(states, 1, "hash") is None
    assert from_bytes(bomb, 1) is None

    torch.save({"model:weight": Bomb(marker)}, states.folder(1) / file_name(Kind.CHECKPOINT, 1))
    assert load_checkpoint(states, 1, "hash") is None


@pytest.mark.parametrize(
    "metadata",
    [{}, {"reports": "[{]"}, {"reports": "[{}]"}, {"reports": "7"}, {"reports": '[{"f1": 1}]'}],
)
def test_a_checkpoint_that_lies_is_none(tmp_path, metadata):
    lie = Saved(1, {"model:weight": torch.zeros(1)}, {"config_hash": "hash", **metadata})
    StateFolder(tmp_path).put(1, Kind.CHECKPOINT, lie)

    assert load_checkpoint(StateFolder(tmp_path), 1, "hash") is None


def test_a_checkpoint_with_tensors_of_no_part_is_none(tmp_path):
    metadata = {"config_hash": "hash", "reports": "[]"}
    for name in ("nothing", "code:weight"):
        lie = Saved(1, {name: torch.zeros(1)}, metadata)
        StateFolder(tmp_path).put(1, Kind.CHECKPOINT, lie)
        assert load_checkpoint(StateFolder(tmp_path), 1, "hash") is None


# --- a study -----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    write_notes(tmp_path / "notes.csv", 60)
    return tmp_path / "store"


def invoke(*words):
    return CliRunner().invoke(app, list(words))


READERS = [
    ["status", "lab"],
    ["trials", "lab"],
    ["rank", "lab"],
    ["compare", "lab"],
    ["dashboard", "lab"],
    ["simulate", "lab"],
    ["forget", "lab", "--yes"],
    ["search", "notes.csv", "--study", "lab", "--resume"],
]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
@pytest.mark.parametrize("place", ["instead", "first line"])
def test_a_journal_with_a_pickle_is_refused_by_every_command(store, bomb, words, place):
    record(store, [Recorded()], study="lab")
    journal = store / "lab" / JOURNAL_NAME
    before = journal.read_bytes()
    journal.write_bytes(bomb + b"\n\n" if place == "instead" else bomb + b"\n" + before)

    result = invoke(*words)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: the journal ")
    assert "cannot be read" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_samplers_pickled_notes_in_a_study_from_elsewhere_are_not_loaded(store, marker, bomb):
    parameters: dict[str, Any] = {
        "params": {"rate": 1e-3, "dropout": 0.1},
        "distributions": {
            "rate": FloatDistribution(1e-4, 1e-2, log=True),
            "dropout": FloatDistribution(0.0, 0.5),
        },
    }
    study = Study.create(store, "lab", MANIFEST)
    sampled = create_trial(state=TrialState.RUNNING, **parameters)
    trial = study.start(scratch(), sampled, role=Role.SEARCH, seed=1, footprint=None)
    finish(study, trial, 0.5)
    study.close()
    storage = JournalStorage(JournalFileBackend(str(store / "lab" / JOURNAL_NAME)))
    study_id = storage.get_study_id_from_name("lab")
    planted = create_trial(
        state=TrialState.COMPLETE,
        value=0.1,
        user_attrs=storage.get_all_trials(study_id)[0].user_attrs,
        system_attrs={"cma:optimizer:0": bomb.hex(), "cma:generation": 0},
        **parameters,
    )
    for _ in range(STARTUP_TRIALS + 1):
        storage.create_new_trial(study_id, planted)

    again = Study.open(store, "lab")
    proposer = Proposer(
        NUMBERS,
        sampler="cmaes",
        seed=0,
        objective=["f1"],
        trials=again.trials,
        values=again.values,
    )
    proposal = proposer.propose(len(again.trials), lambda _: False)
    again.close()

    assert proposal is not None


def test_a_card_file_that_is_a_pickle_is_refused(store, bomb, tmp_path):
    (tmp_path / "card.toml").write_bytes(bomb)

    result = invoke("footprint", "linear", "--card", "card.toml")

    assert result.exit_code == 2
    assert "the card file 'card.toml' cannot be read" in result.stderr


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_notes_that_are_a_pickle_are_refused(store, bomb, tmp_path, suffix):
    (tmp_path / f"planted.{suffix}").write_bytes(bomb)

    result = invoke("corpus", "check", f"planted.{suffix}")

    assert result.exit_code == 2
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())


def test_a_type_in_a_parquet_file_that_is_a_pickle_is_not_loaded(store, bomb, tmp_path):
    """What Arrow did once for types of Python's own."""
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    extension[b"ARROW:extension:metadata"] = bomb
    fields = [
        pa.field("text", pa.string(), metadata=extension),
        pa.field("label", pa.string()),
    ]
    texts = [f"note {place} of a patient" for place in range(30)]
    labels = ["quiet", "loud"] * 15
    pq.write_table(pa.table([texts, labels], schema=pa.schema(fields)), tmp_path / "notes.parquet")

    assert invoke("corpus", "check", "notes.parquet").exit_code in (0, 2)
