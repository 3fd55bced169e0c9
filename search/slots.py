"""Which node the next trial is placed on, and whether it has to wait there for memory.

Devices are shared with people who do not ask us. What they hold cannot be read off a device: it
shows what is free, and our own trials take part of the rest, each less than its share. So what
others hold is kept as an estimate that moves only as far as what is seen forces it to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .layout import Layout, NodeSlots

LOOK_SECONDS = 1.0  # a look at a node's devices is good for so long
CONTEXT_GROWTH = 1.1  # kernels that are loaded later grow a context


@dataclass(frozen=True, slots=True)
class Held:
    """What a trial's worker said that it holds of its device."""

    device: str  # its UUID
    allocated_bytes: int  # by PyTorch's allocator


class Slots:
    """The slots of a search, as they are taken and given back."""

    def __init__(
        self,
        layout: Layout,
        *,
        limit: int | None,
        look: Callable[[str], Sequence[int] | None],
        clock: Callable[[], float],
    ) -> None:
        """Begin with all slots free.

        Args:
            layout: the nodes.
            limit: trials at a time over all nodes, also over those that come later.
            look: a node's free bytes by device; None if it does not answer.
            clock: seconds.
        """
        self._nodes = {part.node.id: _Place(part) for part in layout.nodes}
        self._limit, self._look, self._clock = limit, look, clock
        self._where: dict[str, _Place] = {}
        self.waits_for = ""  # which memory a trial waits for, for people; "": it does not wait

    @property
    def most(self) -> int:
        """Trials at a time, on the nodes that there are now."""
        held = self.layout.slots
        return held if self._limit is None else min(held, self._limit)

    @property
    def taken(self) -> int:
        """Trials that hold a slot."""
        return len(self._where)

    def find(self) -> NodeSlots | None:
        """A node with a free slot and the memory for it; None: wait."""
        if self._limit is not None and self.taken >= self._limit:
            return None
        free = [place for place in self._nodes.values() if place.free]
        if not free:
            if not self._nodes:
                self.waits_for = "waiting for a node: none is left"
            return None
        waits = []
        # Where a worker is warm a trial begins at once; else where most is free.
        for place in sorted(free, key=lambda p: (not p.warm, -p.free / p.part.slots)):
            short = self._short_of(place)
            if not short:
                self.waits_for = ""
                return place.part
            waits.append(short)
        self.waits_for = "waiting for memory on " + "; ".join(waits)
        return None

    def take(self, trial: str, node: str) -> None:
        """The trial now holds a slot of the node."""
        self._where[trial] = self._nodes[node]
        self._nodes[node].begin(trial)

    def told(self, trial: str, held: Held | None) -> None:
        """The trial's worker said what it holds."""
        if trial in self._where and held:
            self._where[trial].running[trial] = held

    def give_back(self, trial: str) -> None:
        """The trial has left its slot."""
        if place := self._where.pop(trial, None):
            place.end(trial)

    def node_of(self, trial: str) -> str | None:
        """The node whose slot the trial holds."""
        place = self._where.get(trial)
        return place.part.node.id if place else None

    @property
    def layout(self) -> Layout:
        """The nodes that there are now."""
        return Layout(tuple(place.part for place in self._nodes.values()))

    def has(self, node: str) -> bool:
        """Whether the node is known."""
        return node in self._nodes

    def add(self, part: NodeSlots) -> None:
        """A node has joined."""
        self._nodes.setdefault(part.node.id, _Place(part))

    def lose(self, node: str) -> None:
        """A node is gone; its trials give back what is no longer there."""
        self._nodes.pop(node, None)

    def _short_of(self, place: "_Place") -> str:
        """What the node lacks for one more trial; "" if nothing."""
        part = place.part
        if not part.trial_bytes:
            return ""
        now = self._clock()
        if now - place.looked_at >= LOOK_SECONDS or place.seen is None:
            place.seen, place.looked_at = self._look(part.node.id), now
        if place.seen is None:
            return f"{part.node.host}, which does not answer"
        device, room = place.room(place.seen)
        if room >= part.trial_bytes:
            return ""
        number = f" device {device}" if len(part.node.survey.devices) > 1 else ""
        return (
            f"{part.node.host}{number}: {_gib(max(0, room))} GiB free, "
            f"{_gib(part.trial_bytes)} needed"
        )


class _Place:
    """One node: who runs there, and what others are thought to hold of its devices."""

    def __init__(self, part: NodeSlots) -> None:
        self.part = part
        self.running: dict[str, Held | None] = {}  # None: in its first epoch, not known yet
        self.warm: list[Held | None] = []  # workers whose trial has ended; some may be gone
        self.seen: Sequence[int] | None = None
        self.looked_at = -LOOK_SECONDS
        self._uuids = [device.uuid for device in part.node.survey.devices]
        self._usable = part.node.usable_bytes()
        self._others = [0.0] * len(self._usable)

    @property
    def free(self) -> int:
        return self.part.slots - len(self.running)

    def begin(self, trial: str) -> None:
        if self.warm:
            self.warm.pop()
        self.running[trial] = None

    def end(self, trial: str) -> None:
        self.warm.append(self.running.pop(trial, None))
        del self.warm[: -max(1, self.free)]

    def room(self, free: Sequence[int]) -> tuple[int, int]:
        """The device with the least room for one more trial, and the bytes of it.

        Which of several devices Ray takes is its own choice: each must have the room.
        """
        found = [(self._room(i, free[i]), i) for i in range(len(self._usable))]
        room, device = min(found)
        return device, int(room)

    def _room(self, device: int, free: int) -> float:
        share, context = self.part.trial_bytes, self.part.node.survey.context_bytes
        known = [h.allocated_bytes for h in self.running.values() if h and self._is_on(h, device)]
        unknown = sum(held is None for held in self.running.values())
        warm = sum(
            CONTEXT_GROWTH * context + (h.allocated_bytes if h else 0)
            for h in self.warm
            if h is None or self._is_on(h, device)
        )
        least = sum(known) + len(known) * context
        most = sum(known) + len(known) * CONTEXT_GROWTH * context + unknown * share + warm
        used = self._usable[device] - free
        others = min(max(self._others[device], used - most), used - least)
        self._others[device] = others = max(0.0, others)
        # One that is full by count cannot be taken, so it need not have room.
        beside = min(len(known) + unknown, self.part.sharing - 1)
        return min(self._usable[device] - others - beside * share, free + warm)

    def _is_on(self, held: Held, device: int) -> bool:
        return held.device == self._uuids[device]


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f}"
