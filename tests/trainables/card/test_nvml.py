import sys
from types import SimpleNamespace

import pytest

from headhunt.trainables.card.calibration import board_watts
from headhunt.trainables.card.nvml import board, driver_version

from .played_nvml import PlayedNvml


@pytest.fixture
def nvml(monkeypatch):
    nvml = PlayedNvml("GPU-6a1b")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


@pytest.mark.parametrize("uuid", ["6a1b", "GPU-6a1b"])
def test_a_board_is_found_by_its_uuid_in_either_spelling(nvml, uuid):
    found = board(uuid)

    assert found
    assert (found.total_bytes(), found.free_bytes()) == (nvml.total, nvml.free)
    assert (found.millijoules(), found.watts()) == (0, 40.0)


def test_a_slice_of_a_board_has_a_spelling_of_its_own(nvml):
    nvml.uuid = "MIG-6a1b"

    assert board("MIG-6a1b")


def test_the_watts_are_those_of_the_device_that_cuda_shows_and_not_of_the_first_board(nvml):
    assert board_watts(SimpleNamespace(uuid="6a1b")) == 40.0
    assert board_watts(SimpleNamespace(uuid="another")) is None
    assert board_watts(SimpleNamespace()) is None


@pytest.mark.parametrize(
    ("fails", "method"),
    [
        ("memory", "total_bytes"),
        ("memory", "free_bytes"),
        ("energy", "millijoules"),
        ("power", "watts"),
    ],
)
def test_what_a_board_does_not_tell_is_none(nvml, fails, method):
    nvml.fails.add(fails)
    found = board("6a1b")

    assert found
    assert getattr(found, method)() is None


@pytest.mark.parametrize("fails", ["init", "handle"])
def test_without_a_driver_or_the_board_there_is_none(nvml, fails):
    nvml.fails.add(fails)

    assert board("6a1b") is None


def test_without_the_package_nothing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed

    assert board("6a1b") is None
    assert driver_version() is None


def test_the_drivers_version_is_text(nvml):
    assert driver_version() == "580.1"
