"""How a synthetic note is written: its claims in French, the bedside around them, and the hand.

Sections come in any order, sentences that belong together stay in theirs. What a note claims is
kept beside its text (`Draft`) for the tests: it is what a perfect reader would make of it.
"""

import unicodedata
from dataclasses import dataclass
from random import Random

from .synthetic_bedside import (
    NURSING,
    PLANS,
    SHORTHAND,
    SIGNS,
    laboratory,
    vital_signs,
)
from .synthetic_claims import Claim, Patient, plan
from .synthetic_conditions import CONDITIONS, HEART_FAILURE, LOOKALIKES, Form, Status
from .synthetic_phrases import MODIFIERS, PAIRS, SENTENCES, SUSPICIONS, VERDICTS

PAIR_SHARE = 0.6  # of the notes that can put the present and the negated into one sentence
SEPARATORS = (". ",) * 6 + (" ; ", " - ", " / ")


@dataclass(frozen=True, slots=True)
class Draft:
    """A note's text, and what it claims."""

    text: str
    claims: tuple[Claim, ...]

    @property
    def asserts_heart_failure(self) -> bool:
        """Whether the patient has acute heart failure now: the label, but for its noise."""
        now = (Status.OUTRIGHT, Status.PRESENT, Status.CONFIRMED)
        return any(c.condition == HEART_FAILURE and c.status in now for c in self.claims)


def write(rng: Random, patient: Patient, *, positive: bool) -> Draft:
    """Write one note of `patient`, on a single line of some 40 to 220 words."""
    claims = plan(rng, patient, positive=positive)
    blocks = _assertions(rng, patient, claims) + _observations(rng, patient, positive=positive)
    opening = _opening(rng, patient)
    words = int(rng.triangular(25, 200, 50))
    nursing = [rng.choice(line) for line in rng.sample(NURSING, len(NURSING))]
    while nursing and sum(len(s.split()) for block in [opening, *blocks] for s in block) < words:
        blocks.append([_say(rng, patient, nursing.pop())])
    rng.shuffle(blocks)
    blocks.insert(0 if rng.random() < 0.8 else rng.randint(0, len(blocks)), opening)
    if rng.random() < 0.6:
        header = rng.choice(("CAT : ", "", "Projet : "))
        blocks.append([header + _say(rng, patient, rng.choice(PLANS))])
    return Draft(_typeset(rng, [s for block in blocks for s in block]), tuple(claims))


def _assertions(rng: Random, patient: Patient, claims: list[Claim]) -> list[list[str]]:
    """The claims in French: a block of one sentence each, or of two and something between them."""
    forms = patient.forms
    blocks = []
    # Where a lookalike is seated against heart failure, the plan has the two of them first.
    first_two = [c.status for c in claims[:2]]
    mistakable = all(c.condition in (HEART_FAILURE, *LOOKALIKES) for c in claims[:2])
    if first_two == [Status.PRESENT, Status.NEGATED] and mistakable and rng.random() < PAIR_SHARE:
        a, b = (forms[c.condition] for c in claims[:2])
        blocks.append([_say(rng, patient, rng.choice(PAIRS), a=a, b=b)])
        claims = claims[2:]
    # No pattern twice in a note: it would read as if copied.
    fresh = {status: rng.sample(options, len(options)) for status, options in SENTENCES.items()}
    for claim in claims:
        form = rng.choice((forms[claim.condition], rng.choice(CONDITIONS[claim.condition])))
        slots = {"a": form, "year": patient.years[claim.condition]}
        if claim.status not in VERDICTS:
            blocks.append([_say(rng, patient, fresh[claim.status].pop(), **slots)])
            continue
        between = [vital_signs(rng)] if rng.random() < 0.3 else []
        blocks.append(
            [
                _say(rng, patient, rng.choice(SUSPICIONS), **slots),
                *between,
                _say(rng, patient, rng.choice(VERDICTS[claim.status]), **slots),
            ]
        )
    return blocks


def _observations(rng: Random, patient: Patient, *, positive: bool) -> list[list[str]]:
    """Signs, constants, results and history: they lean on the label a little, or not at all."""
    signs = [
        pair[0 if rng.random() < (0.57 if positive else 0.43) else 1]
        for pair in rng.sample(SIGNS, rng.randint(1, 3))
    ]
    lines = [_say(rng, patient, ", ".join(signs))]
    if rng.random() < 0.8:
        lines.append(rng.choice(("", "constantes : ", "cs : ")) + vital_signs(rng))
    if rng.random() < 0.5:
        lines.append(rng.choice(("", "bio : ", "bilan : ")) + laboratory(rng, failing=positive))
    if rng.random() < 0.65:
        known = [*patient.chronic]
        if patient.chronic_failure:
            known.append(rng.choice(("insuffisance cardiaque chronique", "IC chronique stable")))
        lines.append(rng.choice(("ATCD : ", "antécédents : ", "terrain : ")) + ", ".join(known))
    return [[line] for line in lines]


def _opening(rng: Random, patient: Patient) -> list[str]:
    person = "patiente" if patient.e else "patient"
    title = "Mme" if patient.e else "M."
    first = rng.choice(
        (
            f"{person} de {patient.age} ans, entré{patient.e} pour {patient.reason}",
            f"{title}, {patient.age} ans, motif : {patient.reason}",
            f"{patient.age} ans, hospitalisé{patient.e} pour {patient.reason}",
            f"J{rng.randint(1, 12)}, {person} de {patient.age} ans, {patient.reason} à l'entrée",
        )
    )
    if rng.random() < 0.75:
        first = f"{rng.choice(('ch', 'chambre'))} {patient.room}, {first}"
    home = [patient.home.format(e=patient.e)] if rng.random() < 0.5 else []
    return [first, *home]


def _say(rng: Random, patient: Patient, phrase: str, **slots: Form | int) -> str:
    """Fill the slots of `phrase`, the modifiers anew each time."""
    modifiers = {name: rng.choice(choices) for name, choices in MODIFIERS.items()}
    if rng.random() < 0.25:
        more = [choice for choice in MODIFIERS["how"] if choice != modifiers["how"]]
        modifiers["how"] += f" et {rng.choice(more)}"
    return phrase.format(
        p=patient,
        e=patient.e,
        k=patient.kin,
        age=patient.kin_age,
        n=rng.randint(2, 6),
        **modifiers,
        **slots,
    )


def _typeset(rng: Random, sentences: list[str]) -> str:
    """Join the sentences in one hand: its separators, shorthand, accents and slips."""
    separator = rng.choice(SEPARATORS)
    if separator == ". ":
        sentences = [s[0].upper() + s[1:] for s in sentences]
    text = separator.join(sentences) + rng.choice((".", ".", ""))
    words = text.split(" ")
    if rng.random() < 0.15:
        words = [SHORTHAND.get(word, word) for word in words]
    slips = rng.choice((0.0, 0.0, 0.005, 0.01, 0.03))
    words = [_slip(rng, word) if rng.random() < slips else word for word in words]
    text = " ".join(words)
    return _without_accents(text) if rng.random() < 0.12 else text


def _slip(rng: Random, word: str) -> str:
    """`word` with two letters swapped or one lost; short words, numbers and ends stay."""
    if len(word) < 6 or not word.isalpha():
        return word
    at = rng.randint(1, len(word) - 3)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFD", text.replace("œ", "oe").replace("Œ", "Oe"))
    return "".join(c for c in parts if unicodedata.category(c) != "Mn")
