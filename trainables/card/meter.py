"""What a GPU's own counter says of the energy that a trial took.

NVML counts per board, not per process, so a trial is given the share of the device that it held.
Without NVML, with a board that has no counter (small Quadros), or in a container that hides the
device, there is no figure, and nothing else changes.
"""

from importlib import import_module
from typing import Any

import torch

_MILLI = 1000


class EnergyMeter:
    """Reads one board's counter; None wherever it cannot be read."""

    def __init__(self, nvml: Any, handle: Any, share: float) -> None:
        """Prepare.

        Args:
            nvml: the module `pynvml`, initialised.
            handle: of the board.
            share: of the device that the trial holds, in (0, 1].
        """
        self._nvml, self._handle, self._share = nvml, handle, share
        self._begun: int | None = None

    def begin(self) -> None:
        """Count from here."""
        self._begun = self._counter()

    def joules(self) -> float | None:
        """The trial's share of what the board has taken since `begin`."""
        now = self._counter()
        if now is None or self._begun is None or now < self._begun:  # a driver that was loaded anew
            return None
        return (now - self._begun) / _MILLI * self._share

    def _counter(self) -> int | None:
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)  # mJ
        except (self._nvml.NVMLError, AttributeError):
            return None


def energy_meter(device: torch.device, share: float) -> EnergyMeter | None:
    """The meter of this device; None where there is none."""
    if device.type != "cuda" or not share:
        return None
    # CUDA_VISIBLE_DEVICES renumbers the devices, and NVML does not follow it: the UUID does.
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return meter_of(str(uuid), share) if uuid else None


def meter_of(uuid: str, share: float) -> EnergyMeter | None:
    """The meter of the board with this UUID; None where NVML or the board is not to be seen."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
    try:
        nvml.nvmlInit()
        return EnergyMeter(nvml, nvml.nvmlDeviceGetHandleByUUID(name), share)
    except (nvml.NVMLError, AttributeError):
        return None
