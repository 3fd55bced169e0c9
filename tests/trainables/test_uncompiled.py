"""PyTorch's compiler stays away from workers of heads and scratch models.

It is a second of imports, and 60 MB of each.
"""

import subprocess
import sys

import pytest
from torch import nn

from headhunt.trainables.uncompiled import on_meta

TRIALS = """
import json
import sys
from pathlib import Path

import numpy as np
import torch
from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.notes.cache import DONE, cache_dir
from headhunt.trainables.notes.corpus import read_corpus
from headhunt.trainables.notes.synthetic import write_synthetic_notes
from headhunt.trainables.runner import run_trial
from headhunt.trainables.training.states import StateFolder

folder, kind = Path(sys.argv[1]), sys.argv[2]
write_synthetic_notes(folder / "notes.csv", 60)
corpus = read_corpus(folder / "notes.csv")
features = folder / "features"
features.mkdir()
generator, lengths = np.random.default_rng(0), np.full(len(corpus.labels), 5)
np.save(features / "rows.npy", generator.normal(size=(lengths.sum(), 8)).astype(np.float16))
np.save(features / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
(features / DONE).write_text(json.dumps({"parameters": 100}))
materials = Materials(
    settings=TrainingSettings(max_epochs=1, patience=0, batch_limit=8, max_tokens=32),
    states=StateFolder(folder / "trials"), cache=cache_dir(folder), features={"tiny": features},
)
if kind in ("transformer", "moe"):
    config = ScratchConfig(model=kind, experts=2, width=8, feed_forward=8, vocabulary=200)
else:
    config = HeadConfig(backbone="tiny", head=AdapterHead(bottleneck=4))
*_, last = run_trial(
    Assignment(number=0, config=config, seed=1, known_epochs=0), corpus, materials,
    device=torch.device("cpu"), device_fraction=0.0,
)
print(last.outcome.state)
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("kind", ["head", "transformer", "moe"])
def test_a_trial_imports_no_compiler(tmp_path, kind):
    words = [sys.executable, "-c", TRIALS, str(tmp_path), kind]

    said = subprocess.run(words, capture_output=True, text=True)

    assert said.stdout.split() == ["complete", "False"], said.stderr


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
