"""What tests of trials share: the corpus as a frozen backbone would leave it."""

import json

import numpy as np
import pytest

from headhunt.trainables.assignment import Materials, TrainingSettings
from headhunt.trainables.notes.cache import DONE
from headhunt.trainables.training.states import StateFolder

WIDTH, EPOCHS, TOKENS = 8, 3, 24


@pytest.fixture(scope="session")
def features(small_corpus, tmp_path_factory):
    """Token states that lean towards their note's class."""
    folder = tmp_path_factory.mktemp("features")
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 12, len(small_corpus.labels))
    rows = generator.normal(size=(lengths.sum(), WIDTH))
    rows[:, 0] += 2 * np.repeat(small_corpus.labels, lengths)
    np.save(folder / "rows.npy", rows.astype(np.float16))
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]))
    (folder / DONE).write_text(json.dumps({"parameters": 100}))
    return folder


@pytest.fixture
def materials(features, tmp_path):
    """For heads on the backbone "tiny", and for scratch models."""
    return Materials(
        settings=TrainingSettings(max_epochs=EPOCHS, patience=0, batch_limit=8, max_tokens=TOKENS),
        states=StateFolder(tmp_path / "trials"),
        cache=tmp_path,
        features={"tiny": features},
    )
