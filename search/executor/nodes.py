"""The nodes of a running Ray: what each has, and what is free there now."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...trainables.card.devices import CudaLooks, Looks, Survey
from ..layout import Node
from .courier import Sign
from .engine import EngineError

SURVEY_SECONDS = 120.0  # a cold machine imports PyTorch twice for it
LOOK_SECONDS = 5.0  # after which a node that does not answer has not
RENEW_SECONDS = 30.0  # between two lookouts of a node whose devices fail


class _UnlikeError(RuntimeError):
    """A node has other programs than the driver."""


@dataclass(frozen=True, slots=True)
class _Presence:
    """What another machine says of itself."""

    sees_study: bool
    versions: dict[str, str]


def _versions() -> dict[str, str]:
    """Of what decides a trial's numbers, and of what crosses between machines."""
    return {name: version(name) for name in ("headhunt", "torch", "transformers")}


@ray.remote(num_cpus=0)
def _presence(sign: Sign) -> _Presence:
    return _Presence(sign.is_seen(), _versions())


def _require_alike(there: _Presence) -> None:
    unlike = [
        f"{name} {there.versions[name]} (here {here})"
        for name, here in _versions().items()
        if there.versions[name].partition("+")[0] != here.partition("+")[0]
    ]
    if unlike:
        raise _UnlikeError(f"it has {', '.join(unlike)}: install the same versions there")


class _Lookout:
    """Looks at the devices of the node that it sits on."""

    def __init__(self, looks: Callable[[str], Looks]) -> None:
        self._looks = looks(ray.get_runtime_context().get_node_id())

    def survey(self) -> Survey:
        """What the node has."""
        return self._looks.survey()

    def free_bytes(self) -> tuple[int, ...]:
        """Free on each device now."""
        return self._looks.free_bytes()


