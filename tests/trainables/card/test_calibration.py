"""Calibrating this processor for real, quickly; the GPU's own words with a stand-in."""

import math
from types import SimpleNamespace

import pytest
import torch

from headhunt.trainables.card import calibration
from headhunt.trainables.card.calibration import calibrate, launch_seconds, real_card
from headhunt.trainables.card.cards import CARDS, MIB, CardError, card_toml, load_card

GIB = 1024 * MIB


@pytest.fixture
def quick(monkeypatch):
    """Micro-benchmarks of a few runs each."""
    monkeypatch.setattr(calibration, "RUN_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "LEAST_RUNS", 2)
    monkeypatch.setattr(calibration, "PRODUCTS", ((256, 64, 64),))
    monkeypatch.setattr(calibration, "STREAM_MIB", (1,))
    monkeypatch.setattr(calibration, "ROWS", 64)


@pytest.fixture
def gpu(monkeypatch):
    """Plays a machine with one GPU: what the driver tells of it, and its power limit."""

    def play(watts=None, **properties):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        found = SimpleNamespace(**properties)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
        monkeypatch.setattr(calibration, "board_watts", lambda _: watts)

    return play


@pytest.mark.usefixtures("quick")
def test_a_calibrated_processor_is_a_card_file_that_can_be_read_back(tmp_path):
    steps = []

    card = calibrate(15.0, steps.append)

    assert steps == ["matrix products", "bandwidth", "launches", "single operations"]
    assert (card.flops_share, card.bandwidth_share, card.watts) == (1.0, 1.0, 15.0)
    assert card.flops > 1e6
    assert card.bandwidth > 1e6
    assert 0 < card.launch_seconds < 1
    assert all(0 < rate < math.inf for rate in card.element_rates.values())
    file = tmp_path / "this.toml"
    file.write_text(card_toml(card), encoding="utf-8")
    read = load_card(str(file))
    assert read is not None
    assert read.memory_bytes == card.memory_bytes
    assert read.flops == pytest.approx(card.flops, rel=1e-5)
    assert dict(read.element_rates) == pytest.approx(dict(card.element_rates), rel=1e-3)


@pytest.mark.usefixtures("quick")
def test_it_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()

    calibrate(15.0)

    assert torch.get_num_threads() == before


def test_a_processor_does_not_tell_its_watts():
    with pytest.raises(CardError, match="say it with --watts"):
        calibrate()


@pytest.mark.usefixtures("quick")
def test_starting_an_operation_costs_something_small():
    assert 0 < launch_seconds(torch.device("cpu")) < 1e-2


# --- what a GPU tells ------------------------------------------------------------------------


def test_without_a_gpu_auto_says_what_to_do_instead():
    with pytest.raises(CardError, match="there is none: name a card, or measure"):
        load_card("auto")


def test_a_card_of_the_table_is_recognised_and_keeps_its_own_memory(gpu):
    gpu(name="Tesla T4", total_memory=int(14.6 * GIB), major=7, minor=5, multi_processor_count=40)

    card = real_card()

    assert (card.name, card.watts, card.flops) == ("Tesla T4", 70, CARDS["t4"].flops)
    assert card.memory_bytes == int(14.6 * GIB)
    assert card.source.endswith("but memory: read from the device")


@pytest.mark.parametrize(
    ("name", "gibibytes", "expected"),
    [
        ("Quadro P620", 2, "p620"),
        ("NVIDIA GeForce GTX 1050 Ti", 3.94, "gtx1050ti"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "a100"),
        ("NVIDIA H100 80GB HBM3", 79.2, "h100"),
        ("NVIDIA H200", 139.8, "h200"),
        ("NVIDIA H100 PCIe", 79.2, None),  # slower than the SXM
        ("NVIDIA GeForce GTX 1650 Ti", 3.94, None),
        ("NVIDIA GeForce RTX 3060 Ti", 8, None),
    ],
)
def test_the_drivers_name_is_told_from_others_like_it(gpu, name, gibibytes, expected):
    gpu(name=name, total_memory=int(gibibytes * GIB), major=3, minor=0, multi_processor_count=1)

    if expected is None:
        with pytest.raises(CardError, match="does not tell its"):
            real_card()
    else:
        assert real_card().name == CARDS[expected].name


def test_an_unknown_card_is_worked_out_from_its_clocks(gpu):
    gpu(
        watts=300.0,
        name="Another 4090",
        total_memory=24 * GIB,
        major=8,
        minor=9,
        multi_processor_count=128,
        clock_rate=2_520_000,  # kHz
        memory_clock_rate=10_501_000,
        memory_bus_width=384,  # bits
    )

    card = real_card()

    assert card.flops == pytest.approx(82.6e12, rel=0.01)  # 128 cores, two FLOPs a clock
    assert card.bandwidth == pytest.approx(1008e9, rel=0.01)
    assert (card.watts, card.limit_bytes < card.memory_bytes) == (300.0, True)


def test_a_card_that_tells_too_little_is_to_be_measured(gpu):
    gpu(name="Odd", total_memory=8 * GIB, major=3, minor=0, multi_processor_count=8)

    with pytest.raises(
        CardError, match=r"Odd does not tell its clock rate, .*power, cores: measure it"
    ):
        real_card()
