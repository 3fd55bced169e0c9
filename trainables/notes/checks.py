"""What is wrong with the notes as a whole, or only worth saying: problems and findings.

A problem ends the reading; a finding goes with the corpus. Both name classes, parts, rows and
counts, and never show a text or a patient.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .formats import some_rows
from .split import SHARES, Array, Part, text_key

_SHOWN_CLASSES = 5
_MISSING = {"nan", "none", "null", "na", "n/a"}  # what others write where a value is missing
_TOLERANCE = 0.02  # of the notes: by how much a part may miss its share without a word


@dataclass(slots=True)
class Notes:
    """Checked notes on their way to a corpus."""

    texts: list[str]
    labels: list[str]
    patients: list[str] | None
    parts: list[int] | None  # of the file's own split
    rows: list[int]

    def only(self, kept: Sequence[bool] | Array) -> "Notes":
        """The notes for which `kept` is true, in the same order."""

        def pick(values: list) -> list:
            return [value for value, keep in zip(values, kept, strict=True) if keep]

        return Notes(
            pick(self.texts),
            pick(self.labels),
            None if self.patients is None else pick(self.patients),
            None if self.parts is None else pick(self.parts),
            pick(self.rows),
        )


def conflicting_notes(texts: Sequence[str], labels: Iterable[object]) -> list[int]:
    """Places of the notes whose text is there with another label too."""
    places: dict[str, list[int]] = defaultdict(list)
    seen: dict[str, set[object]] = defaultdict(set)
    for place, (text, label) in enumerate(zip(texts, labels, strict=True)):
        places[text_key(text)].append(place)
        seen[text_key(text)].add(label)
    return sorted(i for key, where in places.items() if len(seen[key]) > 1 for i in where)


def without_conflicts(notes: Notes, findings: list[str]) -> Notes:
    """The notes less those with conflicting labels; how many went is added to `findings`."""
    conflicts = conflicting_notes(notes.texts, notes.labels)
    if not conflicts:
        return notes
    rows = some_rows(notes.rows[place] for place in conflicts)
    findings.append(
        f"{len(conflicts)} notes dropped ({rows}): their texts are there with other labels too"
    )
    dropped = set(conflicts)
    return notes.only([place not in dropped for place in range(len(notes.rows))])


def alike_problems(notes: Notes) -> list[str]:
    """Labels that look the same: which classes there are must be known before any training."""
    rows = _rows_of_labels(notes)
    if _too_many(notes, rows):
        return []  # said elsewhere, and they may be texts
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(rows):
        key = " ".join(unicodedata.normalize("NFC", name).casefold().split())
        alike[key].append(_shown(name, rows[name]))
    several = [" and ".join(names) for names in alike.values() if len(names) > 1]
    if not several:
        return []
    return [
        f"labels that differ by case, white space or the code of an accent alone: {_some(several)}"
        "; write each class in one way"
    ]


def _rows_of_labels(notes: Notes) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for label, row in zip(notes.labels, notes.rows, strict=True):
        rows[label].append(row)
    return rows


def _too_many(notes: Notes, labels: Collection[str]) -> bool:
    return len(labels) * len(Part) > len(notes.rows)


def _shown(name: str, rows: Sequence[int]) -> str:
    """A class by its name; a very small one by its rows: it may be a cell of another column."""
    return repr(name) if len(rows) >= len(Part) else f"the class of {some_rows(rows)}"


def class_problems(notes: Notes, groups: Array) -> list[str]:
    """Too few classes, or classes too small to be in each part."""
    rows = _rows_of_labels(notes)
    if not rows:
        return ["no note is left to make a corpus of"]
    if len(rows) == 1:
        return [f"all {len(notes.rows)} notes have the same label; a corpus needs two or more"]
    if _too_many(notes, rows):
        # Not named: with as many labels as this, the column may well be the texts or the patients.
        return [
            f"{len(rows)} labels in {len(notes.rows)} notes are fewer than three notes a label; "
            "is it the right column?"
        ]
    if notes.parts is not None:
        return []
    held: dict[str, set[int]] = defaultdict(set)
    for label, group in zip(notes.labels, groups, strict=True):
        held[label].add(int(group))
    small = [
        f"{_shown(name, rows[name])} has {len(held[name])}"
        for name in sorted(rows)
        if len(held[name]) < len(Part)
    ]
    if not small:
        return []
    if len(small) == len(rows) > _SHOWN_CLASSES:
        # Not named either: a label for each patient, or for each text, looks like this.
        return [
            f"none of the {len(rows)} labels has notes of three patients, or three texts; is it "
            "the right column?"
        ]
    return [
        "each class needs three groups of notes, one for each part (notes of one patient, or with "
        f"one text, are one group): {_some(small)}; merge or remove such classes"
    ]


def part_problems(notes: Notes) -> list[str]:
    """Parts that the file's own split leaves empty."""
    if notes.parts is None or not notes.rows:
        return []
    empty = [part.name.lower() for part in Part if part not in notes.parts]
    if not empty:
        return []
    return [
        f"the split column gives no note to {' and '.join(empty)}; "
        "fill each part, or leave the column out to have the notes split"
    ]


