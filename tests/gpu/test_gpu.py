"""The report on a real device, where there is one; `python -m tests.gpu.report` prints it."""

import pytest
import torch

from .report import main

pytestmark = [
    pytest.mark.proof,  # it takes minutes
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


def test_all_promises_hold_on_this_machines_gpu(tmp_path):
    assert main(["--out", str(tmp_path / "gpu.md")]) == 0
