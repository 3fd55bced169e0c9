"""The estimate against the allocator's own record; the whole table is the benchmark's."""

import pytest

from benchmarks.footprint_memory import (
    BOUND,
    compare_one,
    configs,
    footprinter,
    measured_encoding,
)
from headhunt.trainables.card.footprint import WORKSPACE_BYTES

CASES = dict(configs())


def footprint_of(name):
    footprint = footprinter()(CASES[name])
    assert footprint is not None
    return footprint


CHOSEN = [
    *(name for name in CASES if name.startswith("frozen, ")),  # all heads and poolings
    "moe, width 32, adamw",
    "transformer, width 128, adamw",
    "last_k of 1, checkpointing",
    "full, adafactor",
    "full, adamw, 4 notes x 2, checkpointing",
    "lora, adamw, checkpointing",
]


@pytest.mark.parametrize("name", CHOSEN)
def test_the_estimate_is_within_two_percent_of_what_was_allocated(name):
    compared = compare_one(name, CASES[name])

    assert abs(compared.error) < BOUND, compared


def test_encoding_is_within_two_percent_of_what_was_allocated_too():
    estimated = footprint_of("frozen, Linear()").encoding_bytes

    assert estimated == pytest.approx(measured_encoding()[0], rel=BOUND)


def test_parts_add_up_to_the_peak():
    footprint = footprint_of("full, adamw")

    parts = ("parameter", "gradient", "optimiser", "activation", "rounding", "workspace")
    assert footprint.peak_bytes == sum(getattr(footprint, f"{p}_bytes") for p in parts)
    assert footprint.workspace_bytes == WORKSPACE_BYTES
    assert footprint.encoding_bytes == 0


@pytest.mark.parametrize("mode", ["last_k", "full", "lora"])
def test_checkpointing_needs_less_memory_and_more_work(mode):
    plain = footprint_of(f"{mode}, adamw")
    recomputed = footprint_of(f"{mode}, adamw, checkpointing")

    assert recomputed.peak_bytes < plain.peak_bytes
    assert recomputed.step_flops > plain.step_flops


def test_accumulation_costs_what_the_large_batch_costs_in_less_memory():
    whole = footprint_of("full, adamw")
    parts = footprint_of("full, adamw, 2 notes x 4")

    assert parts.step_flops == pytest.approx(whole.step_flops, rel=0.01)
    assert parts.peak_bytes < whole.peak_bytes
    assert parts.gradient_bytes > 0
