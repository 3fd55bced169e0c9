"""What a search imports before it has looked at anything: seconds of every start."""

import subprocess
import sys

import pytest

SLOW = ("sklearn", "scipy.stats", "transformers", "torch._dynamo", "sympy")
COMMAND = "import sys, headhunt.search.cli.search, headhunt.search.launch, headhunt.search.run"


@pytest.fixture(scope="module")
def imported():
    said = subprocess.run(
        [sys.executable, "-c", f"{COMMAND}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.split()


@pytest.mark.parametrize("module", SLOW)
def test_a_driver_begins_without(module, imported):
    assert "torch" in imported
    assert module not in imported
