"""A worker that stays warm under the cap: memory goes back, and running out of it ends one trial.

The device is played (`played_device`); the worker, the runner and the training loop are real.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from headhunt.spaces.configs import Optimisation, ScratchConfig
from headhunt.spaces.record import State
from headhunt.trainables import trainable
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.card.cap import Cap, ShortOfMemoryError
from headhunt.trainables.card.cards import MIB
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.trainable import (
    ASSIGNMENTS,
    PLAYED_GPUS,
    STEPS,
    HeadhuntTrainable,
    NoGpuError,
    steps_from_json,
)
from headhunt.trainables.training.states import StateFolder

from .played_device import PlayedDevice

LIMIT = 8 * MIB
SMALL = ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=Optimisation())
LARGE = replace(SMALL, width=256, feed_forward=4096)  # its feed-forward weights alone fill 8 MiB


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
        return told_by(self.worker)


def told_by(worker):
    (step,) = steps_from_json(worker.step()[STEPS]).values()
    return step


def config_of(config, number):
    assignment = Assignment(number=number, config=config, seed=3)
    return {ASSIGNMENTS: json.dumps([assignment.to_json()])}


@pytest.fixture
def materials(tmp_path):
    return Materials(
        settings=TrainingSettings(max_epochs=2, patience=0, batch_limit=8, max_tokens=32),
        states=StateFolder(tmp_path / "trials"),
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


# --- a share of a GPU ------------------------------------------------------------------------


@pytest.fixture
def worker(small_corpus, materials, monkeypatch):
    """Makes the real worker with a share of a GPU, which only Ray has seen."""
    resources = SimpleNamespace(required_resources={"CPU": 1.0, "GPU": 0.25})
    monkeypatch.setattr(HeadhuntTrainable, "trial_resources", resources)
    monkeypatch.setattr(trainable.ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def make():
        worker = HeadhuntTrainable.__new__(HeadhuntTrainable)
        without_card = replace(materials, limit_bytes=None)
        worker.setup(config_of(SMALL, 0), corpus=small_corpus, materials=without_card)
        return worker

    return make


def test_a_worker_whose_gpu_cuda_does_not_see_says_so_and_trains_nothing(worker):
    begun = worker()

    told = told_by(begun)

    assert (told.report, told.outcome.state) == (None, State.RUNNING)
    assert told.outcome.reason.endswith("and CUDA sees no GPU there")
    with pytest.raises(NoGpuError, match="CUDA sees no GPU there"):
        begun.step()


def test_a_played_gpu_is_no_gpu_in_the_record(worker, monkeypatch):
    monkeypatch.setenv(PLAYED_GPUS, "1")

    told = told_by(worker())

    assert told.report
    assert (told.outcome.device, told.outcome.device_fraction) == ("cpu", 0.0)
