"""The built-in synthetic corpus: French bedside notes that nobody wrote about nobody.

It exists so that the main job runs, is tested and can be shown where no hospital's notes may go. It
is never called real, and no score on it is called a replication of anything: it borrows the
marginals of the corpus that the study's group describes (5,444 single-line notes of 1,386 patients,
1,941 of them positive, about 107 words each), and nothing else.

The label says whether a note documents present acute heart failure of the patient himself. Heart
failure also comes negated, past, resolved, feared, refuted, or in the family, and other conditions
come with the same cues; so words tell part of the label, and their order tells the rest. The label
of 2.4 % of the notes is flipped: no reader is right beyond that, and the ceiling of macro F1 is
about .97. Measured on patients held out: TF-IDF with logistic regression .81, a small word-CNN .90.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ...spaces.seeds import derive_seed
from .synthetic_claims import Patient, admit
from .synthetic_writing import Draft, write

NOTES, PATIENTS, POSITIVES = 5444, 1386, 1941
MOST_NOTES_OF_A_PATIENT = 15
NOISE_SHARE = 0.024  # of the labels, half of them in each class so that the counts stay exact
FEWEST_NOTES = 20  # below, a patient-wise split has too few patients to stand on


@dataclass(frozen=True, slots=True)
class SyntheticNote:
    """One note of the synthetic corpus."""

    text: str  # a single line
    label: str  # "positive" or "negative"
    patient_id: str  # like "P0001"


def synthetic_notes(notes: int = NOTES, seed: int = 0) -> list[SyntheticNote]:
    """Write a corpus, the same for the same `notes` and `seed` on every machine.

    Patients are `notes * 1386 / 5444` and positive notes are `notes * 1941 / 5444`, each rounded to
    the nearest whole number. A patient's notes stand together, patients in order of their number.
    """
    return [note for note, _ in notes_with_drafts(notes, seed)]


def write_synthetic_notes(path: Path, notes: int = NOTES, seed: int = 0) -> int:
    """Write them as CSV with the columns text, label and patient_id; returns the patients' number.

    Raises:
        OSError: the file cannot be written.
        ValueError: as `synthetic_notes`.
    """
    written = synthetic_notes(notes, seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["text", "label", "patient_id"])
        rows.writerows([note.text, note.label, note.patient_id] for note in written)
    return len({note.patient_id for note in written})


def notes_with_drafts(notes: int, seed: int) -> list[tuple[SyntheticNote, Draft]]:
    """The corpus with what each note claims, which no model may see: for the tests."""
    if notes < FEWEST_NOTES:
        raise ValueError(
            f"a synthetic corpus needs at least {FEWEST_NOTES} notes, so that both classes reach"
            f" every part of a split; got {notes=}: ask for more"
        )
    # Uniform numbers, sums and square roots alone: logarithms differ between C libraries.
    rng = Random(derive_seed("synthetic notes", notes, seed))
    patients = [admit(rng, number) for number in range(1, _scaled(PATIENTS, notes) + 1)]
    owners = _share_out(rng, patients, notes)
    truths = _lean(rng, owners)
    labels = _flip(rng, truths)
    written = []
    for owner, truth, label in zip(owners, truths, labels, strict=True):
        draft = write(rng, owner, positive=truth)
        name = "positive" if label else "negative"
        written.append((SyntheticNote(draft.text, name, owner.patient_id), draft))
    return written


def _scaled(count: int, notes: int) -> int:
    return (2 * count * notes + NOTES) // (2 * NOTES)


def _share_out(rng: Random, patients: list[Patient], notes: int) -> list[Patient]:
    """The patient of each note: everyone has one, some come back often."""
    counts = [1] * len(patients)
    often = [0.15 + rng.random() * rng.random() * 2 for _ in patients]
    left = notes - len(patients)
    while left:
        open_to = [i for i, count in enumerate(counts) if count < MOST_NOTES_OF_A_PATIENT]
        for i in rng.choices(open_to, [often[i] for i in open_to], k=left):
            if counts[i] < MOST_NOTES_OF_A_PATIENT:
                counts[i] += 1
                left -= 1
    return [p for p, count in zip(patients, counts, strict=True) for _ in range(count)]


def _lean(rng: Random, owners: list[Patient]) -> list[bool]:
    """Which notes are positive: exactly so many, more of them with patients who lean that way."""
    scores = [owner.leaning + 0.75 * rng.random() for owner in owners]
    ranked = sorted(range(len(owners)), key=lambda i: scores[i], reverse=True)
    positive = set(ranked[: _scaled(POSITIVES, len(owners))])
    return [i in positive for i in range(len(owners))]


def _flip(rng: Random, truths: list[bool]) -> list[bool]:
    """The labels: the truths but for the noise, which takes as many from either class."""
    labels = list(truths)
    flips = round(NOISE_SHARE * len(truths) / 2)
    for of_class in (True, False):
        for i in rng.sample([i for i, truth in enumerate(truths) if truth is of_class], flips):
            labels[i] = not of_class
    return labels
