"""Section 1: which device, which versions, and what a process takes outside the allocator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headhunt.trainables.card.cards import LARGE_RESERVE, MIB, SMALL_RESERVE

from .machine import Context, Machine
from .sections import Deadline, Promise, table


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found."""

    told: list[tuple[str, str]]
    context: Context | None
    why_not: str  # where the context could not be measured
    reserve_bytes: int  # that a card of this memory is given for it

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield from table(["what", "found"], self.told)
        yield ""
        if self.context is None:
            yield f"The context could not be measured: {self.why_not}"
            return
        begun, trained = self.context.begun_bytes / MIB, self.context.trained_bytes / MIB
        yield (
            f"A process takes {begun:.0f} MiB outside the allocator with its first tensor, and "
            f"{trained:.0f} MiB after a training step. A card of this memory is given a reserve of "
            f"{self.reserve_bytes / MIB:.0f} MiB."
        )

    def promises(self) -> Sequence[Promise]:
        """The reserve is for this."""
        if self.context is None:
            return [Promise("the reserve covers the context", None, self.why_not)]
        taken = self.context.trained_bytes
        return [
            Promise(
                "the reserve covers the context",
                taken <= self.reserve_bytes,
                f"{taken / MIB:.0f} of {self.reserve_bytes / MIB:.0f} MiB",
            )
        ]


def facts(machine: Machine, deadline: Deadline) -> Facts:
    """Ask the device."""
    del deadline
    total = machine.functions.total_bytes()
    reserve = SMALL_RESERVE if total <= 16 * 1024 * MIB else LARGE_RESERVE
    told = machine.facts()
    try:
        return Facts(told, machine.context(), "", reserve)
    except Exception as error:  # the rest of the section is worth telling
        return Facts(told, None, f"{type(error).__name__}: {error}", reserve)
