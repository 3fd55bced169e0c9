"""What ends the processes of an encoding: real processes, and signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SEARCH = '''
import sys, time
from pathlib import Path
import torch
from headhunt.search.side_by_side import encode_side_by_side


class Endless:
    """An encoding that says that it runs, and never ends."""

    def __init__(self, backbone):
        self.backbone = backbone

    def encode(self, device, progress):
        progress(1, 100)
        time.sleep(600)
        return Path(), True


if __name__ == "__main__":
    encode_side_by_side(
        [Endless("first"), Endless("second")],
        [torch.device("cpu")] * 2,
        on_progress=lambda *told: print(*told, flush=True),
        on_end=lambda *_: None,
    )
'''
END_SECONDS = 30


@pytest.fixture
def search(tmp_path):
    """A process with two encodings under way, and those."""
    (tmp_path / "search.py").write_text(SEARCH)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "search.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    told = {process.stdout.readline().split()[0], process.stdout.readline().split()[0]}
    assert told == {"first", "second"}
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    yield process, children
    for one in [process, *children]:
        if psutil.pid_exists(one.pid):
            os.kill(one.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.proof  # three processes import PyTorch
@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_no_encoding_outlives_its_search(search, end):
    process, children = search

    if end == "killed":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C: to all of them

    _, alive = psutil.wait_procs(children, timeout=END_SECONDS)
    assert alive == []
    _, error = process.communicate(timeout=END_SECONDS)
    assert error.count("Traceback") == (end == "interrupted")  # the search's own alone