class Nodes:
    """The nodes of the running engine, and a lookout on each that has GPUs.

    Lookouts come up in the background; a node without GPUs needs none. One that is dead, or whose
    CUDA has failed for good, is replaced. Other machines are asked what is installed there, and
    whether they see the study's folder.
    """

    def __init__(
        self, sign: Sign | None = None, looks: Callable[[str], Looks] = lambda _: CudaLooks()
    ) -> None:
        """Begin to look.

        Args:
            sign: in the study's folder; None: all nodes are this machine.
            looks: at the devices of a node.
        """
        self._sign, self._looks = sign, looks
        self._here: str = ray.get_runtime_context().get_node_id()
        self._presences: dict[str, Any] = {}  # futures
        self._lookouts: dict[str, Any] = {}
        self._begun_at: dict[str, float] = {}  # of each lookout
        self._surveys: dict[str, Any] = {}  # futures
        self._late: dict[str, tuple[Any, float]] = {}  # looks that have not come back, since when
        self._alive: dict[str, dict[str, Any]] = {}
        self._without: dict[str, str] = {}  # nodes that are left out, and why
        self._warnings: list[str] = []
        self.refresh()

    def refresh(self) -> set[str]:
        """See which nodes there are, and return those that are gone."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        lost = self._alive.keys() - alive.keys()
        for node in lost:
            for known in self._by_node():
                known.pop(node, None)
        for node in alive.keys() - self._alive.keys():
            if self._sign and node != self._here:
                place = NodeAffinitySchedulingStrategy(node, soft=False)
                self._presences[node] = _presence.options(scheduling_strategy=place).remote(
                    self._sign
                )
            if alive[node]["Resources"].get("GPU"):
                self._watch(node)
                self._surveys[node] = self._lookouts[node].survey.remote()
        self._alive = alive
        return lost

    def wait(self) -> list[Node]:
        """All nodes, when each has been surveyed; one that does not answer is left out till then.

        Raises:
            EngineError: there are nodes with GPUs, and none of them could be surveyed.
        """
        futures = [*self._surveys.values(), *self._presences.values()]
        if futures:
            ray.wait(futures, num_returns=len(futures), timeout=SURVEY_SECONDS)
        known = self.known()
        for node in self._alive.keys() - {node.id for node in known}:
            self._leave_out(node, f"it has not answered in {SURVEY_SECONDS:.0f} s")
        if not known or (self._surveys and self._surveys.keys() <= self._without.keys()):
            raise EngineError("; ".join(self._without.values()))
        return known

    def known(self) -> list[Node]:
        """The nodes that are surveyed, now."""
        found = []
        for node in self._alive:
            if not self._has_answered(node):
                continue
            try:
                found.append(self._node(node))
                self._without.pop(node, None)
            except RayTaskError as error:  # of PyTorch or the import: no note came near it
                self._leave_out(node, str(error.cause).partition("\n")[0])
            except (RayError, _UnlikeError) as error:
                self._leave_out(node, str(error) or type(error).__name__)
        return found

    def take_warnings(self) -> list[str]:
        """What the user was not told yet."""
        taken, self._warnings = self._warnings, []
        return taken

    def free_bytes(self, node: str) -> tuple[int, ...] | None:
        """Free on each device of a node; None if it does not answer now."""
        if node not in self._lookouts:
            return None
        if node in self._late:  # to ask again before it is back would only take time
            look, since = self._late[node]
            if not _is_ready(look):
                if time.monotonic() - since > SURVEY_SECONDS:
                    self._replace(node)
                return None
            del self._late[node]
        look = self._lookouts[node].free_bytes.remote()
        try:
            return ray.get(look, timeout=LOOK_SECONDS)
        except GetTimeoutError:
            self._late[node] = look, time.monotonic()
        except RayError:
            if time.monotonic() - self._begun_at[node] > RENEW_SECONDS:
                self._replace(node)
        return None

    def close(self) -> None:
        """Send the lookouts home."""
        for lookout in self._lookouts.values():
            ray.kill(lookout)
        self._lookouts.clear()

    def _watch(self, node: str) -> None:
        """Begin a lookout there."""
        actor: Any = ray.remote(num_cpus=0, num_gpus=0)(_Lookout)
        self._begun_at[node] = time.monotonic()
        self._lookouts[node] = actor.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            # It holds no GPU, and must see those of the node all the same.
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
        ).remote(self._looks)

    def _replace(self, node: str) -> None:
        ray.kill(self._lookouts[node])
        self._late.pop(node, None)
        self._watch(node)

    def _leave_out(self, node: str, why: str) -> None:
        """Say so, once."""
        if node not in self._without:
            host = self._alive[node]["NodeManagerHostname"]
            self._without[node] = f"the node {host} cannot be used: {why}"
            self._warnings.append(f"{self._without[node]}; the search goes on without {host}")

    def _by_node(self) -> tuple[dict[str, Any], ...]:
        return self._lookouts, self._surveys, self._late, self._without, self._presences

    def _has_answered(self, node: str) -> bool:
        asked = (self._surveys, self._presences)
        return all(_is_ready(futures[node]) for futures in asked if node in futures)

    def _node(self, node: str) -> Node:
        found, sees_study = self._alive[node], True
        resources = found["Resources"]
        if node in self._presences:
            there: Any = ray.get(self._presences[node])
            _require_alike(there)
            sees_study = there.sees_study
        survey = Survey()
        if node in self._surveys:
            found_there: Any = ray.get(self._surveys[node])
            # Ray was told how many; what it was told of and CUDA does not see, nobody can use.
            devices = found_there.devices[: int(resources["GPU"])]
            survey = replace(found_there, devices=devices)
        here = node == self._here
        return Node(
            id=node,
            host=found["NodeManagerHostname"],
            cpus=resources.get("CPU", 0.0),
            survey=survey,
            driver_bytes=_driver_bytes(survey) if here and survey.devices else 0,
            sees_study=sees_study,
        )


def _is_ready(future: Any) -> bool:
    ready, _ = ray.wait([future], timeout=0)
    return bool(ready)


def _driver_bytes(survey: Survey) -> int:
    """What this process holds of the first device, which it encodes on where it does so itself."""
    import torch

    if not torch.cuda.is_initialized():
        return 0
    return survey.context_bytes + torch.cuda.memory_reserved(0)
