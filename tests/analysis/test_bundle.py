import json
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from headhunt.analysis import (
    BundleError,
    Sharing,
    bundle,
    bundle_file,
    compare,
    confirmation,
    curves,
    rank,
    trials,
    write_bundle,
)
from headhunt.analysis.columns import CONFIRMATION_COLUMNS, CURVE_COLUMNS, PARAMETERS
from headhunt.analysis.shareable import PARAMETERS as SHARED_PARAMETERS
from headhunt.analysis.shareable import PUBLIC_BACKBONES, TABLES
from headhunt.search.cli import app
from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.spaces.heads import LinearHead
from headhunt.spaces.record import COLUMNS, Role, State
from headhunt.stores import StudyNotFoundError
from headhunt.trainables.card.cap import TooLargeError
from headhunt.trainables.models.backbones import DEMO, KNOWN
from headhunt.trainables.runner import TRAINED_BEFORE

from .recorded import MIB, P620, TRANSFORMER, Recorded, control, record

LABELS = ["heart failure", "none"]
MANIFEST = {
    "space": "all",
    "settings": {"space": "all", "card": "p620"},
    "corpus": {"digest": "ab12", "notes": 300, "classes": LABELS, "parts": {"train": 200}},
    "backbones": {"almanach/camembert-bio-base": "0123456789abcdef"},
}
ENDED = [
    control(0.7),
    Recorded(f1=(0.6, 0.8, 0.75), encoding_seconds=360.0, device_fraction=0.5),
    Recorded(f1=(0.5,), state=State.PRUNED, reason="not among the best of its family at epoch 1"),
    Recorded(state=State.INFEASIBLE, peak_mib=2000, excess_bytes=3 * MIB),
    Recorded(f1=(0.9, float("nan")), state=State.FAILED, role=Role.REFERENCE),
    Recorded(config=TRANSFORMER, f1=(1 / 3, 0.1 + 0.2), epoch_seconds=None, measured=False),
    Recorded(state=State.RUNNING),
]


def bundled(folder, file="lab.headhunt.zip", ended=ENDED, *, store="store", sharing=None, **told):
    """A recorded study as a bundle."""
    record(folder / store, ended, manifest={**MANIFEST, **told})
    made = bundle("lab", store=folder / store, sharing=sharing)
    (folder / file).parent.mkdir(exist_ok=True)
    write_bundle(made.bundle, folder / file)
    return str(folder / file)


