"""How many trials each node runs at once, and what each of them holds.

As many trials share a device as fit on it under the card, each with a context of that device, and
no more; where no node has a device, as many as there are CPUs. It looks at nothing itself: what a
node has is found by the executor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..trainables.card.cards import Card, gpu_fraction
from ..trainables.card.devices import MPS_CLIENTS, Survey, mps_limits

MOST_SHARING = 100  # trials on one device


class LayoutError(ValueError):
    """What was asked for cannot be had on these nodes."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of the cluster has."""

    id: str
    host: str
    cpus: float
    survey: Survey = field(default_factory=Survey)
    driver_bytes: int = 0  # held on the first device by the process that drives the search
    sees_study: bool = True  # it shares the study's folder with the driver

    def usable_bytes(self) -> tuple[int, ...]:
        """Of each device: all but what the search itself holds there beside its trials."""
        looking = self.survey.looking_bytes
        return tuple(
            device.total_bytes - looking - (self.driver_bytes if place == 0 else 0)
            for place, device in enumerate(self.survey.devices)
        )


@dataclass(frozen=True, slots=True)
class NodeSlots:
    """A node's part of the layout."""

    node: Node
    slots: int
    cpus: float  # that a trial holds
    gpu_fraction: float = 0.0  # of one device; baselines hold none
    sharing: int = 0  # trials on one device at most
    trial_bytes: int = 0  # a trial's share of a device, with its context; 0: not known
    environment: Mapping[str, str] = field(default_factory=dict)  # of a worker, before CUDA


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the trials of a search run."""

    nodes: tuple[NodeSlots, ...]

    @property
    def slots(self) -> int:
        """Trials at a time."""
        return sum(node.slots for node in self.nodes)

    @property
    def on_gpus(self) -> bool:
        """Whether networks train on devices; nodes without one then have no slots."""
        return any(node.gpu_fraction for node in self.nodes)


def lay_out(
    nodes: Sequence[Node],
    card: Card | None,
    *,
    limit: int | None = None,
    mps: bool = False,
    use_gpus: bool = True,
) -> Layout:
    """Slots and shares.

    Args:
        nodes: what there is.
        card: the emulated card; without one a trial has a device for itself.
        limit: trials at a time over all nodes. On CPUs it is met even if it shares them; devices
            never hold more than fits.
        mps: hold each worker to its share by MPS.
        use_gpus: False for a search that has nothing to train on one.

    Raises:
        LayoutError: no node can run a trial, or MPS is asked for where its daemon does not run.
    """
    with_gpus = [node for node in nodes if node.survey.devices and node.cpus] if use_gpus else []
    if mps:
        _check_mps(with_gpus)
    if with_gpus:
        whole = [_on_devices(node, card, mps=mps) for node in with_gpus]
        most = [part.slots for part in whole]
    else:
        whole = [NodeSlots(node, int(node.cpus), 1.0) for node in nodes]
        most = [limit or part.slots for part in whole]
    counts = _spread(most, [part.node.cpus for part in whole], limit)
    parts = [
        NodeSlots(
            node=part.node,
            slots=count,
            cpus=cpu_share(part.node.cpus, count),
            gpu_fraction=part.gpu_fraction,
            sharing=part.sharing,
            trial_bytes=part.trial_bytes,
            environment=part.environment,
        )
        for part, count in zip(whole, counts, strict=True)
        if count
    ]
    if not parts:
        raise LayoutError("no node has a CPU for a trial: start Ray with --num-cpus 1 or more")
    return Layout(tuple(parts))


def cpu_share(cpus: float, slots: int) -> float:
    """The CPUs of one of `slots` trials: whole ones, or a fraction in Ray's steps of 1e-4.

    >>> cpu_share(16, 5), cpu_share(16, 69), cpu_share(2, 4)
    (3.0, 0.2318, 0.5)
    """
    if slots <= cpus:
        return float(cpus // slots)
    return int(cpus * 10_000 // slots) / 10_000


def _on_devices(node: Node, card: Card | None, *, mps: bool) -> NodeSlots:
    """As many trials as fit on each of its devices; the smallest counts, Ray takes any."""
    survey, count = node.survey, len(node.survey.devices)
    if card is None:
        return NodeSlots(node, count, 1.0, gpu_fraction=1.0, sharing=1)
    usable = min(node.usable_bytes())
    most = MOST_SHARING
    if survey.mps:  # the daemon's clients, the search's own processes among them
        ours = int(survey.looking_bytes > 0) + int(node.driver_bytes > 0)
        most = min(most, MPS_CLIENTS - ours)
    fraction = gpu_fraction(card, usable, survey.context_bytes, most=most)
    sharing = int(1 / fraction)
    trial_bytes = min(card.limit_bytes + survey.context_bytes, usable)  # a smaller device has less
    return NodeSlots(
        node,
        sharing * count,
        1.0,
        gpu_fraction=fraction,
        sharing=sharing,
        trial_bytes=trial_bytes,
        environment=mps_limits(trial_bytes, sharing) if mps else {},
    )


def _check_mps(nodes: Sequence[Node]) -> None:
    without = [node.host for node in nodes if not node.survey.mps]
    if without or not nodes:
        where = f"on {', '.join(without)}" if without else "here, and there is no GPU"
        raise LayoutError(
            f"--mps: no MPS control daemon runs {where}: start `nvidia-cuda-mps-control -d` "
            "there, or leave --mps out"
        )


def _spread(most: Sequence[int], cpus: Sequence[float], limit: int | None) -> list[int]:
    """The slots of each node under a limit over all: one by one, to whom leaves it most CPUs."""
    if limit is None:
        return list(most)
    counts = [0] * len(most)
    for _ in range(limit):
        open_nodes = [i for i, n in enumerate(counts) if n < most[i] and cpus[i] > 0]
        if not open_nodes:
            break
        counts[max(open_nodes, key=lambda i: (cpus[i] / (counts[i] + 1), -i))] += 1
    return counts
