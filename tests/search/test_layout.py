from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.search.layout import LayoutError, Node, cpu_share, lay_out
from headhunt.search.progress import where
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.card.devices import MPS_CLIENTS, Device, Survey

P620 = CARDS["p620"]
GIB = 1024 * MIB
CONTEXT = 500 * MIB
TRIAL = P620.limit_bytes + CONTEXT


def node(name: str = "a", *, cpus: float = 16, gib: tuple[float, ...] = (), **survey: Any) -> Node:
    """A node with devices of these sizes."""
    devices = tuple(Device("H200", f"{name}-{i}", int(size * GIB)) for i, size in enumerate(gib))
    found = Survey(devices=devices, context_bytes=CONTEXT if gib else 0, **survey)
    return Node(name, name, cpus, found)


def test_each_node_has_as_many_slots_as_its_own_devices_hold():
    layout = lay_out([node("large", gib=(139,)), node("small", gib=(8,), cpus=2)], P620)

    large, small = layout.nodes
    assert (large.slots, small.slots) == (139 * GIB // TRIAL, 8 * GIB // TRIAL) == (63, 3)
    assert (large.gpu_fraction, small.gpu_fraction) == (0.0158, 0.3333)
    assert (large.cpus, small.cpus) == (0.2539, 0.6666)
    assert layout.slots == 66


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8),
    cpus=st.integers(1, 256),
    limit=st.none() | st.integers(1, 900),
)
def test_no_device_and_no_cpu_is_ever_promised_twice(sizes, cpus, limit):
    (part,) = lay_out([node(gib=tuple(sizes), cpus=cpus)], P620, limit=limit).nodes

    steps = round(part.gpu_fraction * 10_000)
    assert part.sharing * steps <= 10_000 < (part.sharing + 1) * steps
    assert part.sharing == 1 or part.sharing * part.trial_bytes <= min(sizes) * GIB
    assert part.slots == min(limit or 10**9, part.sharing * len(sizes))
    assert part.slots * round(part.cpus * 10_000) <= cpus * 10_000


def test_what_the_search_itself_holds_of_a_device_is_not_given_to_trials():
    exactly = 3 * TRIAL / GIB
    alone = lay_out([node(gib=(exactly,))], P620)
    looked_at = lay_out([node(gib=(exactly,), looking_bytes=CONTEXT)], P620)

    assert (alone.slots, looked_at.slots) == (3, 2)


def test_a_device_smaller_than_the_card_is_held_by_one_trial_which_gets_what_there_is():
    (part,) = lay_out([node(gib=(1,))], P620).nodes

    assert (part.slots, part.gpu_fraction, part.trial_bytes) == (1, 1.0, GIB)


def test_without_a_card_a_trial_has_a_device_for_itself():
    (part,) = lay_out([node(gib=(139, 139))], None).nodes

    assert (part.slots, part.gpu_fraction, part.trial_bytes) == (2, 1.0, 0)


def test_nodes_without_a_device_have_no_slots_beside_nodes_with_one_but_for_baselines():
    nodes = [node("cpu", cpus=4), node("gpu", gib=(8,))]

    assert [part.node.id for part in lay_out(nodes, P620).nodes] == ["gpu"]
    on_cpus = lay_out(nodes, P620, use_gpus=False)
    assert [(p.node.id, p.slots) for p in on_cpus.nodes] == [("cpu", 4), ("gpu", 16)]
    assert not on_cpus.on_gpus


def test_on_cpus_a_limit_is_met_by_sharing_them_and_on_devices_never():
    (shared,) = lay_out([node(cpus=2)], P620, limit=4).nodes

    assert (shared.slots, shared.cpus) == (4, 0.5)
    assert lay_out([node(gib=(8,))], P620, limit=10).slots == 3


def test_a_limit_over_all_is_spread_so_that_trials_have_most_cpus():
    layout = lay_out([node("a", cpus=16, gib=(139,)), node("b", cpus=4, gib=(8,))], P620, limit=6)

    assert [(part.slots, part.cpus) for part in layout.nodes] == [(5, 3.0), (1, 4.0)]


def test_cluster_without_a_cpu_is_refused():
    with pytest.raises(LayoutError, match="no node has a CPU for a trial"):
        lay_out([node(cpus=0)], P620)


def test_mps_limits_a_worker_to_its_memory_with_the_context_and_to_its_share_of_the_processors():
    (part,) = lay_out([node(gib=(8,), mps=True)], P620, mps=True).nodes

    assert part.environment == {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=2248M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "34",
    }
    assert not lay_out([node(gib=(8,), mps=True)], P620).nodes[0].environment


def test_an_mps_daemon_serves_no_more_trials_than_it_has_clients():
    assert lay_out([node(gib=(139,), mps=True)], P620).slots == MPS_CLIENTS
    looking = node(gib=(139,), mps=True, looking_bytes=CONTEXT)
    assert lay_out([looking], P620).slots == MPS_CLIENTS - 1


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("lab7", gib=(8,))], "no MPS control daemon runs on lab7: start `nvidia-cuda-mps"),
        ([node("a", gib=(8,), mps=True), node("b", gib=(8,))], "runs on b: start"),
        ([node()], "no MPS control daemon runs here, and there is no GPU"),
    ],
)
def test_mps_without_its_daemon_is_refused_with_the_nodes(nodes, message):
    with pytest.raises(LayoutError, match=message):
        lay_out(nodes, P620, mps=True)


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        ([node(cpus=2)], "2 trials at a time, each with 1 CPU"),
        ([node("a", cpus=2), node("b", cpus=1)], "3 trials at a time, each with 1 CPU on 2 nodes"),
        (
            [node(gib=(139,))],
            "63 trials at a time: 1 x H200 with 63 trials of 2.2 GiB, 0.2539 CPU each",
        ),
        (
            [node("a", gib=(2.2,)), node("b", gib=(8, 8))],
            "7 trials at a time: 1 x H200 on a with 1 trial of 2.2 GiB, 16 CPU each; "
            "2 x H200 on b with 6 trials of 2.2 GiB, 2 CPU each",
        ),
    ],
)
def test_the_line_says_how_many_and_what_each_has(nodes, line):
    assert where(lay_out(nodes, P620)) == line


@given(cpus=st.integers(1, 300), slots=st.integers(1, 900))
def test_the_shares_of_a_cpu_never_exceed_it_in_rays_steps(cpus, slots):
    share = cpu_share(cpus, slots)

    assert slots * round(share * 10_000) <= cpus * 10_000
    assert share == int(share) or share < 1