def made_split_problems(notes: Notes, parts: Array) -> list[str]:
    """Classes that no part of the split made here could be given."""
    absent = _absent_classes(notes, parts)
    if not absent:
        return []
    return [
        f"no split was found that puts each class in each part ({_some(absent)}), since classes "
        "share patients or texts; give a split column, or merge classes"
    ]


def note_findings(notes: Notes) -> list[str]:
    """Repeated texts, conflicting labels, labels that may be missing ones, unknown patients."""
    findings = []
    repeats = len(notes.texts) - len({text_key(text) for text in notes.texts})
    if repeats:
        findings.append(f"{repeats} notes repeat the text of an earlier one; they are kept")
    conflicts = conflicting_notes(notes.texts, notes.labels)
    if conflicts:
        rows = some_rows(notes.rows[place] for place in conflicts)
        findings.append(
            f"{len(conflicts)} notes ({rows}) have texts that are there with other labels too; "
            "they are kept; --conflicting drop leaves them out"
        )
    findings += [
        f"{count} notes have the label {name!r}, which may stand for none: it is a class of its own"
        for name, count in sorted(Counter(notes.labels).items())
        if name.strip().casefold() in _MISSING
    ]
    unknown = 0 if notes.patients is None else sum(not p.strip() for p in notes.patients)
    if unknown:
        findings.append(f"{unknown} notes have no patient; each counts as a patient of its own")
    return findings


def made_split_findings(notes: Notes, parts: Array, seed: int) -> list[str]:
    """How the notes were split here, and how far the parts are from their shares."""
    findings = [f"no split column: the notes were split here, {seed=}"]
    if notes.patients is None:
        findings.append("no patient column: only identical texts are held on one side of the split")
    held = [(parts == part).mean() for part in Part]
    if max(abs(share - aim) for share, aim in zip(held, SHARES, strict=True)) > _TOLERANCE:
        shown = ", ".join(f"{share:.1%}" for share in held)
        findings.append(
            f"train, validation and test hold {shown} of the notes rather than 70, 15 and 15 %: "
            "there are few groups, or large ones"
        )
    return findings


def own_split_findings(notes: Notes, parts: Array) -> list[str]:
    """What is wrong with the file's own split, which is honoured all the same."""
    findings = ["the split is the file's own"]
    absent = _absent_classes(notes, parts)
    if absent:
        findings.append(f"the split leaves classes out of a part: {_some(absent)}")
    findings += _shared("texts", [text_key(text) for text in notes.texts], parts)
    if notes.patients is not None:
        findings += _shared("patients", [patient.strip() for patient in notes.patients], parts)
    return findings


def _shared(what: str, keys: Sequence[str], parts: Array) -> list[str]:
    """A finding where texts or patients are in more than one part; "" is an unknown patient."""
    held: dict[str, set[int]] = defaultdict(set)
    for key, part in zip(keys, parts, strict=True):
        if key:
            held[key].add(int(part))
    both = {key for key, where in held.items() if len(where) > 1}
    if not both:
        return []
    trained = {key for key in both if Part.TRAIN in held[key]}
    leaked = sum(
        key in trained and part != Part.TRAIN for key, part in zip(keys, parts, strict=True)
    )
    return [
        f"{len(both)} {what} are in more than one part of the file's split; {leaked} notes of "
        "validation and test share theirs with train, which flatters their scores"
    ]


def _absent_classes(notes: Notes, parts: Array) -> list[str]:
    present = set(zip(notes.labels, parts.tolist(), strict=True))
    return [
        f"{name!r} is not in {part.name.lower()}"
        for name in sorted(set(notes.labels))
        for part in Part
        if (name, part.value) not in present
    ]


def _some(phrases: Sequence[str]) -> str:
    more = f" and {len(phrases) - _SHOWN_CLASSES} more" if len(phrases) > _SHOWN_CLASSES else ""
    return ", ".join(phrases[:_SHOWN_CLASSES]) + more