def members(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Path(bundled(tmp_path_factory.mktemp("whole"))).read_bytes()


@pytest.fixture
def file(whole, tmp_path):
    """A bundle of its own, to be spoilt."""
    (tmp_path / "lab.headhunt.zip").write_bytes(whole)
    return str(tmp_path / "lab.headhunt.zip")


def zipped(file, contents):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def with_member(file, name, change):
    found = members(file)
    zipped(file, {**found, name: change(found[name])})


# --- a bundle reads as its study --------------------------------------------------------------


@pytest.mark.parametrize("read", [trials, curves])
def test_every_column_of_a_study_is_the_same_in_its_bundle(tmp_path, read):
    file = bundled(tmp_path)

    there, here = read("lab", store=tmp_path / "store"), read(file)

    assert_frame_equal(here, there)
    assert here.attrs["columns"] == there.attrs["columns"]


def test_several_studies_of_one_name_stand_apart_and_a_name_of_its_own_is_kept(tmp_path):
    ours = bundled(tmp_path)
    theirs = bundled(tmp_path, "theirs/lab.headhunt.zip", ENDED[:3], store="other")
    third = bundled(tmp_path, "x.headhunt.zip", ENDED[:2], store="x", sharing=Sharing(called="x"))

    frame = trials(["lab", ours, theirs, third], store=tmp_path / "store")

    counts = frame["study"].value_counts(sort=False).to_dict()
    assert counts == {"lab": 7, ours: 7, theirs: 3, "x": 2}
    assert frame.attrs["manifests"].keys() == counts.keys()
    assert set(trials([ours, third])["study"]) == {"lab", "x"}
    assert set(curves([ours, theirs])["study"]) == {ours, theirs}


def test_the_same_bundle_under_two_names_is_refused_and_a_repeated_one_counts_once(tmp_path):
    file = bundled(tmp_path)
    copy = tmp_path / "copy.headhunt.zip"
    copy.write_bytes(Path(file).read_bytes())

    assert len(trials([file, file])) == len(ENDED)
    with pytest.raises(BundleError, match=r"copy\.headhunt\.zip holds the same as .*lab\.head"):
        trials([file, str(copy)])


def test_whether_two_bundles_are_of_one_corpus_is_unknown_unless_both_tell_its_hash(file, tmp_path):
    files = {}
    for number in (2, 3):
        record(tmp_path / str(number), ENDED[:number], manifest=MANIFEST)
        for corpus_hash in (False, True):
            sharing = Sharing(corpus_hash=corpus_hash)
            made = bundle("lab", store=tmp_path / str(number), sharing=sharing).bundle
            files[number, corpus_hash] = tmp_path / f"{number}-{corpus_hash}.headhunt.zip"
            write_bundle(made, files[number, corpus_hash])
    untold, told = ([str(files[n, h]) for n in (2, 3)] for h in (False, True))

    for tool in (rank, compare):
        assert "same corpus is not known" in tool(trials(untold)).notes[0]
        assert not any("corpus" in note for note in tool(trials(told)).notes)
        assert any("corpus" in note for note in tool(trials([*told, file])).notes)


def test_a_bundle_of_a_study_that_nobody_confirmed_says_so(file):
    with pytest.raises(StudyNotFoundError, match="holds no confirmation"):
        confirmation(file)


# --- what is in it ----------------------------------------------------------------------------


def test_every_column_of_the_record_has_been_decided_about():
    """A new one is named in `shareable` if it is to be shared, and is taken off here if not."""
    described = (COLUMNS, CURVE_COLUMNS, *CONFIRMATION_COLUMNS.values())

    assert [set(names) for names in TABLES.values()] == [{c.name for c in cs} for cs in described]
    assert set(SHARED_PARAMETERS) == {column.name for column in PARAMETERS}


def test_the_names_of_public_backbones_are_headhunts_own():
    assert {DEMO, *KNOWN, *(known.id for known in KNOWN.values())} == PUBLIC_BACKBONES


def test_what_a_study_records_from_some_day_on_is_left_out(tmp_path):
    later = {"host": "ward-7", "corpus": {**MANIFEST["corpus"], "counts": [1, 2]}}
    later["settings"] = {**MANIFEST["settings"], "proxy": "ward-7"}
    file = bundled(tmp_path, **later)

    data = b"".join(members(file).values())
    assert b"ward-7" not in data
    assert b'"counts"' not in data
    assert bundle("lab", store=tmp_path / "store").fields == (
        *("corpus.counts", "settings.card", "settings.proxy", "host"),
    )


def test_a_reason_is_told_in_headhunts_own_words_or_by_its_kind(tmp_path):
    ours = [
        *("fitted", "all 6 epochs trained", "no better F1 for 4 epochs", TRAINED_BEFORE),
        "diverged: the training loss of epoch 2 is not finite",
        str(TooLargeError(3 * MIB, MIB, "the card leaves")),
        f"{TooLargeError(3 * MIB, MIB, 'the device had free')} (encoding the notes with its "
        "backbone)",
        "needs 5 MiB to encode the notes with its backbone, 1 MiB more than the 4 MiB that the "
        "card leaves",
    ]
    told = {
        **{reason: reason for reason in ours},
        "crashed: ValueError at loop.py:12": "crashed: ValueError",
        "crashed: OutOfMemoryError at loop.py:12": "crashed: OutOfMemoryError",
        "crashed: LemaireError at lemaire.py:12": "crashed",
        "its process died 3 times: /home/lemaire cannot be written": "its process died 3 times",
        "all 6 epochs trained by lemaire": "left out of the bundle",
        "weights of '/home/lemaire' are gone": "left out of the bundle",
    }
    file = bundled(tmp_path, ended=[Recorded(state=State.FAILED, reason=why) for why in told])

    assert trials(file)["reason"].tolist() == list(told.values())
    assert b"lemaire" not in b"".join(members(file).values()).lower()


def test_a_backbone_is_named_where_its_name_is_public_and_else_by_its_files(tmp_path):
    told = {
        "drbert": "drbert",
        "almanach/camembert-bio-base@abc123": "almanach/camembert-bio-base@abc123",
        "drbert@../../home/lemaire": "encoder-10000000",
        "lemaire/encoder": "encoder-20000000",
        "/home/lemaire/encoder": "encoder-30000000",
        "./lemaire": "encoder-40000000",
    }
    configs = [HeadConfig(backbone=name, head=LinearHead(), mode=Mode.FULL) for name in told]
    hashes = [name.removeprefix("encoder-").ljust(24, "0") for name in told.values()]
    hashes[:2] = ["ab" * 12, "cd" * 12]
    file = bundled(
        tmp_path,
        ended=[Recorded(config=config) for config in configs],
        backbones=dict(zip(told, hashes, strict=True)),
    )

    frame, names = trials(file), list(told.values())
    assert frame["backbone"].tolist() == names
    families = [f"{name.rpartition('/')[2]} full" for name in names]
    assert frame["family"].tolist() == curves(file)["family"].tolist() == families
    assert frame.attrs["manifest"]["backbones"] == dict(zip(names, hashes, strict=True))
    assert frame["config_hash"].notna().tolist() == [True, True, False, False, False, False]
    assert b"lemaire" not in b"".join(members(file).values())


def test_a_hub_id_may_be_named_on_request_and_a_path_never(tmp_path):
    names = ["lab/encoder", "/home/lemaire/encoder"]
    heads = [Recorded(config=HeadConfig(backbone=name, head=LinearHead())) for name in names]
    record(tmp_path, heads, manifest={"backbones": dict.fromkeys(names, "0" * 24)})

    made = bundle("lab", store=tmp_path, sharing=Sharing(backbones=(names[0],)))
    assert made.bundle.tables["trials"]["backbone"].tolist() == [names[0], "encoder-00000000"]
    with pytest.raises(BundleError, match="is a path"):
        bundle("lab", store=tmp_path, sharing=Sharing(backbones=(names[1],)))


def test_a_card_from_a_file_is_known_by_its_numbers(tmp_path):
    named = {**P620, "name": "of ward 7"}
    file = bundled(
        tmp_path, settings={"card": "/home/lemaire/card.toml"}, card=named, space="mine.py:lemaire"
    )

    manifest = trials(file).attrs["manifest"]
    assert manifest["card"] == {**P620, "name": manifest["card"]["name"]}
    assert manifest["card"]["name"].startswith("card-")
    assert manifest["space"] == "own"
    assert "lemaire" not in str(manifest)


def test_a_study_without_a_trial_has_nothing_to_share(tmp_path):
    record(tmp_path, [])

    with pytest.raises(BundleError, match="has no trial yet"):
        bundle("lab", store=tmp_path)


# --- a bundle from elsewhere ------------------------------------------------------------------


def claims(file, name, size):
    """Say in the list of members that one has so many bytes."""
    data = bytearray(Path(file).read_bytes())
    with zipfile.ZipFile(file) as archive:
        places = [entry.filename for entry in archive.infolist()].index(name)
        at = archive.start_dir
    for _ in range(places):
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    struct.pack_into("<L", data, at + 24, size)
    Path(file).write_bytes(data)


def with_version(stored):
    return json.dumps({**json.loads(stored), "version": 2}).encode()


def with_study(name):
    return lambda stored: json.dumps({**json.loads(stored), "study": name}).encode()


def in_trials(old, new):
    return lambda file: with_member(file, "trials.csv", lambda data: data.replace(old, new, 1))


FORGED = {
    "torn": (lambda file: Path(file).write_bytes(Path(file).read_bytes()[:-100]), "is torn, or"),
    "empty": (lambda file: Path(file).write_bytes(b""), "is torn, or"),
    "something else": (lambda file: Path(file).write_text("trial,f1\n0,1\n"), "is torn, or"),
    "a zip of something else": (lambda file: zipped(file, {"a.txt": b"a"}), "has not written"),
    "no tables": (
        lambda file: zipped(file, {"study.json": members(file)["study.json"]}),
        "is torn, or",
    ),
    "of a later version": (
        lambda file: with_member(file, "study.json", with_version),
        "by a later headhunt (format 2, this one reads 1): update headhunt",
    ),
    "no JSON": (lambda file: with_member(file, "study.json", lambda _: b"[" * 9**6), "is torn"),
    "a name that is a path": (
        lambda file: with_member(file, "study.json", with_study("../../x")),
        "is torn, or",
    ),
    "a member that claims too much": (
        lambda file: claims(file, "trials.csv", 2**31),
        "claims 2,147,483,648 bytes",
    ),
    "a member that claims too little": (lambda file: claims(file, "trials.csv", 100), "is torn"),
    "a state that is none": (in_trials(b",complete,", b",winning,"), "is torn, or"),
    "a trial without a number": (in_trials(b"\n0,complete", b"\n,complete"), "is torn, or"),
    "a number that is none": (in_trials(b"\n0,complete", b"\nzero,complete"), "is torn, or"),
    "a row too short": (in_trials(b"\n0,complete,", b"\n0,complete\n"), "is torn, or"),
    "a column less": (in_trials(b"f1,accuracy,", b"f2,accuracy,"), "is torn, or"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_is_torn_forged_or_of_a_later_version_is_refused_in_one_message(file, kind):
    forge, told = FORGED[kind]
    forge(file)

    refused = CliRunner().invoke(app, ["trials", file])

    assert refused.exit_code == 2, refused.exception
    assert refused.stderr.count("error:") == refused.stderr.count("\n") == 1
    assert told in refused.stderr
    assert not refused.stdout


def test_a_bundle_that_is_not_there_is_missed_by_name(tmp_path):
    with pytest.raises(BundleError, match=r"there is no bundle .*gone\.headhunt\.zip"):
        trials(["lab", str(tmp_path / "gone.headhunt.zip")])


def test_a_bomb_is_never_held_whole_whatever_it_claims(file, monkeypatch):
    monkeypatch.setattr(bundle_file, "MOST_TABLE", 2**20)
    inflated = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments):
            self._real = real(*arguments)

        def decompress(self, *arguments):
            data = self._real.decompress(*arguments)
            inflated.append(len(data))
            return data

        def __getattr__(self, name):
            return getattr(self._real, name)

    with_member(file, "trials.csv", lambda _: b"0" * 2**26)
    claims(file, "trials.csv", 2**19)
    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(BundleError, match="is torn"):
        trials(file)

    assert 0 < sum(inflated) <= 2**21


@pytest.mark.parametrize("most", ["MOST_FILE", "MOST_DIRECTORY"])
def test_a_file_or_a_list_of_members_that_is_too_large_is_refused_unread(file, monkeypatch, most):
    monkeypatch.setattr(bundle_file, most, 100)
    monkeypatch.setattr(zipfile, "ZipFile", None)

    with pytest.raises(BundleError, match="larger than any bundle is"):
        trials(file)


def test_members_and_columns_that_this_version_does_not_know_are_ignored(file, tmp_path):
    before = trials(file)
    lines = members(file)["trials.csv"].splitlines()
    more = b"\n".join([lines[0] + b",mood", *(line + b",good" for line in lines[1:]), b""])
    zipped(file, {**members(file), "trials.csv": more, "../evil.py": b"x", "notes.bin": b"\0"})

    assert_frame_equal(trials(file), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lab.headhunt.zip"]


def test_nothing_that_a_terminal_would_obey_comes_out_of_a_bundle(file):
    in_trials(b",fitted,", b",\x1b[2Jfitted,")(file)
    in_trials(b",all 3 epochs trained,", b",a <b>winner</b>,")(file)

    def worse(stored):
        told = json.loads(stored)
        told["manifest"]["card"]["name"] = "\x1b[2J"
        return json.dumps(told | {"manifest": told["manifest"] | {"run": "rm"}}).encode()

    with_member(file, "study.json", worse)
    found = CliRunner().invoke(app, ["trials", file])

    assert found.exit_code == 0
    assert "\x1b" not in found.stdout
    assert "winner" not in found.stdout
    manifest = trials(file).attrs["manifest"]
    assert "run" not in manifest
    assert "name" not in manifest["card"]


def test_a_bundle_larger_than_one_may_be_is_not_written(tmp_path, monkeypatch):
    record(tmp_path / "store", ENDED, manifest=MANIFEST)
    made = bundle("lab", store=tmp_path / "store").bundle
    monkeypatch.setattr(bundle_file, "MOST_TABLE", 500)

    with pytest.raises(BundleError, match=r"README\.txt of the bundle would have"):
        write_bundle(made, tmp_path / "x.headhunt.zip")

    assert [p.name for p in tmp_path.iterdir()] == ["store"]
