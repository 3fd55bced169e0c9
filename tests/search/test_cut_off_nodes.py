"""Nodes on a network that fails: each in a network namespace of its own, behind a bridge.

It takes root and iproute2. A node that is cut off does not end: Ray takes it for dead after a
while, and it goes on training until it is reached again and told.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from headhunt.trainables.training.states import Kind

from .distant import Lab, end, has_own_disks, learned_of, make_lab, read, trial_states

WAIT_SECONDS = 120
TRIALS = ("--trials", "8")


@dataclass(frozen=True)
class Network:
    """A bridge, to which each node's namespace is plugged in."""

    name: str  # at most 8 characters: interfaces' names have 15
    subnet: str  # its first three numbers

    @property
    def address(self) -> str:
        """The driver's."""
        return f"{self.subnet}.1"

    def lay(self, undo: ExitStack) -> None:
        """Put up the bridge."""
        ip("link", "add", self.name, "type", "bridge")
        undo.callback(ip, "link", "delete", self.name)
        ip("address", "add", f"{self.address}/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def plug_in(self, number: int, undo: ExitStack) -> str:
        """A namespace with a cable to the bridge; its address."""
        own, cable, address = self.space(number), self.cable(number), f"{self.subnet}.{number + 2}"
        ip("netns", "add", own)
        undo.callback(ip, "netns", "delete", own)
        ip("link", "add", cable, "type", "veth", "peer", "name", "lan", "netns", own)
        ip("link", "set", cable, "master", self.name, "up")
        ip("-n", own, "address", "add", f"{address}/24", "dev", "lan")
        ip("-n", own, "link", "set", "lan", "up")
        ip("-n", own, "link", "set", "lo", "up")
        return address

    def space(self, number: int) -> str:
        return f"{self.name}-{number}"

    def cable(self, number: int) -> str:
        return f"{self.name}-c{number}"

    def cut(self, number: int) -> None:
        """Nothing reaches the node any more, and nothing comes from it."""
        ip("link", "set", self.cable(number), "down")

    def heal(self, number: int) -> None:
        ip("link", "set", self.cable(number), "up")


@dataclass(frozen=True)
class CutOff:
    """A lab whose nodes are on a network."""

    lab: Lab
    network: Network
    undo: ExitStack

    def add_node(self) -> int:
        """Its number."""
        number = len(self.lab.nodes)
        address = self.network.plug_in(number, self.undo)
        within = ["ip", "netns", "exec", self.network.space(number)]
        self.lab.add_node("--node-ip-address", address, within=within)
        return number

    def is_alive(self, number: int) -> bool:
        """Whether the node's own processes run."""
        return self.lab.nodes[number].poll() is None

    def live_nodes(self) -> int:
        """As the cluster's head sees it, itself included."""
        return len(self.lab.cluster.global_state._live_node_ids())


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def wait_until(holds: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < limit, what
        time.sleep(0.05)


@pytest.fixture
def lab(tmp_path) -> Iterator[CutOff]:
    folder, own = tmp_path / "driver", os.getpid()
    folder.mkdir()
    network = Network(f"hh{own % 100_000}", f"10.{200 + own // 250 % 50}.{own % 250}")
    with ExitStack() as undo:
        try:
            network.lay(undo)
            network.plug_in(99, undo)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no process may have a network of its own here")
        if not has_own_disks(folder):
            pytest.skip("no process may have a file system of its own here")
        lab = make_lab(folder, node_ip_address=network.address)
        undo.callback(lab.end)
        yield CutOff(lab, network, undo)


def in_mid_trial(lab: Lab, search: "subprocess.Popen[str]", but: Path | None = None) -> Path:
    """Wait for a trial that has done two epochs and not all; the file of its state."""
    found: list[Path] = []

    def look() -> bool:
        assert search.poll() is None, search.communicate()
        kept = trial_states(lab).root.rglob("checkpoint-*")
        found[:] = [p for p in kept if p.name > "checkpoint-0001" and p != but]
        return bool(found)

    wait_until(look, "no trial is in its middle")
    return found[0]


@pytest.mark.proof
def test_a_node_that_is_cut_off_for_a_moment_loses_nothing(lab):
    assert end(lab.lab.begin(*lab.lab.space("mixed"), *TRIALS, study="here"))[0] == 0
    number = lab.add_node()
    search = lab.lab.begin(*lab.lab.space("mixed"), *TRIALS, *lab.lab.address)
    in_mid_trial(lab.lab, search)

    lab.network.cut(number)
    time.sleep(3)
    lab.network.heal(number)
    status, said = end(search)

    assert status == 0, said
    assert lab.is_alive(number)
    assert learned_of(lab.lab, "lab") == learned_of(lab.lab, "here")


@pytest.mark.proof
def test_a_node_that_is_cut_off_and_healed_late_disturbs_nobody(lab):
    assert end(lab.lab.begin(*lab.lab.space("mixed"), *TRIALS, study="here"))[0] == 0
    number = lab.add_node()
    search = lab.lab.begin(*lab.lab.space("mixed"), *TRIALS, *lab.lab.address)
    in_mid_trial(lab.lab, search)
    started = read_numbers(lab.lab)

    lab.network.cut(number)
    wait_until(lambda: lab.live_nodes() == 1, "the head does not miss the node")
    assert lab.is_alive(number)  # it does not know
    assert workers(lab.lab.nodes[number])
    other = lab.add_node()
    wait_until(lambda: read_numbers(lab.lab) > started, "no trial goes on elsewhere")
    lab.network.heal(number)
    wait_until(lambda: not lab.is_alive(number), "the healed node does not learn of its death")
    status, said = end(search)

    assert status == 0, said
    assert lab.is_alive(other)
    assert learned_of(lab.lab, "lab") == learned_of(lab.lab, "here")
    for trial in read(lab.lab, "lab")[2:]:  # the first two are baselines
        (best,) = trial_states(lab.lab).find(trial.number, Kind.BEST)
        assert trial.outcome
        assert best.epoch == trial.outcome.best_epoch
        assert not list(trial_states(lab.lab).find(trial.number, Kind.CHECKPOINT))


def read_numbers(lab: Lab) -> int:
    """Trials that have ended or begun, by the files that they keep."""
    return len(list(trial_states(lab).root.iterdir()))


def workers(node: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [p for p in psutil.Process(node.pid).children(recursive=True) if "ray::" in p.name()]
