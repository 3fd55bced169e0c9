"""What a trial is measured to take on a CPU, beside what the footprint says of it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmarks.footprint_memory import (
    CLASSES,
    ENCODER,
    NOTES,
    TOKENS,
    configs,
    footprinter,
    network_of,
)
from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.card.cap import TooLargeError
from headhunt.trainables.card.gauge import DeviceGauge, Gauge, HostGauge
from headhunt.trainables.card.memory import WORKSPACE_BYTES
from headhunt.trainables.models.classifier import as_read
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.loop import Task, train

CPU = torch.device("cpu")
CONFIGS = dict(configs())
# Of each kind one; with several micro-batches a step, and where the update is the peak.
SOME = [
    "frozen, linear, max pooling",
    "transformer, width 32, adamw",
    "moe, width 64, sgd",
    "full, adamw",
    "last_k, adamw, 4 notes x 2, checkpointing",
    "lora, adamw, 2 notes x 4",
]


def task_of(config, training=3 * NOTES):
    """Notes of all lengths up to the longest, of which validation has some."""
    count = training + NOTES
    lengths = TOKENS - np.arange(count) % training
    frozen = isinstance(config, HeadConfig) and config.mode is Mode.FROZEN
    rows = (
        torch.zeros(int(lengths.sum()), ENCODER["width"], dtype=torch.float16)
        if frozen
        else torch.full((int(lengths.sum()),), 5, dtype=torch.int32)
    )
    order = np.arange(count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    inputs = as_read(config, Ragged(rows, offsets))
    return Task(inputs, order % CLASSES, CLASSES, order[:training], order[training:])


def reports_of(config, gauge, *, epochs=1, training=3 * NOTES, checkpoint=None):
    settings = TrainingSettings(max_epochs=2, patience=0, batch_limit=NOTES, max_tokens=TOKENS)
    running = train(
        lambda: network_of(config),
        task_of(config, training),
        config.optimisation,
        settings,
        seed=0,
        device=CPU,
        checkpoint=checkpoint,
        gauge=gauge,
    )
    return [next(running) for _ in range(epochs)]


def peak_of(epoch):
    assert epoch.report.peak_bytes
    return epoch.report.peak_bytes


@pytest.mark.parametrize("name", SOME)
def test_the_measured_peak_is_the_footprints_to_half_a_percent(name):
    config = CONFIGS[name]
    footprint = footprinter()(config)
    assert footprint

    (epoch,) = reports_of(config, HostGauge(None))

    alone = footprint.peak_bytes - footprint.workspace_bytes
    if footprint.encoding_bytes:  # comes before the training and is not measured in it
        alone = sum(
            (
                footprint.parameter_bytes,
                footprint.gradient_bytes,
                footprint.optimiser_bytes,
                footprint.activation_bytes,
                footprint.rounding_bytes,
            )
        )
    assert peak_of(epoch) - WORKSPACE_BYTES == pytest.approx(alone, rel=0.005, abs=2048)


def test_the_optimisers_state_counts_though_the_first_step_begins_without_it():
    config = CONFIGS["full, adamw"]

    one_step, several = (
        peak_of(*reports_of(config, HostGauge(None), training=training))
        for training in (NOTES, 3 * NOTES)
    )

    assert one_step == pytest.approx(several, rel=0.01)


@pytest.mark.parametrize("name", ["moe, width 64, sgd", "lora, adamw, 2 notes x 4"])
def test_measuring_changes_no_number(name):
    with_gauge, without = (
        reports_of(CONFIGS[name], gauge, epochs=2) for gauge in (HostGauge(10**12), Gauge())
    )

    for one, other in zip(with_gauge, without, strict=True):
        same = {key for key in asdict(one.report) if not key.endswith(("_seconds", "_bytes"))}
        assert {k: asdict(one.report)[k] for k in same} == {
            k: asdict(other.report)[k] for k in same
        }
    ends = with_gauge[-1].weights(), without[-1].weights()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[1])


def test_the_peak_of_the_first_epoch_is_that_of_all_and_a_resume_keeps_it():
    config = CONFIGS["transformer, width 32, adamw"]
    first, second = reports_of(config, HostGauge(None), epochs=2)

    # The stored state is of the second epoch; what counts here is the report beside it.
    checkpoint = replace(first.checkpoint("x"), reports=(first.report,))
    (again,) = reports_of(config, HostGauge(1), checkpoint=checkpoint)  # measures nothing any more

    assert peak_of(first) == peak_of(second) == peak_of(again)


def test_a_trial_over_its_limit_is_stopped_in_its_first_epoch_with_its_excess():
    config = CONFIGS["full, adamw"]
    (epoch,) = reports_of(config, HostGauge(None))

    with pytest.raises(TooLargeError) as caught:
        reports_of(config, HostGauge(peak_of(epoch) - 4096))

    assert caught.value.excess_bytes == 4096


def test_a_trial_at_its_limit_is_not_stopped():
    config = CONFIGS["transformer, width 32, adamw"]
    (epoch,) = reports_of(config, HostGauge(None))

    (again,) = reports_of(config, HostGauge(peak_of(epoch)))

    assert peak_of(again) == peak_of(epoch)


@pytest.mark.parametrize(("accumulation", "expected"), [(1, {2}), (2, {1, 2}), (3, {2})])
def test_the_largest_batch_is_watched_and_the_largest_beside_others_gradients(
    accumulation, expected
):
    lengths = np.array([3, 5, 9, 1])
    batches = [np.array([place]) for place in range(4)]

    assert HostGauge(None).choose(batches, lengths, accumulation) == expected


def test_the_largest_batch_counts_its_padding_and_the_pairs_of_its_tokens():
    lengths = np.array([9, 4, 4, 4, 5, 1])
    long, many, padded = np.array([0]), np.array([1, 2, 3]), np.array([4, 5, 5])

    assert HostGauge(None).choose([many, padded], lengths, 1) == {1}
    assert HostGauge(None).choose([many, long], lengths, 1) == {0, 1}


def test_a_later_epoch_is_watched_where_it_is_larger_than_all_before():
    lengths, gauge = np.array([9, 4, 4, 5]), HostGauge(None)
    small, large = [np.array([1, 2])], [np.array([0, 3])]

    chosen = [gauge.choose(batches, lengths, 1) for batches in (small, small, large, small)]

    assert chosen == [{0}, frozenset(), {0}, frozenset()]


def test_a_trial_whose_longest_notes_meet_in_its_second_epoch_reports_what_that_took():
    config = CONFIGS["transformer, width 32, adamw"]
    watched, whole = HostGauge(None), Always(None)

    told, truth = (
        [peak_of(epoch) for epoch in reports_of(config, gauge, epochs=2, training=NOTES + 1)]
        for gauge in (watched, whole)
    )

    assert told == truth


class Always(HostGauge):
    """Watches every micro-batch."""

    def choose(self, batches, lengths, accumulation):
        del lengths, accumulation
        return frozenset(range(len(batches)))


class Meter:
    def begin(self):
        pass

    def joules(self):
        return 12.5


class Device:
    """Its allocator's peaks grow from epoch to epoch."""

    def __init__(self):
        self.peaks = iter([(100, 200), (90, 250)])

    def peak_bytes(self):
        return next(self.peaks)


def test_a_gpu_tells_its_allocators_peaks_so_far_and_the_energy_of_each_epoch():
    config = CONFIGS["transformer, width 32, adamw"]

    epochs = reports_of(config, DeviceGauge(Device(), Meter()), epochs=2)  # type: ignore[arg-type]

    assert [(e.report.peak_bytes, e.report.reserved_bytes) for e in epochs] == [
        (100, 200),
        (100, 250),
    ]
    assert [e.report.energy_joules for e in epochs] == [12.5, 12.5]
