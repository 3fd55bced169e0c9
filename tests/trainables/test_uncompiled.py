"""PyTorch's compiler stays away from workers: a second of imports, and 60 MB of each."""

import subprocess
import sys

from torch import nn

from headhunt.trainables.uncompiled import on_meta

TRIALS = """
import sys
import torch
from pathlib import Path
from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.notes.corpus import read_corpus
from headhunt.trainables.notes.synthetic import write_synthetic_notes
from headhunt.trainables.runner import run_trial
from headhunt.trainables.training.states import StateFolder

folder = Path(sys.argv[1])
write_synthetic_notes(folder / "notes.csv", 60)
materials = Materials(
    settings=TrainingSettings(max_epochs=1, patience=0, batch_limit=8, max_tokens=32),
    states=StateFolder(folder / "trials"), cache=cache_dir(folder), features={},
)
for number, model in enumerate(["transformer", "moe"]):
    config = ScratchConfig(model=model, experts=2, width=8, feed_forward=8, vocabulary=200)
    assignment = Assignment(number=number, config=config, seed=1, known_epochs=0)
    *_, last = run_trial(
        assignment, read_corpus(folder / "notes.csv"), materials,
        device=torch.device("cpu"), device_fraction=0.0,
    )
    print(last.outcome.state)
print("torch._dynamo" in sys.modules)
"""


def test_a_scratch_models_trial_imports_no_compiler(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", TRIALS, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert said.stdout.split() == ["complete", "complete", "False"]


def test_what_is_built_without_numbers_has_its_shapes():
    with on_meta():
        built = nn.Embedding(7, 3)

    assert built.weight.is_meta
    assert built.weight.shape == (7, 3)
