import multiprocessing
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from headhunt.search import encoding
from headhunt.search.encoding import Job, Work, encode_backbones, find_places
from headhunt.search.side_by_side import _end_of
from headhunt.search.telling import EncodingError
from headhunt.trainables.card.cap import ShortOfMemoryError, TooLargeError
from headhunt.trainables.card.cards import MIB
from headhunt.trainables.models.backbones import WEIGHTS, BackboneError
from headhunt.trainables.notes import features
from headhunt.trainables.notes.features import token_lengths
from headhunt.trainables.training.batches import Ragged

from ..trainables.backbone_dirs import make_backbone

CPU = torch.device("cpu")
MEET_SECONDS = 120


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Three of them, by directory."""
    folder = tmp_path_factory.mktemp("encoders")
    return [
        str(make_backbone(folder / f"tiny{seed}", kind, seed=seed))
        for seed, kind in enumerate(("camembert", "roberta", "bert"))
    ]


@pytest.fixture
def work(small_corpus, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    return Work(small_corpus, cache, max_tokens=40, precision="fp32", limit_bytes=10**9)


@pytest.fixture
def two_places(spawn, monkeypatch):
    """A machine with two threads, and tests that a process can import."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(encoding, "find_places", lambda *_: [CPU, CPU])
    monkeypatch.setattr(encoding, "WORTH_TOKENS", 1)


class Told:
    """Hooks that remember."""

    def __init__(self):
        self.progress: list[tuple[str, int, int]] = []
        self.ended: list[str] = []

    @property
    def hooks(self):
        return {
            "on_progress": lambda *told: self.progress.append(told),
            "on_end": lambda name, _: self.ended.append(name),
        }


def encode(work, encoders):
    told = Told()
    lengths = {name: token_lengths(work.corpus, name, work.max_tokens) for name in encoders}
    return encode_backbones(work, lengths, **told.hooks), told


def rows(encoded):
    assert isinstance(encoded, tuple)
    return Ragged.open(encoded[0]).rows


def made(encoded):
    """Of each that was encoded, whether it was just now."""
    return [end[1] for end in encoded.values() if isinstance(end, tuple)]


def meet(folder: Path, who: str, others: int) -> None:
    """Wait until so many others are here as well."""
    (folder / f"{who}.here").touch()
    until = time.monotonic() + MEET_SECONDS
    while len(list(folder.glob("*.here"))) <= others:
        assert time.monotonic() < until, "the others have not come"
        time.sleep(0.01)


class Meeting(Job):
    """In the middle of its encoding it waits for another one to get there."""

    def encode(self, device, progress):
        def told(done, total):
            if done:
                meet(self.work.cache, Path(self.backbone).name, 1)
            progress(done, total)

        return super().encode(device, told)


class Refused(Job):
    """The first backbone asks for more memory than any card has."""

    def encode(self, device, progress):
        if self.backbone.endswith("tiny0"):
            encoding.encode_features = lambda *_, **__: torch.empty(10**15, dtype=torch.uint8)
        return super().encode(device, progress)


class Stuck(Job):
    """The second goes on for ever after a batch, and the first one begins then."""

    def encode(self, device, progress):
        features.MARK_SECONDS = -1.0
        if self.backbone.endswith("broken"):
            meet(self.work.cache, "broken", 1)
            return super().encode(device, progress)

        def told(done, total):
            progress(done, total)
            if done:
                meet(self.work.cache, "stuck", 1)
                time.sleep(MEET_SECONDS)

        return super().encode(device, told)


class Killed(Job):
    def encode(self, device, progress):
        del device, progress
        os._exit(7)


# --- side by side ------------------------------------------------------------------------------


def test_two_backbones_are_encoded_at_the_same_time_to_the_same_bits(
    work, encoders, two_places, monkeypatch
):
    monkeypatch.setattr(encoding, "Job", Meeting)
    encoded, told = encode(work, encoders[:2])
    monkeypatch.undo()

    other = replace(work, cache=work.cache.parent / "other")
    other.cache.mkdir()
    alone, _ = encode(other, encoders[:2])

    assert list(encoded) == encoders[:2]
    assert made(encoded) == [True, True]
    assert sorted(told.ended) == sorted(encoders[:2])
    for name in encoders[:2]:
        assert torch.equal(rows(encoded[name]), rows(alone[name]))
        done = [tokens for of, tokens, _ in told.progress if of == name]
        assert done == sorted(set(done))
        assert (done[0], done[-1]) == (0, len(rows(encoded[name])))


