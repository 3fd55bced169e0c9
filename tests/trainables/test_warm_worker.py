"""A worker that stays warm under the cap: memory goes back, and running out of it ends one trial.

The device is played by a dispatch mode that adds up the storages alive on the CPU and refuses what
exceeds its limit, in CUDA's own words; the worker, the runner and the training loop are real.
"""

import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from headhunt.spaces.configs import Optimisation, ScratchConfig
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.card.cap import Cap, ShortOfMemoryError
from headhunt.trainables.card.cards import MIB
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.trainable import ASSIGNMENT, STEP, HeadhuntTrainable, step_from_json

LIMIT = 8 * MIB
SMALL = ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=Optimisation())
LARGE = replace(SMALL, width=256, feed_forward=4096)  # its feed-forward weights alone fill 8 MiB


class PlayedDevice(TorchDispatchMode):
    """A GPU of 64 MiB: what is alive on the CPU while it is entered stands in its memory."""

    def __init__(self):
        super().__init__()
        self.alive: dict[int, int] = {}  # id of a storage -> bytes
        self.most = self.others = 0
        self.limit = self.total = 64 * MIB
        self.at_release: list[int] = []  # bytes still held when a trial begins

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in (t for t in tree_iter(out) if isinstance(t, Tensor)):
            if tensor.device.type == "cpu" and tensor.dtype is not torch.int32:  # the mapped notes
                self._keep(tensor.untyped_storage())
        return out

    def _keep(self, storage):
        size = storage.nbytes()
        if id(storage) in self.alive or size == 0:
            return
        if self.held_bytes() + size > min(self.limit, self.total - self.others):
            asked = f"{size / MIB:.2f} MiB"
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has"
            )
        self.alive[id(storage)] = size
        weakref.finalize(storage, self.alive.pop, id(storage), None)
        self.most = max(self.most, self.held_bytes())

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - self.others - self.held_bytes()

    def held_bytes(self):
        return sum(self.alive.values())

    def peak_bytes(self):
        return self.most, self.most

    def forget_peak(self):
        self.most = self.held_bytes()

    def release(self):
        self.at_release.append(self.held_bytes())

    def set_limit(self, limit_bytes):
        self.limit = limit_bytes


class Bench:
    """The real worker on a played device, without Ray."""

    def __init__(self, corpus, materials):
        self.device = PlayedDevice()
        self.worker = HeadhuntTrainable.__new__(HeadhuntTrainable)
        self.worker._trial_info = None  # Tune's: which resources it holds
        self.worker.setup(config_of(SMALL, 0), corpus=corpus, materials=materials)
        self.worker._cap = Cap(materials.limit_bytes, self.device)

    def run(self, config, number):
        """The steps of one assignment."""
        with self.device:
            assert self.worker.reset_config(config_of(config, number))
            steps = [self.step()]
            while steps[-1].outcome.state is State.RUNNING:
                steps.append(self.step())
        return steps

    def step(self):
        return step_from_json(self.worker.step()[STEP])


def config_of(config, number):
    assignment = Assignment(number=number, config=config, seed=3)
    return {ASSIGNMENT: assignment.to_json()}


@pytest.fixture
def materials(tmp_path):
    return Materials(
        settings=TrainingSettings(max_epochs=2, patience=0, batch_limit=8, max_tokens=32),
        trials_dir=tmp_path / "trials",
        cache=cache_dir(tmp_path / "store"),
        features={},
        limit_bytes=LIMIT,
    )


@pytest.fixture
def bench(small_corpus, materials):
    return Bench(small_corpus, materials)


def test_a_trial_too_large_for_the_card_is_infeasible_and_the_worker_trains_the_next(bench):
    before, refused, after = (
        bench.run(config, number) for number, config in enumerate([SMALL, LARGE, SMALL])
    )

    (end,) = refused
    assert end.report is None
    assert end.outcome.state is State.INFEASIBLE
    assert end.outcome.reason.startswith("measured: needs ")
    assert end.outcome.reason.endswith(" MiB more than the 8 MiB that the card leaves")
    assert 0 < end.outcome.excess_bytes <= 4 * MIB  # that one matrix, over what stood there
    for steps in (before, after):
        assert [s.outcome.state for s in steps] == [State.RUNNING, State.COMPLETE]
    assert [s.report.f1 for s in before] == [s.report.f1 for s in after]


def test_every_trial_begins_with_the_memory_of_the_one_before_given_back(bench):
    for number, config in enumerate([SMALL, LARGE, SMALL, LARGE, SMALL]):
        bench.run(config, number)

    assert bench.device.at_release == [0] * 5
    assert bench.device.limit == LIMIT


def test_a_trial_that_was_stopped_between_two_epochs_gives_its_memory_back_too(bench):
    with bench.device:
        bench.worker.reset_config(config_of(SMALL, 0))
        bench.step()
        held = bench.device.held_bytes()
    bench.run(SMALL, 1)

    assert held > 10_000
    assert bench.device.at_release == [0, 0]


def test_each_trial_tells_its_own_peak(bench):
    large = replace(SMALL, width=64, feed_forward=64)

    peaks = [bench.run(c, n)[-1].report.peak_bytes for n, c in enumerate([SMALL, large, SMALL])]

    assert peaks[0] == peaks[2] < peaks[1]


def test_memory_that_others_took_ends_the_process_and_not_the_trial(bench):
    bench.device.others = bench.device.total - MIB // 8

    with pytest.raises(ShortOfMemoryError, match="out of memory on the device, 0 MiB of it free"):
        bench.run(SMALL, 0)


def test_without_a_card_the_device_itself_is_the_limit(small_corpus, materials):
    bench = Bench(small_corpus, replace(materials, limit_bytes=None))
    bench.device.others = 60 * MIB

    (end,) = bench.run(LARGE, 0)

    assert end.outcome.state is State.INFEASIBLE
    assert end.outcome.reason.endswith("that the device had free")
