"""PyTorch's compiler stays away from workers of heads and scratch models.

It is a second of imports, and 60 MB of each.
"""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.runner import run_trial
from headhunt.trainables.uncompiled import on_meta

TINY = ScratchConfig(width=8, feed_forward=8, vocabulary=200)
CONFIGS = {
    "head": HeadConfig(backbone="tiny", head=AdapterHead(bottleneck=4)),
    "transformer": TINY,
    "moe": replace(TINY, model="moe", experts=2),
}


def run(config, corpus, materials, told):
    assignment = Assignment(number=0, config=config, seed=1)
    device = torch.device("cpu")
    *_, last = run_trial(assignment, corpus, materials, device=device, device_fraction=0.0)
    told.put((last.outcome.state, "torch._dynamo" in sys.modules))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_trial_imports_no_compiler(small_corpus, materials, spawn, kind):
    told = spawn.Queue()
    process = spawn.Process(target=run, args=(CONFIGS[kind], small_corpus, materials, told))
    process.start()
    process.join(120)

    assert process.exitcode == 0
    assert told.get(timeout=5) == (State.COMPLETE, False)


DRAWS = """
import sys, torch
from torch import nn
from headhunt.trainables.uncompiled import on_meta

with on_meta():
    tensor = torch.empty(3, 4)
    nn.init.normal_(tensor)
    nn.init.uniform_(tensor)
    nn.init.kaiming_uniform_(tensor)
    nn.init.kaiming_normal_(tensor)
    nn.init.xavier_normal_(tensor)
    nn.init.trunc_normal_(tensor)
    nn.init.orthogonal_(tensor)
print("torch._dynamo" in sys.modules)
"""


def test_nothing_is_drawn_on_the_meta_device():
    said = subprocess.run([sys.executable, "-c", DRAWS], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


def test_what_is_built_without_numbers_has_its_shapes():
    with on_meta():
        built = nn.Embedding(7, 3)

    assert built.weight.is_meta
    assert built.weight.shape == (7, 3)
