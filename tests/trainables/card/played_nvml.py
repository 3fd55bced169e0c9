"""A stand-in for the module `pynvml`, whose one board a test sets."""

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As `pynvml` has it."""


class PlayedNvml:
    """A machine with one board."""

    NVMLError = NVMLError

    def __init__(self, uuid: str = "GPU-6a1b") -> None:
        self.uuid = uuid
        self.millijoules, self.milliwatts = 0, 40_000
        self.total, self.free = 2048 * 2**20, 2000 * 2**20
        self.fails: set[str] = set()

    def _call(self, name: str, handle: Any = "board") -> None:
        assert handle == "board"
        if name in self.fails:
            raise NVMLError(name)

    def nvmlInit(self):
        self._call("init")

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self._call("handle")
        if uuid != self.uuid:
            raise NVMLError(uuid)
        return "board"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self._call("energy", handle)
        return self.millijoules

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        self._call("power", handle)
        return self.milliwatts

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._call("memory", handle)
        return SimpleNamespace(total=self.total, free=self.free)

    def nvmlSystemGetDriverVersion(self):
        self._call("driver")
        return b"580.1"
