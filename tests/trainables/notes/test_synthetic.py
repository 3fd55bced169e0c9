import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupShuffleSplit

from headhunt.trainables.notes.synthetic import SyntheticNote, notes_with_drafts, synthetic_notes
from headhunt.trainables.notes.synthetic_writing import Draft


@pytest.fixture(scope="module")
def drafted() -> list[tuple[SyntheticNote, Draft]]:
    return notes_with_drafts(notes=5444, seed=0)


@pytest.fixture(scope="module")
def corpus(drafted) -> list[SyntheticNote]:
    return [note for note, _ in drafted]


def test_the_default_size_has_the_marginals_of_the_described_corpus(corpus):
    a_patient = Counter(note.patient_id for note in corpus)

    assert len(corpus) == 5444
    assert Counter(note.label for note in corpus) == {"positive": 1941, "negative": 3503}
    assert len(a_patient) == 1386
    assert min(a_patient.values()) == 1
    assert 12 <= max(a_patient.values()) <= 15


def test_a_note_is_a_single_line_of_a_bedside_notes_length(corpus):
    words = [len(note.text.split()) for note in corpus]

    assert all(note.text.splitlines() == [note.text] for note in corpus)
    assert 100 <= np.mean(words) <= 114
    assert min(words) < 45
    assert max(words) > 215


def test_no_slot_of_a_phrase_is_left_open_and_articles_agree(corpus):
    for note in corpus:
        assert "{" not in note.text
        assert "de le " not in note.text
        assert "que un" not in note.text


def test_no_two_notes_are_the_same(corpus):
    assert len({note.text for note in corpus}) == len(corpus)


def test_the_same_seed_writes_the_same_corpus_in_another_process():
    shown = (
        "from headhunt.trainables.notes.synthetic import *; print(ascii(synthetic_notes(40, 3)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", shown],
        env={**os.environ, "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert other.stdout.strip() == ascii(synthetic_notes(40, 3))


def test_another_seed_writes_other_notes():
    one, other = synthetic_notes(200, seed=0), synthetic_notes(200, seed=1)

    assert not {note.text for note in one} & {note.text for note in other}


@pytest.mark.parametrize(
    ("notes", "patients", "positives"), [(20, 5, 7), (37, 9, 13), (200, 51, 71), (1500, 382, 535)]
)
def test_patients_and_positives_scale_with_the_size(notes, patients, positives):
    corpus = synthetic_notes(notes)

    assert len(corpus) == notes
    assert len({note.patient_id for note in corpus}) == patients
    assert sum(note.label == "positive" for note in corpus) == positives


def test_a_corpus_too_small_to_split_is_refused():
    with pytest.raises(ValueError, match=r"at least 20 notes.*notes=19"):
        synthetic_notes(19)


def test_a_perfect_reader_is_wrong_on_the_flipped_labels_alone(drafted):
    labels = [note.label == "positive" for note, _ in drafted]
    read = [draft.asserts_heart_failure for _, draft in drafted]

    assert 0.97 <= f1_score(labels, read, average="macro") <= 0.98
    assert sum(a != b for a, b in zip(labels, read, strict=True)) == 2 * round(0.024 * 5444 / 2)


def test_both_classes_name_heart_failure_and_use_the_same_cues(drafted):
    named, cued = Counter(), Counter()
    for note, draft in drafted:
        named[note.label] += any(c.condition == "heart failure" for c in draft.claims)
        cued[note.label] += any(cue in note.text for cue in ("pas ", "écart", "élimine", "bsence"))

    assert named["negative"] / 3503 > 0.35
    assert cued["positive"] / 1941 == pytest.approx(cued["negative"] / 3503, abs=0.05)


def test_word_counts_learn_something_and_far_from_everything():
    corpus = synthetic_notes(1500)
    labels = np.array([note.label for note in corpus])
    texts = np.array([note.text for note in corpus])
    patients = [note.patient_id for note in corpus]
    train, held_out = next(
        GroupShuffleSplit(1, test_size=0.3, random_state=0).split(texts, labels, patients)
    )
    words = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)

    model.fit(words.fit_transform(texts[train]), labels[train])
    guessed = model.predict(words.transform(texts[held_out]))

    assert 0.62 < f1_score(labels[held_out], guessed, average="macro") < 0.86


def test_labels_of_one_patient_lean_one_way(corpus):
    by_patient: dict[str, list[int]] = {}
    for note in corpus:
        by_patient.setdefault(note.patient_id, []).append(note.label == "positive")
    share = 1941 / 5444
    products = [
        (one - share) * (other - share)
        for labels in by_patient.values()
        for one, other in combinations(labels, 2)
    ]

    assert np.mean(products) / (share * (1 - share)) > 0.15  # the correlation within a patient


def test_all_notes_of_a_patient_give_the_same_age(corpus):
    ages: dict[str, set[str]] = {}
    for note in corpus:
        given = re.findall(r"(?<! à )(?<! a )\b(\d+) ans", note.text)
        ages.setdefault(note.patient_id, set()).update(given)

    assert all(len(seen) == 1 for seen in ages.values())
