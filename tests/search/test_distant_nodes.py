"""Nodes that share no folder with the driver: `ray start` in file systems of their own.

Each has an empty disk in memory where the driver has the study, the notes and the features, which
takes root, or a kernel that lets users have namespaces.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from headhunt.search.executor.access import require_token
from headhunt.search.executor.courier import NODE_FOLDER
from headhunt.search.study import Study, Trial
from headhunt.spaces.record import State
from headhunt.trainables.training.states import Kind, StateFolder

from ..trainables.backbone_dirs import make_backbone
from .toys import learned, write_notes

EPOCHS = 6
START_SECONDS, SEARCH_SECONDS = 60, 280
SPACE = """
from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead, LinearHead


def mixed(trial, options):
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    tuned = Optimisation(learning_rate=rate)
    if trial.number % 2:
        return ScratchConfig(vocabulary=300, optimisation=tuned)
    return HeadConfig(backbone=options.backbones[0], head=AdapterHead(bottleneck=4),
        optimisation=tuned)


def tuned(trial, options):
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    return HeadConfig(backbone=options.backbones[0], mode=Mode.FULL, head=LinearHead(),
        optimisation=Optimisation(learning_rate=rate))

"""


@dataclass
class Lab:
    """A driver's machine, and nodes that see none of its files."""

    folder: Path  # the driver's
    cluster: Cluster
    nodes: list[subprocess.Popen[str]] = field(default_factory=list)

    def add_node(self) -> Path:
        """Start one, and wait for it; the folder in which it keeps its copies."""
        number = len(self.nodes)
        disk = self.folder.parent / f"node-{number}"
        disk.mkdir()
        hide = f"mount -t tmpfs tmpfs {self.folder}"
        start = f"{Path(sys.executable).parent}/ray start --address {self.cluster.address} --block"
        has = f"--num-cpus 1 --num-gpus 0 --object-store-memory {100 * 2**20}"
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f"{hide} && exec {start} {has}"],
            env={**os.environ, NODE_FOLDER: str(disk)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.nodes.append(process)
        end = time.monotonic() + START_SECONDS
        before = len(self.cluster.global_state._live_node_ids())
        while len(self.cluster.global_state._live_node_ids()) == before:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "the node does not come up"
            time.sleep(0.2)
        return disk

    def begin(self, *asked: str, study: str = "lab") -> "subprocess.Popen[str]":
        """A search from the driver's machine."""
        words = [sys.executable, "-c", "from headhunt.search.cli import main; main()", "search"]
        words += [str(self.folder / "notes.csv"), "--study", study]
        words += ["--store", str(self.store), "--backbone", str(self.encoder)]
        words += ["--max-epochs", str(EPOCHS), "--max-tokens", "32", "--patience", "0"]
        words += ["--no-rungs", "--sampler", "random", "--card", "none", *asked]
        return subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "COLUMNS": "300"},
        )

    def space(self, name: str) -> tuple[str, str]:
        return "--space", f"{self.folder}/mine.py:{name}"

    @property
    def address(self) -> tuple[str, str]:
        return "--address", str(self.cluster.address)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def encoder(self) -> Path:
        """On every machine, as each would have it from the hub."""
        return self.folder.parent / "encoder"


def end(search: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its status, and what it said."""
    _, said = search.communicate(timeout=SEARCH_SECONDS)
    assert "Traceback" not in said, said
    return search.returncode, said


def copies(disk: Path) -> list[str]:
    """The folders of features on a node's disk."""
    return sorted(p.name for p in disk.rglob("features-*") if p.is_dir())


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    folder = tmp_path / "driver"
    folder.mkdir()
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True
    )
    if tried.returncode:
        pytest.skip("no process may have a file system of its own here")
    write_notes(folder / "notes.csv", 160)
    (folder / "mine.py").write_text(SPACE)
    make_backbone(tmp_path / "encoder")
    require_token(joins=False, allow_open=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    lab = Lab(folder, cluster)
    try:
        yield lab
    finally:
        for node in lab.nodes:
            kill_node(node)
        cluster.shutdown()


def kill_node(node: "subprocess.Popen[str]") -> None:
    """With all that runs on it, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.communicate()


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
    asked = (*lab.space("tuned"), "--trials", "2", *lab.address)

    status, said = end(lab.begin(*asked))

    assert status == 2
    assert "mode full are too large to travel" in said
    assert "--checkpoints" in said
    assert read(lab, "lab") == []
    shared = lab.folder.parent / "shared"
    status, said = end(lab.begin(*asked, "--checkpoints", f"file://{shared}", study="again"))
    assert status == 0, said
    trials = read(lab, "again")
    assert [t.state for t in trials] == [State.COMPLETE] * 2
    assert len(list(shared.rglob("best-*"))) == 2
    assert not list(shared.rglob("checkpoint-*"))


def trial_states(lab: Lab, study: str = "lab") -> StateFolder:
    return StateFolder(lab.store / study / "trials")


def read(lab: Lab, name: str) -> list[Trial]:
    study = Study.open(lab.store, name)
    study.close()
    return study.trials


def learned_of(lab: Lab, name: str) -> list[object]:
    return [learned(trial) for trial in read(lab, name)]
