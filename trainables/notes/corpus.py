"""The corpus: the notes of a study, checked and split, a patient on one side only.

`read_corpus` says all that is wrong in one `CorpusError`, by row numbers, counts and the names of
columns and labels, and never shows a note or a patient. File formats are in `formats.py`, columns
and cells in `reading.py`, what is said of the notes as a whole in `checks.py`, splitting in
`split.py`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .checks import (
    Notes,
    alike_problems,
    class_problems,
    conflicting_notes,
    made_split_findings,
    made_split_problems,
    note_findings,
    own_split_findings,
    part_problems,
    without_conflicts,
)
from .formats import CorpusError, Table
from .reading import DEFAULT_COLUMNS, SPLIT_WORDS, Columns, cell_problems, read_table
from .split import Array, Part, note_groups, split_notes, thin_training

__all__ = ["Columns", "Corpus", "CorpusError", "Part", "conflicting_notes", "read_corpus"]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Notes in the order of the file. The repr holds nothing of a note or of a patient."""

    texts: tuple[str, ...] = field(repr=False)
    labels: Array = field(repr=False)  # [notes] int64, places in `label_names`
    label_names: tuple[str, ...]  # sorted
    patients: tuple[str, ...] | None = field(repr=False)  # "": not known; None: no such column
    parts: Array = field(repr=False)  # [notes] int8, values of `Part`
    rows: Array = field(repr=False)  # [notes] int64, row in the file, from 1, without the header
    digest: str  # sha256, 64 hexadecimal digits, of texts, labels, patients and parts, in order
    findings: tuple[str, ...] = field(default=(), repr=False)  # worth saying, but nothing is wrong
    portion: str = ""  # names another training part than the digest's (see `portion`); "": none

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def groups(self) -> Array:
        """Group of each note, [notes] int64: notes of one patient, or of one text, share theirs."""
        return note_groups(self.texts, self.patients)

    @property
    def texts_digest(self) -> str:
        """sha256, 64 hexadecimal digits, of the texts alone, in order."""
        digest = hashlib.sha256(b"headhunt texts 1")
        _add_column(digest.update, self.texts)
        return digest.hexdigest()

    def indices(self, part: Part) -> Array:
        """Places of the part's notes, ascending, int64."""
        return np.flatnonzero(self.parts == part)


def read_corpus(
    path: Path | str,
    *,
    columns: Columns = DEFAULT_COLUMNS,
    conflicting: str = "keep",
    seed: int = 0,
    train_fraction: float = 1.0,
) -> Corpus:
    """The corpus in the file, with its own split or one made from the notes and the seed alone.

    Args:
        path: a CSV, TSV, JSON Lines or Parquet file.
        columns: the columns' names; `patient` and `split` may be absent under their default names.
        conflicting: `keep` or `drop` identical texts with different labels, all of their notes.
        seed: of the split and of `train_fraction`.
        train_fraction: share of the training notes to keep, in (0, 1]; other parts stay whole.

    Raises:
        CorpusError: all that is wrong with the options and with the file.
    """
    problems = []
    if conflicting not in ("keep", "drop"):
        problems.append(f"conflicting is 'keep' or 'drop'; got {conflicting=}")
    if not 0 < train_fraction <= 1:
        problems.append(f"0 < train_fraction <= 1 must hold; got {train_fraction=}")
    try:
        table = read_table(Path(path), columns)
    except CorpusError as error:
        raise CorpusError([*problems, *error.problems]) from None
    in_cells, sound = cell_problems(table)
    problems += [*table.problems, *in_cells]
    if "text" not in table.cells or "label" not in table.cells or not table.rows:
        raise CorpusError(problems)

    notes, findings = _notes_of(table).only(sound), table.findings
    if conflicting == "drop":
        notes = without_conflicts(notes, findings)
    groups = note_groups(notes.texts, notes.patients)
    problems += alike_problems(notes) + class_problems(notes, groups) + part_problems(notes)
    if problems:
        raise CorpusError(problems)

    names = sorted(set(notes.labels))
    codes = {name: code for code, name in enumerate(names)}
    labels = np.array([codes[label] for label in notes.labels], dtype=np.int64)
    findings += note_findings(notes)
    if notes.parts is None:
        parts = split_notes(notes.texts, labels, groups, seed=seed)
        problems += made_split_problems(notes, parts)
        findings += made_split_findings(notes, parts, seed)
    else:
        parts = np.array(notes.parts, dtype=np.int8)
        findings += own_split_findings(notes, parts)
    if problems:
        raise CorpusError(problems)
    kept = np.ones(len(labels), dtype=bool)
    if train_fraction < 1:
        train = np.flatnonzero(parts == Part.TRAIN)
        texts = [notes.texts[i] for i in train]
        kept[train] = thin_training(
            texts, labels[train], groups[train], share=train_fraction, seed=seed
        )
        findings.append(
            f"a train fraction of {train_fraction} keeps {kept[train].sum()} of {len(train)} "
            "training notes; validation and test are whole"
        )
    return _corpus(notes.only(kept), names, labels[kept], parts[kept], findings)


def _corpus(
    notes: Notes, names: list[str], labels: Array, parts: Array, findings: list[str]
) -> Corpus:
    rows = np.array(notes.rows, dtype=np.int64)
    for array in (labels, parts, rows):
        array.setflags(write=False)
    patients = None if notes.patients is None else tuple(notes.patients)
    return Corpus(
        texts=tuple(notes.texts),
        labels=labels,
        label_names=tuple(names),
        patients=patients,
        parts=parts,
        rows=rows,
        digest=_digest(notes, parts),
        findings=tuple(findings),
    )


def _digest(notes: Notes, parts: Array) -> str:
    digest = hashlib.sha256(b"headhunt corpus 1")
    for column in (notes.texts, notes.labels, notes.patients):
        _add_column(digest.update, column)
    digest.update(parts.astype(np.int8).tobytes())
    return digest.hexdigest()


def _add_column(add: Callable[[bytes], None], column: Sequence[str] | None) -> None:
    """Every value goes in behind its length, so that no two corpora spell the same bytes."""
    add(b"absent" if column is None else len(column).to_bytes(8, "big"))
    for value in column or ():
        encoded = value.encode()
        add(len(encoded).to_bytes(8, "big"))
        add(encoded)


def _notes_of(table: Table) -> Notes:
    cells = table.cells
    parts = None
    if "split" in cells:  # an unknown word is a problem already, and its note goes no further
        parts = [int(SPLIT_WORDS.get(word.strip().lower(), -1)) for word in cells["split"]]
    return Notes(cells["text"], cells["label"], cells.get("patient"), parts, table.rows)
