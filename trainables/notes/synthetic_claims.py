"""What a synthetic note claims, before a word of it is written: patients, conditions, statuses.

A note of either class usually holds the same cues: one condition is present and others are not, and
the label asks only whether the present one is heart failure. `synthetic_writing` puts it in French.
"""

from dataclasses import dataclass
from random import Random

from .synthetic_bedside import CHRONIC, HOMES, REASONS
from .synthetic_conditions import CONDITIONS, HEART_FAILURE, KIN, LOOKALIKES, Form, Status

PLAIN_SHARE = 0.50  # of the positive notes: heart failure said outright, hardly anything else
SILENT_SHARE = 0.62  # of the negative notes: not a word of acute heart failure
MIRROR_SHARE = 0.75  # of the other notes: a lookalike sits where heart failure does not
COMORBID_SHARE = 0.30  # of the other notes: a second condition is present too
AGAIN_SHARE = 0.20  # of the notes that name heart failure: they name it once more, as not present
SUSPECTED_SHARE = 0.20  # of the present conditions: a suspicion first, confirmed in a later clause

ABSENT_WEIGHTS = {
    Status.NEGATED: 40,
    Status.REFUTED: 14,
    Status.HISTORY: 16,
    Status.FAMILY: 8,
    Status.HYPOTHETICAL: 12,
    Status.RESOLVED: 10,
}


@dataclass(frozen=True, slots=True)
class Patient:
    """What all notes of one patient share: they look alike, and their labels lean one way."""

    patient_id: str
    age: int  # years
    room: int
    e: str  # the ending that agrees with the patient: "" or "e"
    chronic: tuple[str, ...]
    chronic_failure: bool  # known and stable: it stands in the history, and leans to positive
    home: str
    reason: str  # for this stay
    years: dict[str, int]  # of each condition's past episode, where a note tells of one
    lookalike: str  # what this patient's heart failure is weighed against, in every note
    forms: dict[str, Form]  # how the ward likes to write each condition of this patient
    kin: Form
    kin_age: int  # years, at death, where a note tells of one
    leaning: float  # towards positive notes, in [0, 1)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a note says of one condition."""

    condition: str
    status: Status


def admit(rng: Random, number: int) -> Patient:
    """Draw the patient of this number, from 1."""
    chronic_failure = rng.random() < 0.35
    return Patient(
        patient_id=f"P{number:04d}",
        age=rng.randint(62, 98),
        room=rng.randint(101, 899),
        e=rng.choice(("", "e")),
        chronic=tuple(rng.sample(CHRONIC, rng.randint(1, 5))),
        chronic_failure=chronic_failure,
        home=rng.choice(HOMES),
        reason=rng.choice(REASONS),
        years={condition: rng.randint(2004, 2022) for condition in CONDITIONS},
        lookalike=rng.choice(LOOKALIKES),
        forms={condition: rng.choice(forms) for condition, forms in CONDITIONS.items()},
        kin=rng.choice(KIN),
        kin_age=rng.randint(48, 89),
        leaning=0.7 * rng.random() + (0.3 if chronic_failure else 0.0),
    )


def plan(rng: Random, patient: Patient, *, positive: bool) -> list[Claim]:
    """Draw a note's claims; heart failure is present in a positive note and in no other.

    Heart failure and a lookalike swap seats between the classes, one present and one absent, so
    that the words alone do not tell the classes apart.
    """
    lookalike = patient.lookalike
    bystanders = rng.sample([c for c in CONDITIONS if c not in (HEART_FAILURE, lookalike)], 3)
    around = [Claim(c, _absent(rng)) for c in bystanders[1 : rng.randint(1, 3)]]
    style = rng.random()
    if positive and style < PLAIN_SHARE:
        return [
            Claim(HEART_FAILURE, Status.OUTRIGHT),
            Claim(HEART_FAILURE, Status.PRESENT),
            *around[:1],
        ]
    if not positive and style < SILENT_SHARE:
        return [Claim(lookalike, _present(rng) if rng.random() < 0.7 else _absent(rng)), *around]
    seated, unseated = (HEART_FAILURE, lookalike) if positive else (lookalike, HEART_FAILURE)
    claims = [Claim(seated, _present(rng)), Claim(unseated, _absent(rng)), *around]
    if rng.random() > MIRROR_SHARE:
        claims = [c for c in claims if c.condition != lookalike]
    if rng.random() < COMORBID_SHARE:
        claims.append(Claim(bystanders[0], _present(rng)))
    if rng.random() < AGAIN_SHARE:
        status = rng.choice((Status.HISTORY, Status.FAMILY, Status.HYPOTHETICAL))
        claims.append(Claim(HEART_FAILURE, status))
    return list(dict.fromkeys(claims))


def _present(rng: Random) -> Status:
    return Status.CONFIRMED if rng.random() < SUSPECTED_SHARE else Status.PRESENT


def _absent(rng: Random) -> Status:
    return rng.choices(list(ABSENT_WEIGHTS), list(ABSENT_WEIGHTS.values()))[0]
