"""What a trial yields while it runs, on a worker or on a virtual clock."""

from dataclasses import dataclass

from ..spaces.record import EpochReport, Outcome


@dataclass(frozen=True, slots=True)
class Step:
    """An epoch's report, the trial's end, or both at once.

    With neither it is the last that is heard of the trial's process, which then ends: the outcome's
    reason says why, and the trial is to be tried again.
    """

    report: EpochReport | None
    outcome: Outcome  # its state is running while the trial goes on
    problem: str = ""  # of a disk: not of this trial alone, so that the search must end
