"""A Ray cluster of several nodes on one machine, with devices that only a stand-in sees."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray._private.state import actors
from ray.cluster_utils import Cluster

from headhunt.search import run
from headhunt.search.executor.access import require_token
from headhunt.search.executor.engine import engine
from headhunt.search.executor.nodes import Nodes
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.spaces.record import State
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.trainable import PLAYED_GPUS

from .toys import write_notes

CONTEXT = 500 * MIB
TRIAL = CARDS["p620"].limit_bytes + CONTEXT
MINE = """
from headhunt.spaces.configs import Optimisation, ScratchConfig


def small(trial):
    rate = trial.suggest_float("rate", 1e-3, 1e-2, log=True)
    return ScratchConfig(vocabulary=300, width=32, feed_forward=32, blocks=1,
        optimisation=Optimisation(learning_rate=rate))
"""


def devices_of(trials_by_cpus: dict[int, int], filled: Path) -> Any:
    """Stand-ins for a node's devices: by its CPUs, one that holds so many trials.

    While the file `filled` is there, somebody else holds all of them.
    """
    context, share = CONTEXT, TRIAL

    class Looks:  # here, so that it travels by value
        def __init__(self, node: str) -> None:
            import ray

            found = next(n for n in ray.nodes() if n["NodeID"] == node)
            self.total = trials_by_cpus[int(found["Resources"]["CPU"])] * share

        def survey(self):
            from headhunt.trainables.card.devices import Device, Survey

            return Survey((Device("fake", "fake-0", self.total),), context)

        def free_bytes(self):
            return (0 if filled.exists() else self.total,)

    return Looks


class Seen:
    """What a test sees of a search while it runs."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()  # workers at once, by node
        self.workers: set[str] = set()
        self.waits: list[str] = []
        self.layouts: list[Any] = []
        self.on_tick: Callable[[Any], None] = lambda _: None
        self.plan: Any = None
        self._looked = 0.0

    def show(self) -> Show:
        return Show(
            watcher=Watcher(),
            on_encoding=lambda *_: None,
            on_encoded=lambda _: None,
            on_plan=self._begin,
            on_tick=self._tick,
            on_wait=self.waits.append,
            on_layout=self.layouts.append,
        )

    def _begin(self, plan, layout) -> None:
        self.plan = plan
        self.layouts.append(layout)

    def _tick(self) -> None:
        self.on_tick(self.plan)
        if time.monotonic() - self._looked < 0.3:
            return
        self._looked = time.monotonic()
        alive = {
            name: actor["Address"]["NodeID"]
            for name, actor in actors().items()
            if actor["State"] == "ALIVE" and "Lookout" not in actor["ActorClassName"]
        }
        self.workers |= alive.keys()
        for node, count in Counter(alive.values()).items():
            self.most[node] = max(self.most[node], count)


