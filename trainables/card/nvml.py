"""NVML: what a GPU's board tells without a context on it: memory, power and energy.

The package nvidia-ml-py and the driver bring it, or do not, and a board need not tell everything:
what is not to be had is None. Boards are found by UUID, as NVML's own numbers do not follow
CUDA_VISIBLE_DEVICES.
"""

from importlib import import_module
from typing import Any


class Board:
    """One GPU, or a slice of one, as NVML sees it."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def total_bytes(self) -> int | None:
        """Its memory."""
        return _whole(getattr(self._ask("nvmlDeviceGetMemoryInfo"), "total", None))

    def free_bytes(self) -> int | None:
        """Of it, what nobody holds."""
        return _whole(getattr(self._ask("nvmlDeviceGetMemoryInfo"), "free", None))

    def millijoules(self) -> int | None:
        """Taken since the driver was loaded."""
        return _whole(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def watts(self) -> float | None:
        """The power that it is held to."""
        milliwatts = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        return None if milliwatts is None else milliwatts / 1000

    def _ask(self, function: str) -> Any:
        return _told(self._nvml, function, self._handle)


def board(uuid: object) -> Board | None:
    """The board with this UUID, in CUDA's or NVML's spelling."""
    name = str(uuid)
    if not name.startswith(("GPU-", "MIG-")):
        name = f"GPU-{name}"
    nvml = _library()
    handle = _told(nvml, "nvmlDeviceGetHandleByUUID", name)
    return None if handle is None else Board(nvml, handle)


def driver_version() -> str | None:
    """Of the driver."""
    told = _told(_library(), "nvmlSystemGetDriverVersion")
    return told.decode() if isinstance(told, bytes) else told


def _library() -> Any:
    """The module, initialised."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _told(nvml: Any, function: str, *given: Any) -> Any:
    if nvml is None:
        return None
    try:
        return getattr(nvml, function)(*given)
    except (nvml.NVMLError, AttributeError):  # not on this board, or not in this version
        return None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
