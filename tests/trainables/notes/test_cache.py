import json
import os
import stat
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.trainables.notes.cache import (
    CACHE_FOLDER,
    DONE,
    MADE_OF,
    cache_dir,
    cache_key,
    make_once,
    read_meta,
)


def fill(folder) -> dict[str, object]:
    (folder / "rows.npy").write_text("rows")
    return {"tokens": 3}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def fill_slowly(cache, together, made):
    """In another process: one of several that want the same folder."""

    def slowly(folder) -> dict[str, object]:
        time.sleep(0.2)
        return {"maker": os.getpid()}

    together.wait(60)
    made.put(make_once(cache, "wanted", slowly)[1])


def die_in_fill(cache):
    """In another process: killed when half of a folder is written."""

    def die(folder):
        fill(folder)
        os.kill(os.getpid(), 9)
        return {}

    make_once(cache, "wanted", die)


# --- names -----------------------------------------------------------------------------------


def test_a_name_is_hexadecimal_and_shows_nothing_of_its_parts():
    key = cache_key(backbone="Dupont has heart failure", corpus="Dupont")

    assert set(key) <= set(string.hexdigits.lower())
    assert len(key) == 24


PARTS = st.dictionaries(st.sampled_from("abcd"), st.text() | st.integers(), max_size=4)


@given(PARTS, PARTS)
def test_names_are_equal_for_equal_parts_alone(one, other):
    assert (cache_key(**one) == cache_key(**other)) == (one == other)


def test_the_order_of_the_parts_does_not_matter():
    assert cache_key(a=1, b="2") == cache_key(b="2", a=1)


# --- who may read ----------------------------------------------------------------------------


def test_the_confidential_folder_is_its_owners_alone(tmp_path):
    folder = cache_dir(tmp_path / "store")

    assert folder == tmp_path / "store" / CACHE_FOLDER
    assert mode(folder) == 0o700
    assert cache_dir(tmp_path / "store") == folder


def test_a_confidential_folder_that_others_could_read_is_closed(tmp_path):
    (tmp_path / CACHE_FOLDER).mkdir()
    (tmp_path / CACHE_FOLDER).chmod(0o755)

    assert mode(cache_dir(tmp_path)) == 0o700


def test_a_made_folder_is_its_owners_alone(tmp_path):
    assert mode(make_once(tmp_path, "wanted", fill)[0]) == 0o700


# --- made once -------------------------------------------------------------------------------


def test_a_folder_is_filled_at_the_first_call_alone(tmp_path):
    calls = []

    def counted(folder):
        calls.append(folder)
        return fill(folder)

    first, made = make_once(tmp_path, "wanted", counted)
    again, made_again = make_once(tmp_path, "wanted", counted)

    assert (first, made, again, made_again) == (tmp_path / "wanted", True, first, False)
    assert len(calls) == 1
    assert (first / "rows.npy").read_text() == "rows"
    assert read_meta(first) == {"tokens": 3}


def test_folders_of_different_names_do_not_know_each_other(tmp_path):
    make_once(tmp_path, "one", lambda _: {"number": 1})
    make_once(tmp_path, "two", lambda _: {"number": 2})

    assert read_meta(tmp_path / "one") == {"number": 1}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fill_that_fails_leaves_nothing(tmp_path, error):
    def fail(folder):
        fill(folder)
        raise error

    with pytest.raises(error):
        make_once(tmp_path, "wanted", fail)

    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    assert make_once(tmp_path, "wanted", fill)[1]


def test_a_folder_whose_meta_was_lost_is_made_anew(tmp_path):
    folder, _ = make_once(tmp_path, "wanted", fill)
    (folder / DONE).unlink()
    (folder / "stale.npy").touch()

    assert make_once(tmp_path, "wanted", fill) == (folder, True)
    assert sorted(p.name for p in folder.iterdir()) == [MADE_OF, DONE, "rows.npy"]


def test_what_a_meta_cannot_hold_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        make_once(tmp_path, "wanted", lambda _: {"bytes": b"rows"})

    assert not (tmp_path / "wanted").exists()


def test_two_processes_that_want_a_folder_make_it_once(tmp_path, spawn):
    together, made = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=fill_slowly, args=(tmp_path, together, made)) for _ in range(2)]
    for worker in workers:
        worker.start()

    results = sorted(made.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)

    assert results == [False, True]
    assert json.loads((tmp_path / "wanted" / DONE).read_text())["maker"] in [w.pid for w in workers]


def test_a_process_killed_while_it_fills_leaves_nothing_that_is_read(tmp_path, spawn):
    worker = spawn.Process(target=die_in_fill, args=(tmp_path,))
    worker.start()
    worker.join(60)

    assert worker.exitcode == -9
    assert not (tmp_path / "wanted").exists()
    assert make_once(tmp_path, "wanted", fill)[1]
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["wanted"]
