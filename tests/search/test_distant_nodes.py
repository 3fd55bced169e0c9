"""Nodes that share no folder with the driver: what they bring, keep and give back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headhunt.spaces.record import State
from headhunt.trainables.training.states import Kind

from .distant import (
    Lab,
    copies,
    end,
    has_own_disks,
    kill_node,
    learned_of,
    make_lab,
    read,
    trial_states,
)


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    folder = tmp_path / "driver"
    folder.mkdir()
    if not has_own_disks(folder):
        pytest.skip("no process may have a file system of its own here")
    lab = make_lab(folder)
    try:
        yield lab
    finally:
        lab.end()


@pytest.mark.proof
def test_nodes_that_share_nothing_train_what_the_drivers_machine_would_and_keep_nothing(lab):
    assert end(lab.begin(*lab.space("mixed"), "--trials", "8", study="here"))[0] == 0
    disks = [lab.add_node(), lab.add_node()]
    seen: dict[Path, set[str]] = {disk: set() for disk in disks}

    search = lab.begin(*lab.space("mixed"), "--trials", "8", *lab.address)
    while search.poll() is None:
        for disk in disks:
            seen[disk] |= set(copies(disk))
        time.sleep(0.05)
    status, said = end(search)

    assert status == 0, said
    assert learned_of(lab, "lab") == learned_of(lab, "here")
    assert [len(found) for found in seen.values()] == [1, 1]  # a copy each
    assert [list(disk.rglob("*/*")) for disk in disks] == [[], []]  # and none is left
    trials = read(lab, "lab")
    for trial in trials[2:]:  # the first two are baselines
        assert trial.outcome
        (best,) = trial_states(lab).find(trial.number, Kind.BEST)
        assert best.epoch == trial.outcome.best_epoch
        assert not list(trial_states(lab).find(trial.number, Kind.CHECKPOINT))


@pytest.mark.proof
def test_trials_of_a_node_that_is_cut_off_go_on_elsewhere_from_their_last_epoch(lab):
    assert end(lab.begin(*lab.space("mixed"), "--trials", "8", study="here"))[0] == 0
    lab.add_node()

    search = lab.begin(*lab.space("mixed"), "--trials", "8", *lab.address)
    states, kept = trial_states(lab), []
    while not kept and search.poll() is None:  # the only node is in the middle of a trial
        kept = [p for p in states.root.rglob("checkpoint-*") if p.name > "checkpoint-0002"]
        time.sleep(0.01)
    kill_node(lab.nodes[0])
    written = {p: p.stat().st_mtime_ns for p in states.root.rglob("checkpoint-*")}
    lab.add_node()
    status, said = end(search)

    assert status == 0, said
    assert written
    assert learned_of(lab, "lab") == learned_of(lab, "here")


@pytest.mark.proof
def test_states_too_large_to_travel_are_refused_before_the_first_trial_or_kept_where_all_see_them(
    lab,
):
    lab.add_node()
    asked = (*lab.space("tuned"), "--trials", "4", *lab.address)  # two are baselines

    status, said = end(lab.begin(*asked))

    assert status == 2
    assert "mode full are too large to travel" in said
    assert "--checkpoints" in said
    assert read(lab, "lab") == []
    shared = lab.folder.parent / "shared"
    status, said = end(lab.begin(*asked, "--checkpoints", f"file://{shared}", study="again"))
    assert status == 0, said
    trials = read(lab, "again")
    assert [t.state for t in trials] == [State.COMPLETE] * 4
    assert len(list(shared.rglob("best-*"))) == 2
    assert not list(shared.rglob("checkpoint-*"))
