"""The clock of the micro-benchmarks; their figures are the benchmarks'."""

import pytest
import torch

from headhunt.trainables.card import calibration


class PlayedClock:
    """Of a GPU: what was asked of it in order, and 40 ms between any two events."""

    def __init__(self):
        self.asked = []

    def Event(self, enable_timing):  # as torch names it
        assert enable_timing
        return self

    def record(self):
        self.asked.append("event")

    def elapsed_time(self, other):
        assert other is self
        return 40.0

    def _sleep(self, cycles):
        assert cycles > 0
        self.asked.append("sleep")

    def synchronize(self, device):
        assert device.type == "cuda"
        self.asked.append("wait")


@pytest.fixture
def clock(monkeypatch):
    clock = PlayedClock()
    monkeypatch.setattr(calibration.torch, "cuda", clock)
    monkeypatch.setattr(calibration, "RUN_SECONDS", 0)
    return clock


def test_on_a_gpu_work_is_timed_by_the_devices_clock_with_its_launches_done_beforehand(clock):
    taken = calibration.work_seconds(lambda: clock.asked.append("run"), torch.device("cuda"))

    assert taken == pytest.approx(0.040 / calibration.QUEUED_RUNS)
    once = ["wait", "sleep", "event", *["run"] * calibration.QUEUED_RUNS, "event", "wait"]
    assert clock.asked == ["run", *once * calibration.LEAST_RUNS]


def test_on_a_processor_work_is_timed_as_it_runs(monkeypatch):
    monkeypatch.setattr(calibration, "RUN_SECONDS", 0)
    runs = []

    taken = calibration.work_seconds(lambda: runs.append(1), torch.device("cpu"))

    assert (taken > 0, len(runs)) == (True, 1 + calibration.LEAST_RUNS)
