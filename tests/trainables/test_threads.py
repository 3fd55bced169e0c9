"""How threads wait for each other: decided before torch is imported, and the user's word counts."""

import os
import subprocess
import sys

import pytest

NAME = "OMP_WAIT_POLICY"


@pytest.mark.parametrize("module", ["search.cli", "trainables.worker"])
@pytest.mark.parametrize("given", ["", "ACTIVE"])
def test_threads_wait_without_spinning_unless_the_user_says_so(module, given):
    environment = {name: value for name, value in os.environ.items() if name != NAME}
    if given:
        environment[NAME] = given

    said = subprocess.run(
        [sys.executable, "-c", f"import os, headhunt.{module}; print(os.environ['{NAME}'])"],
        env=environment,
        capture_output=True,
        text=True,
    )

    assert said.stdout.strip() == (given or "PASSIVE")
