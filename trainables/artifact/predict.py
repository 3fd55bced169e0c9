"""Predict a file of notes with an exported model, some hundred notes in memory at a time.

A row a note: its number or an id, the label, and each label's probability. Never the text. The
file is written aside, for its owner alone, and has its name once it is whole.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ...spaces.links import refuse_link
from ..files import own_file
from ..notes.formats import Table
from ..notes.stream import NoteColumns, check_notes, read_notes
from ..training.metrics import Scores, Tally
from .calibration import ReliabilityTally, softmax
from .load import LoadedModel

CHUNK = 512  # notes in memory: enough of like length for full batches
ROW, LABEL, PROBABILITY = "row", "label", "probability_"  # columns; the last before each label
DIGITS = 6  # of a probability


@dataclass(frozen=True, slots=True)
class Scored:
    """What predictions are worth, where the labels are known."""

    notes: int
    scores: Scores
    calibration_error: float  # expected, in [0, 1]


@dataclass(slots=True)
class Scoring:
    """Counts predictions against the labels of the notes."""

    labels: Sequence[str]
    notes: int = 0
    tally: Tally = field(init=False)
    reliability: ReliabilityTally = field(default_factory=ReliabilityTally)

    def __post_init__(self) -> None:
        self.tally = Tally(len(self.labels))

    def add(self, probabilities: np.ndarray, names: Sequence[str]) -> None:
        """Count probabilities [notes, classes] of notes with these labels."""
        codes = {name: code for code, name in enumerate(self.labels)}
        labels = np.array([codes[name] for name in names], dtype=np.int64)
        self.tally.add(probabilities, labels)
        self.reliability.add(probabilities, labels)
        self.notes += len(names)

    def scored(self) -> Scored:
        """Of all notes so far."""
        return Scored(self.notes, self.tally.scores(), self.reliability.error())


def predict_file(
    loaded: LoadedModel,
    notes: Path,
    output: Path,
    columns: NoteColumns,
    *,
    calibrated: bool = True,
    on_notes: Callable[[int, int], None] = lambda *_: None,
) -> Scored | None:
    """Write a CSV file of predictions; what they are worth where a label column is named.

    Args:
        loaded: the model.
        notes: a CSV, TSV, JSON Lines or Parquet file, which is read twice.
        output: is made, or replaced.
        columns: of the notes.
        calibrated: divide the logits by the model's temperature.
        on_notes: told (notes done, notes in all).

    Raises:
        CorpusError: all that is wrong with the file of notes.
        OSError: the output cannot be written.
    """
    total = check_notes(notes, columns, labels=frozenset(loaded.labels), rows=CHUNK)
    scoring = Scoring(loaded.labels) if columns.label is not None else None
    temperature = loaded.temperature if calibrated else 1.0
    done = 0
    on_notes(done, total)
    with _aside(output) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([columns.id or ROW, LABEL, *(PROBABILITY + name for name in loaded.labels)])
        for chunk in read_notes(notes, columns, CHUNK):
            probabilities = softmax(loaded.model.logits(chunk.cells["text"]) / temperature)
            rows.writerows(_rows(chunk, loaded.labels, probabilities))
            if scoring is not None:
                scoring.add(probabilities, chunk.cells["label"])
            done += len(chunk.rows)
            on_notes(done, total)
    return scoring.scored() if scoring else None


def _rows(chunk: Table, labels: Sequence[str], probabilities: np.ndarray) -> Iterator[list[Any]]:
    ids = chunk.cells.get("id", chunk.rows)
    found = zip(ids, probabilities.argmax(axis=1).tolist(), probabilities.tolist(), strict=True)
    for id_, code, shares in found:
        yield [id_, labels[code], *(f"{share:.{DIGITS}f}" for share in shares)]


@contextmanager
def _aside(output: Path) -> Iterator[TextIO]:
    """A file that has its name at the end, and is gone where there is an error."""
    refuse_link(output)
    aside = own_file(output.with_name(f".{output.name}.part"))
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            yield file
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)
