import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from headhunt.trainables.card.cards import MIB
from headhunt.trainables.card.devices import (
    USUAL_CONTEXT_BYTES,
    CudaLooks,
    Survey,
    measure_context,
    mps_limits,
    mps_runs,
    trained_process,
)

from .played_nvml import PlayedNvml


class Board:
    """A device on which a process takes a context and its allocator's share."""

    def __init__(self, context_mib=400, allocated_mib=22, noise_mib=()):
        self.free = 8192 * MIB
        self.context, self.allocated = context_mib * MIB, allocated_mib * MIB
        self.noise = list(noise_mib)  # somebody else takes it during a measurement
        self.measured = 0

    @contextmanager
    def trained(self):
        self.measured += 1
        took = self.context + self.allocated
        self.free -= took + (self.noise.pop(0) * MIB if self.noise else 0)
        yield self.allocated
        self.free += took


def test_a_context_is_what_a_training_process_takes_beside_its_allocator():
    board = Board()

    assert measure_context(lambda: board.free, board.trained) == 400 * MIB


def test_a_measurement_that_somebody_disturbed_is_made_again():
    board = Board(noise_mib=[5000, -3000])

    assert measure_context(lambda: board.free, board.trained) == 400 * MIB
    assert board.measured == 3


def test_a_context_that_cannot_be_measured_is_the_usual_one():
    @contextmanager
    def failed():
        yield None

    noisy = Board(noise_mib=[5000] * 9)
    assert measure_context(lambda: noisy.free, noisy.trained) == USUAL_CONTEXT_BYTES
    assert measure_context(lambda: 0, failed) == USUAL_CONTEXT_BYTES


def test_the_process_that_is_measured_stays_while_it_is_and_ends_with_it():
    stays = [sys.executable, "-c", "import sys; print(12, flush=True); sys.stdin.read()"]

    with trained_process(stays) as allocated:
        assert allocated == 12
    with trained_process([sys.executable, "-c", "raise SystemExit(1)"]) as allocated:
        assert allocated is None
    assert subprocess.run(stays, stdin=subprocess.DEVNULL, check=False).returncode == 0


def test_a_machine_without_a_device_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    looks = CudaLooks()

    assert looks.survey() == Survey()
    assert looks.free_bytes() == ()


@pytest.fixture
def played(monkeypatch):
    """One device, which NVML and CUDA tell different things of, to see who was asked."""
    nvml = PlayedNvml("GPU-6a1b")
    found = SimpleNamespace(name="played", uuid="6a1b", total_memory=nvml.total)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (7, nvml.total))
    return nvml


def test_free_memory_is_asked_of_nvml_which_takes_no_context(played):
    assert CudaLooks().free_bytes() == (played.free,)


@pytest.mark.parametrize("fails", ["init", "handle", "memory"])
def test_without_nvml_cuda_tells_what_is_free(played, fails):
    played.fails.add(fails)

    assert CudaLooks().free_bytes() == (7,)


def test_where_nvml_fails_later_cuda_tells_from_then_on(played):
    looks = CudaLooks()
    assert looks.free_bytes() == (played.free,)

    played.fails.add("memory")
    assert looks.free_bytes() == (7,)
    played.fails.clear()
    assert looks.free_bytes() == (7,)


def test_a_slice_of_a_board_is_not_what_nvml_tells(played):
    played.total *= 4

    assert CudaLooks().free_bytes() == (7,)


def test_an_mps_daemon_is_known_by_its_pipe(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not mps_runs()

    (tmp_path / "control").touch()
    assert mps_runs()


@pytest.mark.parametrize(("trials", "percent"), [(1, "100"), (2, "50"), (3, "34"), (100, "1")])
def test_the_share_of_the_multiprocessors_is_rounded_up_to_a_percent(trials, percent):
    limits = mps_limits(100 * MIB + 1, trials)

    assert limits["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == percent
    assert limits["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=101M"
