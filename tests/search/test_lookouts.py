"""Lookouts whose devices fail, on a real Ray that counts a GPU which only a stand-in sees."""

import time
from pathlib import Path
from typing import Any

import pytest
import ray

from headhunt.search.executor import nodes as executor
from headhunt.search.executor.engine import EngineError, engine
from headhunt.search.executor.nodes import Nodes


def failing_looks(folder: Path) -> Any:
    """A device whose looks fail as the files in the folder say; a failed one stays so, as CUDA."""

    class Looks:  # here, so that it travels by value
        def __init__(self, node: str) -> None:
            del node
            self.broken = False

        def survey(self):
            from headhunt.trainables.card.devices import Device, Survey

            if (folder / "no survey").exists():
                raise RuntimeError("CUDA error: unknown error\nand more")
            return Survey((Device("fake", "fake-0", 1000),), 10)

        def free_bytes(self):
            self.broken = self.broken or (folder / "no look").exists()
            if self.broken:
                raise RuntimeError("CUDA error: an illegal memory access")
            return (1000,)

    return Looks


@pytest.fixture(scope="module")
def one_gpu():
    """A Ray that counts a GPU."""
    with engine(cpus=1, gpus=1, address=None):
        yield


def looked(nodes: Nodes, node: str) -> tuple[int, ...]:
    """What a look brings at last."""
    for _ in range(120):
        if (found := nodes.free_bytes(node)) is not None:
            return found
        time.sleep(0.25)
    pytest.fail("nobody answers")


def until_it_is_gone(nodes: Nodes, node: str) -> None:
    """Ray kills in its own time: an actor that it was told to kill may answer for a while."""
    for _ in range(120):
        if nodes.free_bytes(node) is None:
            return
        time.sleep(0.05)
    pytest.fail("it answers still")


@pytest.mark.parametrize("end", ["its CUDA fails", "it is killed"])
def test_a_lookout_that_fails_for_good_is_replaced(one_gpu, tmp_path, monkeypatch, end):
    monkeypatch.setattr(executor, "RENEW_SECONDS", 0.0)
    nodes = Nodes(looks=failing_looks(tmp_path))
    (node,) = nodes.wait()
    assert looked(nodes, node.id) == (1000,)

    if end == "it is killed":
        ray.kill(nodes._lookouts[node.id])
    else:
        (tmp_path / "no look").touch()
    until_it_is_gone(nodes, node.id)
    (tmp_path / "no look").unlink(missing_ok=True)

    assert looked(nodes, node.id) == (1000,)
    assert nodes.take_warnings() == []
    nodes.close()


def test_where_no_device_can_be_looked_at_there_is_no_search(one_gpu, tmp_path):
    (tmp_path / "no survey").touch()
    nodes = Nodes(looks=failing_looks(tmp_path))

    with pytest.raises(EngineError, match=r"cannot be used: CUDA error: unknown error$"):
        nodes.wait()
    nodes.close()


@pytest.mark.parametrize("end", ["it fails", "it takes too long"])
def test_a_node_without_a_survey_is_left_out_with_a_word(one_gpu, tmp_path, monkeypatch, end):
    told = ray.nodes()
    gone = {**told[0], "NodeID": "e" * 56, "NodeManagerHostname": "elsewhere"}
    monkeypatch.setattr(executor.ray, "nodes", lambda: [*told, gone])
    nodes = Nodes(looks=failing_looks(tmp_path))
    if end == "it takes too long":
        nodes.wait()  # the one that is here
        nodes.take_warnings()
        nodes._without.clear()
        monkeypatch.setattr(executor, "SURVEY_SECONDS", 0.5)
        nodes._surveys[gone["NodeID"]] = nodes._lookouts[told[0]["NodeID"]].__ray_call__.remote(
            lambda _: time.sleep(30)
        )

    (found,) = nodes.wait()

    assert found.id == told[0]["NodeID"]
    (warning,) = nodes.take_warnings()
    assert warning.startswith("the node elsewhere cannot be used: ")
    assert warning.endswith("; the search goes on without elsewhere")
    assert [node.id for node in nodes.known()] == [found.id]
    assert nodes.take_warnings() == []
    nodes.close()