@contextlib.contextmanager
def cluster_of(*cpus: int, gpus: int):
    """A cluster with a head that runs nothing, and a node for each of `cpus`."""
    # Workers have the environment of the process that starts their node.
    os.environ[PLAYED_GPUS] = "1"
    require_token(joins=False, allow_open=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    try:
        for count in cpus:
            cluster.add_node(num_cpus=count, num_gpus=gpus)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
        del os.environ[PLAYED_GPUS]


@pytest.fixture
def search(tmp_path):
    """Runs a search of small Transformers on a cluster."""
    write_notes(tmp_path / "notes.csv", 60)
    (tmp_path / "mine.py").write_text(MINE)

    def search(address, *, trials, seen, slots=None, on_tick=None):
        settings = {"space": f"{tmp_path}/mine.py:small", "max_epochs": 2, "max_tokens": 32}
        request = Request(
            notes=tmp_path / "notes.csv",
            study="lab",
            store=tmp_path / "store",
            given=settings,
            budget=Budget(trials=trials),
            address=address,
            slots=slots,
        )
        seen.on_tick = on_tick or seen.on_tick
        with contextlib.suppress(KeyboardInterrupt):  # a tick ends it so
            run_search(prepare(request), seen.show())
        return seen.plan.study.trials

    return search


@pytest.mark.proof
def test_each_node_runs_as_many_trials_at_once_as_its_own_device_holds(
    search, tmp_path, monkeypatch
):
    # Three share two CPUs and a device; one has another device and a CPU to itself.
    looks = devices_of({2: 3, 1: 1}, tmp_path / "filled")
    monkeypatch.setattr(run, "Nodes", lambda sign: Nodes(sign, looks))
    seen, full = Seen(), []

    def on_tick(plan):
        if sum(seen.most.values()) >= 4:
            full.append(len(plan.study.trials))
        if full and len(plan.study.trials) > full[0] + 20:
            raise KeyboardInterrupt

    with cluster_of(2, 1, gpus=1) as cluster:
        trials = search(cluster.address, trials=3000, seen=seen, on_tick=on_tick)

    (layout,) = seen.layouts
    shares = {part.node.cpus: (part.slots, part.cpus, part.gpu_fraction) for part in layout.nodes}
    assert shares == {2.0: (3, 0.6666, 0.3333), 1.0: (1, 1.0, 1.0)}
    assert sorted(seen.most.values()) == [1, 3]
    assert {t.state for t in trials} <= {State.COMPLETE, State.PRUNED, State.RUNNING}
    # Each slot's worker stays warm; the two baselines hold another share, and need their own.
    assert len(seen.workers) <= 4 + 3
    assert seen.waits == []


@pytest.mark.proof
def test_a_filled_device_is_waited_for_and_then_used_and_one_that_joins_too(
    search, tmp_path, monkeypatch
):
    filled = tmp_path / "filled"
    filled.touch()
    looks = devices_of({1: 1, 2: 2}, filled)
    monkeypatch.setattr(run, "Nodes", lambda sign: Nodes(sign, looks))
    seen, joined = Seen(), []

    with cluster_of(1, gpus=1) as cluster:

        def on_tick(plan):
            if filled.exists() and len(seen.waits) == 1 and time.monotonic() - began > 5:
                assert not plan.study.trials  # waited for: nothing has begun
                filled.unlink()
            if not joined and len(plan.study.trials) > 3:
                joined.append(cluster.add_node(num_cpus=2, num_gpus=1))
            if sorted(seen.most.values()) == [1, 2]:
                raise KeyboardInterrupt

        began = time.monotonic()
        trials = search(cluster.address, trials=3000, seen=seen, on_tick=on_tick)

    assert seen.waits[0].endswith(": 0.0 GiB free, 2.2 needed")
    assert seen.waits[1:] == [""]
    assert [layout.slots for layout in seen.layouts] == [1, 3]
    assert State.FAILED not in {t.state for t in trials}


@pytest.mark.proof
def test_a_node_that_is_lost_is_done_without_and_its_trials_are_repeated(search, tmp_path):
    seen, lost, began = Seen(), [], time.monotonic()

    with cluster_of(1, gpus=0) as cluster:
        extra = cluster.add_node(num_cpus=1)

        def on_tick(plan):
            trials = plan.study.trials
            if not lost and len(trials) > 6 and len(seen.most) == 2:
                lost.extend(t.number for t in trials if t.state is State.RUNNING)
                cluster.remove_node(extra, allow_graceful=False)
            repeated = lost and all(trials[number].outcome for number in lost)
            if (repeated and len(seen.layouts) == 2) or time.monotonic() - began > 85:
                raise KeyboardInterrupt

        trials = search(cluster.address, trials=3000, seen=seen, on_tick=on_tick)

    assert [layout.slots for layout in seen.layouts] == [2, 1]
    assert len(lost) == 2
    assert {trials[number].state for number in lost} <= {State.COMPLETE, State.PRUNED}


def test_the_nodes_of_a_machine_without_gpus_need_no_lookout():
    with engine(cpus=2, gpus=0, address=None):
        nodes = Nodes(looks=lambda _: pytest.fail("nobody should look"))

        (node,) = nodes.wait()

        assert (node.cpus, node.survey.devices) == (2.0, ())
        assert nodes.free_bytes(node.id) is None
        nodes.close()
