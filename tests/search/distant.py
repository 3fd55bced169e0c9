"""A driver's machine, and nodes that share no folder with it, by `ray start`.

Each has an empty disk in memory where the driver has the study, the notes and the features, which
takes root, or a kernel that lets users have namespaces.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from headhunt.search.executor.courier import NODE_FOLDER
from headhunt.search.executor.engine import authenticate
from headhunt.search.study import Study, Trial
from headhunt.trainables.training.states import StateFolder

from ..trainables.backbone_dirs import make_backbone
from .toys import HEADHUNT, MIXED_SPACE, learned, write_notes

EPOCHS = 6
START_SECONDS, SEARCH_SECONDS = 60, 280
# A node is missed sooner than by Ray's own: nothing else happens meanwhile.
HEARTBEATS = {
    "health_check_period_ms": 1_000,
    "health_check_timeout_ms": 5_000,
    "health_check_failure_threshold": 4,
}
SPACE = (
    MIXED_SPACE
    + """

def tuned(trial, options):
    rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    return HeadConfig(backbone=options.backbones[0], mode=Mode.FULL, head=LinearHead(),
        optimisation=Optimisation(learning_rate=rate))

"""
)


@dataclass
class Lab:
    """A driver's machine, and nodes that see none of its files."""

    folder: Path  # the driver's
    cluster: Cluster
    nodes: list[subprocess.Popen[str]] = field(default_factory=list)

    def add_node(self, *has: str, within: Sequence[str] = ()) -> Path:
        """Start one, and wait for it; the folder in which it keeps its copies.

        Args:
            has: further options of `ray start`.
            within: what runs its command, for instance in a network of its own.
        """
        number = len(self.nodes)
        disk = self.folder.parent / f"node-{number}"
        disk.mkdir()
        hide = f"mount -t tmpfs tmpfs {self.folder}"
        start = [f"{Path(sys.executable).parent}/ray", "start", "--block"]
        start += ["--address", str(self.cluster.address), "--num-cpus", "1", "--num-gpus", "0"]
        start += ["--object-store-memory", str(100 * 2**20), *has]
        before = self.cluster.global_state._live_node_ids()
        process = subprocess.Popen(
            [*within, "unshare", "-m", "sh", "-c", f"{hide} && exec {' '.join(start)}"],
            env={**os.environ, NODE_FOLDER: str(disk)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.nodes.append(process)
        end = time.monotonic() + START_SECONDS
        while not self.cluster.global_state._live_node_ids() - before:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "the node does not come up"
            time.sleep(0.2)
        return disk

    def begin(self, *asked: str, study: str = "lab") -> "subprocess.Popen[str]":
        """A search from the driver's machine."""
        words = [*HEADHUNT, "search"]
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

    def end(self) -> None:
        """Of the cluster and all its nodes."""
        for node in self.nodes:
            kill_node(node)
        self.cluster.shutdown()

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


def make_lab(folder: Path, **head: object) -> Lab:
    """A driver's machine with a corpus, an encoder beside it, and the head of a cluster.

    Args:
        folder: the driver's; what is beside it is on every machine.
        head: further arguments of the head's node.
    """
    write_notes(folder / "notes.csv", 160)
    (folder / "mine.py").write_text(SPACE)
    make_backbone(folder.parent / "encoder")
    authenticate(joins=False)
    arguments = {"num_cpus": 0, "num_gpus": 0, "_system_config": HEARTBEATS, **head}
    return Lab(folder, Cluster(initialize_head=True, head_node_args=arguments))


def kill_node(node: "subprocess.Popen[str]") -> None:
    """With all that runs on it, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.communicate()


def has_own_disks(folder: Path) -> bool:
    """Whether a process may have a file system of its own here."""
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True).returncode == 0


def trial_states(lab: Lab, study: str = "lab") -> StateFolder:
    return StateFolder(lab.store / study / "trials")


def read(lab: Lab, name: str) -> list[Trial]:
    study = Study.open(lab.store, name)
    study.close()
    return study.trials


def learned_of(lab: Lab, name: str) -> list[object]:
    return [learned(trial) for trial in read(lab, name)]
