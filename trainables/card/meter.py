"""What a GPU's own counter says of the energy that a trial took.

NVML counts per board, not per process, so a trial is given the share of the device that it held.
Without NVML, with a board that has no counter (small Quadros), or in a container that hides the
device, there is no figure, and nothing else changes.
"""

import torch

from .nvml import Board, board

_MILLI = 1000


class EnergyMeter:
    """Reads one board's counter; None wherever it cannot be read."""

    def __init__(self, board: Board, share: float) -> None:
        """Prepare.

        Args:
            board: whose counter it is.
            share: of the device that the trial holds, in (0, 1].
        """
        self._board, self._share = board, share
        self._begun: int | None = None

    def begin(self) -> None:
        """Count from here."""
        self._begun = self._board.millijoules()

    def joules(self) -> float | None:
        """The trial's share of what the board has taken since `begin`."""
        now = self._board.millijoules()
        if now is None or self._begun is None or now < self._begun:  # a driver that was loaded anew
            return None
        return (now - self._begun) / _MILLI * self._share


def energy_meter(device: torch.device, share: float) -> EnergyMeter | None:
    """The meter of this device; None where there is none."""
    if device.type != "cuda" or not share:
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return meter_of(str(uuid), share) if uuid else None


def meter_of(uuid: str, share: float) -> EnergyMeter | None:
    """The meter of the board with this UUID; None where NVML or the board is not to be seen."""
    found = board(uuid)
    return EnergyMeter(found, share) if found else None
