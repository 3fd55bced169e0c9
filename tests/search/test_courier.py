"""What a node sees of the driver's folder, and where it keeps its own copies."""

import os
import stat

import pytest

from headhunt.search.executor.courier import NODE_FOLDER, Sign, node_folder


def test_a_sign_is_seen_until_it_is_taken_down_and_a_later_one_takes_its_place(tmp_path):
    killed = Sign.put_up(tmp_path)  # by a search that never took it down
    assert killed.is_seen()

    now = Sign.put_up(tmp_path)

    assert (killed.is_seen(), now.is_seen()) == (False, True)
    assert len(list(tmp_path.iterdir())) == 1
    now.take_down()
    assert not now.is_seen()
    assert not list(tmp_path.iterdir())


def test_a_nodes_copies_are_its_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(NODE_FOLDER, str(tmp_path))

    folder = node_folder("0123")

    for place in (folder, tmp_path / f"headhunt-{os.getuid()}"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_link_that_waits_where_a_node_keeps_its_copies_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(NODE_FOLDER, str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"headhunt-{os.getuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="it is a symbolic link"):
        node_folder("0123")
    assert not list((tmp_path / "elsewhere").iterdir())
