"""A study's files without its notes: an encoder with random weights, and numbers for tokens.

Trials find on disk what they would find in a store, so that the real runner runs them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headhunt.trainables.assignment import Materials
from headhunt.trainables.models.backbones import identity
from headhunt.trainables.notes.cache import DONE, cache_dir
from headhunt.trainables.notes.corpus import Corpus
from headhunt.trainables.notes.split import Part
from headhunt.trainables.notes.synthetic import synthetic_notes
from headhunt.trainables.training.states import StateFolder

from .scale import Scale

TRIALS = "trials"


@dataclass(frozen=True, slots=True)
class Study:
    """What the report's trials share."""

    scale: Scale
    corpus: Corpus
    materials: Materials  # no limit in them: each section sets its own cap
    backbone: str  # the directory that configs name
    folder: Path

    def states(self, name: str) -> StateFolder:
        """A store of its own for some of the trials."""
        return StateFolder(self.folder / TRIALS / name)


def make_study(folder: Path, scale: Scale, notes: int) -> Study:
    """Write the encoder, and the synthetic corpus as states and as tokens of random numbers."""
    told = synthetic_notes(notes)
    names = tuple(sorted({note.label for note in told}))
    parts = np.full(notes, Part.TRAIN, dtype=np.int8)
    parts[::4] = Part.VALIDATION
    corpus = Corpus(
        texts=tuple(note.text for note in told),
        labels=np.array([names.index(note.label) for note in told], dtype=np.int64),
        label_names=names,
        patients=None,
        parts=parts,
        rows=np.arange(1, notes + 1),
        digest="0" * 64,
    )
    backbone = folder / "encoder"
    encoder = scale.encoder()
    encoder.save_pretrained(backbone)
    generator = np.random.default_rng(0)
    lengths = generator.integers(scale.tokens // 4, scale.tokens + 1, size=notes)
    lengths[0] = lengths[1] = scale.tokens  # one in each part
    total = int(lengths.sum())
    numbers = generator.integers(5, scale.vocabulary, size=total, dtype=np.int32)
    tokens = _stored(folder / "tokens", numbers, lengths, {"identity": identity(backbone)})
    states = generator.standard_normal((total, scale.width), dtype=np.float32).astype(np.float16)
    parameters = sum(p.numel() for p in encoder.parameters())
    features = _stored(folder / "features", states, lengths, {"parameters": parameters})
    materials = Materials(
        settings=scale.settings(epochs=1),
        states=StateFolder(folder / TRIALS),
        cache=cache_dir(folder),
        features={str(backbone): features},
        tokens={str(backbone): tokens},
    )
    return Study(scale, corpus, materials, str(backbone), folder)


def _stored(
    folder: Path, rows: np.ndarray, lengths: np.ndarray, meta: Mapping[str, object]
) -> Path:
    folder.mkdir()
    np.save(folder / "rows.npy", rows)
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    (folder / DONE).write_text(json.dumps(meta))
    return folder
