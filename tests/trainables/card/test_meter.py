"""Energy by NVML's counter, with a stand-in for `pynvml`: no GPU is here."""

import sys

import pytest
import torch

from headhunt.trainables.card.meter import energy_meter, meter_of

from .played_nvml import PlayedNvml

UUID = "6a1b"


@pytest.fixture
def nvml(monkeypatch):
    nvml = PlayedNvml(f"GPU-{UUID}")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def test_a_trial_has_the_share_that_it_held_of_what_the_board_took(nvml):
    meter = meter_of(UUID, share=0.25)
    assert meter
    nvml.millijoules = 5_000
    meter.begin()
    nvml.millijoules = 13_000

    assert meter.joules() == 2.0


def test_each_begin_counts_anew(nvml):
    meter = meter_of(UUID, share=1.0)
    assert meter
    for now in (1_000, 4_000):
        nvml.millijoules = now
        meter.begin()

    assert meter.joules() == 0.0


@pytest.mark.parametrize("what", ["init", "handle"])
def test_without_nvml_or_with_a_hidden_board_there_is_no_meter(nvml, what):
    nvml.fails.add(what)

    assert meter_of(UUID, share=1.0) is None


def test_without_the_package_there_is_no_meter(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed

    assert meter_of(UUID, share=1.0) is None


def test_a_board_without_a_counter_has_no_figure_and_not_zero(nvml):
    meter = meter_of(UUID, share=1.0)
    nvml.fails.add("energy")
    assert meter
    meter.begin()

    assert meter.joules() is None


@pytest.mark.parametrize("begun_late", [True, False])
def test_a_counter_that_comes_late_or_goes_back_gives_no_figure(nvml, begun_late):
    meter = meter_of(UUID, share=1.0)
    assert meter
    nvml.millijoules = 9_000
    nvml.fails = {"energy"} if begun_late else set()
    meter.begin()
    nvml.fails, nvml.millijoules = set(), 8_000

    assert meter.joules() is None


def test_a_cpu_has_no_meter(nvml):
    assert energy_meter(torch.device("cpu"), 0.0) is None