def test_where_one_is_too_large_the_next_takes_its_place(work, encoders, two_places, monkeypatch):
    monkeypatch.setattr(encoding, "Job", Refused)

    encoded, told = encode(work, encoders)

    too_large = encoded[encoders[0]]
    assert isinstance(too_large, TooLargeError)
    assert str(too_large).endswith("MiB that the card leaves")
    assert too_large.excess_bytes > 10**14
    assert made(encoded) == [True, True]
    assert sorted(told.ended) == sorted(encoders)


def test_a_broken_backbone_is_told_as_such_and_the_other_ends_to_be_continued(
    work, encoders, two_places, tmp_path, monkeypatch
):
    broken = tmp_path / "broken"
    shutil.copytree(encoders[0], broken)
    (broken / WEIGHTS).write_bytes((broken / WEIGHTS).read_bytes()[:100])
    monkeypatch.setattr(encoding, "Job", Stuck)

    with pytest.raises(BackboneError, match="the backbone 'broken' cannot be loaded"):
        encode(work, [str(broken), encoders[1]])

    assert multiprocessing.active_children() == []
    monkeypatch.undo()
    encoded, told = encode(work, [encoders[1]])
    _, first_done, total = told.progress[0]
    assert 0 < first_done < total == len(rows(encoded[encoders[1]]))


def test_a_process_that_is_killed_is_told_with_its_backbone(
    work, encoders, two_places, monkeypatch
):
    monkeypatch.setattr(encoding, "Job", Killed)

    with pytest.raises(EncodingError, match=r"backbone 'tiny\d' ended with its process .*code 7;"):
        encode(work, encoders[:2])


# --- in this process ---------------------------------------------------------------------------


def test_what_is_encoded_already_and_the_one_that_is_left_need_no_process(
    work, encoders, monkeypatch
):
    monkeypatch.setattr(encoding, "encode_side_by_side", None)
    monkeypatch.setattr(encoding, "WORTH_TOKENS", 1)
    encode(work, encoders[:1])

    encoded, told = encode(work, encoders[:2])

    assert made(encoded) == [False, True]
    assert {name for name, _, _ in told.progress} == {encoders[1]}


def test_few_tokens_are_not_worth_the_start_of_a_process(work, encoders, monkeypatch):
    monkeypatch.setattr(encoding, "encode_side_by_side", None)
    monkeypatch.setattr(encoding, "find_places", lambda *_: [CPU, CPU])

    assert made(encode(work, encoders[:2])[0]) == [True, True]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ValueError("zyrtexaquine"), EncodingError, "'tiny' failed: ValueError"),
        (OSError("zyrtexaquine"), EncodingError, "'tiny' failed: OSError"),
        (OSError(28, "No space left"), OSError, "No space left"),
        (BackboneError("is torn"), BackboneError, "is torn"),
        (ShortOfMemoryError("others"), ShortOfMemoryError, "others"),
    ],
)
def test_an_error_comes_back_as_itself_without_frames_and_never_with_a_note(error, kind, said):
    class Failing:
        backbone = "tiny"

        def encode(self, device, progress):
            del device, progress
            raise error

    told = _end_of(Failing(), CPU, lambda *_: None)

    assert isinstance(told, Exception)
    assert isinstance(told, kind)
    assert said in str(told)
    assert "zyrtexaquine" not in str(told)
    assert (told.__traceback__, told.__context__, told.__cause__) == (None, None, None)


# --- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "free_mib", "wanted", "places"),
    [(4, 10**6, 3, 3), (2, 10**6, 3, 2), (1, 10**6, 3, 1), (4, 3001, 3, 2), (4, 10, 3, 1)],
)
def test_a_processor_has_a_place_a_thread_as_far_as_its_memory_goes(
    monkeypatch, threads, free_mib, wanted, places
):
    memory = type("Memory", (), {"available": free_mib * MIB})
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    assert find_places(wanted, 1000 * MIB) == [CPU] * places


@pytest.mark.parametrize(
    ("free_mib", "limit_mib", "wanted", "places"),
    [
        ((10**6, 10**6), 1000, 2, [0, 1]),  # enough: nobody looks
        ((3001, 1000), 1000, 4, [0, 1, 0]),
        ((10**6,), 1000, 3, [0, 0, 0]),
        ((1600,), 1000, 3, [0]),
        ((10**6,), None, 3, [0]),  # without a card one may take all of it
    ],
)
def test_each_gpu_has_a_place_and_more_where_the_card_fits_more_than_once(
    monkeypatch, free_mib, limit_mib, wanted, places
):
    class Looks:
        def free_bytes(self):
            assert wanted > len(free_mib)
            return tuple(free * MIB for free in free_mib)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free_mib))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(encoding, "CudaLooks", Looks)

    found = find_places(wanted, limit_mib and limit_mib * MIB)

    assert found == [torch.device("cuda", index) for index in places]
