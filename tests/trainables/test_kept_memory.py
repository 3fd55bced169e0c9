"""What a step frees is there for the next one: its pages are not mapped and cleared anew."""

import platform
import subprocess
import sys

import pytest

STEPS, MEBIBYTES, PAGE = 50, 8, 4096
FAULTS = f"""
import resource, torch
from headhunt.trainables.worker import settle

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    torch.ones({MEBIBYTES} * 2**18).add(1.0).sum()

if {{settled}}:
    limits = settle(torch.device("cpu"), 1)
for _ in range(5):
    step()
before = faults()
for _ in range({STEPS}):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its own way")
def test_a_settled_process_keeps_the_memory_that_a_step_has_freed():
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS.format(settled=settled)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for settled in (False, True)
    ]

    pages = STEPS * MEBIBYTES * 2**20 // PAGE
    assert counts[0] > pages / 4  # or this test would show nothing
    assert counts[1] < pages / 20
