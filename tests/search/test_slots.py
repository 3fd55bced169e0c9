import pytest

from headhunt.search.layout import Layout, Node, lay_out
from headhunt.search.slots import Held, Slots
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.card.devices import Device, Survey

P620 = CARDS["p620"]
CONTEXT = 500 * MIB
TRIAL = P620.limit_bytes + CONTEXT


class Lab:
    """Nodes whose devices hold what a test says, a clock that it moves, and how often it looked."""

    def __init__(self, *trials_a_device: int, limit=None, nodes=1):
        self.now, self.looks = 0.0, 0
        self.nodes = [self._node(f"node{i}", trials_a_device) for i in range(nodes)]
        self.used: dict[str, list[int]] = {n.id: [0] * len(trials_a_device) for n in self.nodes}
        self.silent: set[str] = set()
        self.layout = lay_out(self.nodes, P620)
        self.slots = Slots(self.layout, limit=limit, look=self.look, clock=lambda: self.now)
        self.begun = 0

    def _node(self, name, trials_a_device):
        devices = [Device("H200", f"{name}-{i}", n * TRIAL) for i, n in enumerate(trials_a_device)]
        return Node(name, name, 8, Survey(tuple(devices), CONTEXT))

    def look(self, node):
        self.looks += 1
        if node in self.silent:
            return None
        devices = next(n for n in self.nodes if n.id == node).survey.devices
        return [d.total_bytes - used for d, used in zip(devices, self.used[node], strict=True)]

    def begin(self):
        """Place one trial; its node, or None."""
        self.now += 1
        part = self.slots.find()
        if part is None:
            return None
        self.begun += 1
        self.slots.take(str(self.begun), part.node.id)
        return part.node.id

    def others(self, trials: float, node="node0", device=0):
        """Somebody else takes so many trials' worth, or gives it back."""
        self.used[node][device] += int(trials * TRIAL)

    def ours(self, trial: int, share: float, node="node0", device=0):
        """A trial of ours holds so much of its share, and says so."""
        self.used[node][device] += int(share * TRIAL)
        self.slots.told(str(trial), Held(f"{node}-{device}", int(share * TRIAL) - CONTEXT))


def test_as_many_trials_are_placed_as_fit_and_not_one_more():
    lab = Lab(3)

    assert [lab.begin() for _ in range(4)] == ["node0"] * 3 + [None]
    assert lab.slots.waits_for == ""  # for a trial to end, not for memory


def test_a_limit_holds_over_all_nodes():
    lab = Lab(3, nodes=2, limit=4)

    assert [lab.begin() is not None for _ in range(5)] == [True] * 4 + [False]


def test_a_filled_device_is_waited_for_and_then_used():
    lab = Lab(3)
    lab.others(2.5)

    assert lab.begin() is None
    assert lab.slots.waits_for == "waiting for memory on node0: 1.1 GiB free, 2.2 needed"
    lab.others(-2.5)
    assert lab.begin() == "node0"
    assert lab.slots.waits_for == ""


def test_what_running_trials_have_not_taken_yet_is_kept_for_them():
    lab = Lab(4)
    lab.others(2)

    assert [lab.begin() for _ in range(3)] == ["node0", "node0", None]
    lab.used["node0"][0] += TRIAL // 2  # a little, by both together; they have not said it
    assert lab.begin() is None


def test_somebody_who_comes_while_trials_run_is_seen():
    lab = Lab(4)
    lab.begin()
    lab.ours(1, 0.5)
    assert lab.begin()
    lab.ours(2, 0.5)
    lab.others(1.8)

    assert lab.begin() is None
    lab.others(-1)
    assert lab.begin()


def test_kernels_that_are_loaded_later_are_not_taken_for_somebody_else():
    lab = Lab(4)
    for trial in (1, 2, 3):
        lab.begin()
        lab.ours(trial, 0.5)
    lab.used["node0"][0] += 3 * 40 * MIB

    assert lab.begin() == "node0"


def test_a_warm_worker_is_not_taken_for_somebody_else():
    lab = Lab(1)
    lab.begin()
    lab.ours(1, 0.9)
    lab.slots.give_back("1")

    assert lab.begin() == "node0"


def test_a_node_where_a_worker_is_warm_is_taken_before_a_free_one():
    lab = Lab(3, nodes=2)
    first = lab.begin()
    lab.begin()
    lab.slots.give_back("1")

    assert lab.begin() == first


def test_trials_go_to_the_node_with_most_room_and_to_another_when_one_is_filled():
    lab = Lab(2, nodes=2)
    lab.others(2, "node1")

    assert [lab.begin() for _ in range(3)] == ["node0", "node0", None]
    assert lab.slots.waits_for.startswith("waiting for memory on node1: 0.0 GiB free")


def test_of_several_devices_each_must_have_room_unless_it_is_full_by_count():
    lab = Lab(1, 1)
    lab.others(0.5, device=1)

    assert lab.begin() is None
    assert "node0 device 1: 1.1 GiB free, 2.2 needed" in lab.slots.waits_for


def test_a_device_is_looked_at_once_a_second_and_not_at_all_where_none_is():
    lab = Lab(1)
    lab.others(1)
    for _ in range(10):
        lab.now += 0.25
        lab.slots.find()
    assert lab.looks == 3

    without = Slots(
        lay_out([Node("n", "n", 2.0)], P620), limit=None, look=pytest.fail, clock=lambda: 0.0
    )
    assert without.find()


def test_a_node_that_does_not_answer_is_passed_over():
    lab = Lab(2, nodes=2)
    lab.silent.add("node0")

    assert lab.begin() == "node1"
    lab.silent.add("node1")
    assert lab.begin() is None
    assert "which does not answer" in lab.slots.waits_for


def test_a_node_that_joins_is_used_and_one_that_is_lost_is_not():
    lab = Lab(1, nodes=2)
    both = lab.layout.nodes
    slots = Slots(Layout(both[:1]), limit=None, look=lab.look, clock=lambda: 0.0)
    slots.take("1", "node0")
    assert slots.find() is None

    slots.add(both[1])
    assert slots.find() is both[1]
    slots.lose("node1")
    slots.lose("node0")
    assert slots.node_of("1") == "node0"
    slots.give_back("1")
    assert slots.find() is None
    assert slots.waits_for == "waiting for a node: none is left"
