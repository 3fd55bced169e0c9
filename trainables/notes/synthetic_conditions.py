"""The conditions that a synthetic note speaks of, and what it can say of one.

A condition has several written forms, with French articles and agreement. The sentences that they
stand in are in `synthetic_phrases`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What a sentence says of its condition. The first three say: this patient, now."""

    OUTRIGHT = "outright"  # present, in words that only heart failure has
    PRESENT = "present"
    CONFIRMED = "confirmed"  # suspected first, in a clause of its own
    NEGATED = "negated"
    REFUTED = "refuted"  # suspected first, in a clause of its own
    HISTORY = "history"
    FAMILY = "family"
    HYPOTHETICAL = "hypothetical"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a condition, or a relative, with French articles and agreement."""

    nu: str
    feminine: bool = True

    @property
    def e(self) -> str:
        """The ending of what agrees with it."""
        return "e" if self.feminine else ""

    @property
    def un(self) -> str:
        """With the indefinite article."""
        return f"une {self.nu}" if self.feminine else f"un {self.nu}"

    @property
    def dun(self) -> str:
        """After de, with the indefinite article."""
        return f"d'{self.un}"

    @property
    def de(self) -> str:
        """After de, bare."""
        return f"d'{self.nu}" if self._elides else f"de {self.nu}"

    @property
    def la(self) -> str:
        """With the definite article."""
        if self._elides:
            return f"l'{self.nu}"
        return f"la {self.nu}" if self.feminine else f"le {self.nu}"

    @property
    def du(self) -> str:
        """After de, with the definite article."""
        if self._elides or self.feminine:
            return f"de {self.la}"
        return f"du {self.nu}"

    @property
    def _elides(self) -> bool:
        return self.nu[0] in "aeiouhéèêœAEIO"


HEART_FAILURE = "heart failure"

# Forms of the other conditions share words with heart failure's on purpose (décompensation,
# insuffisance, aiguë, poussée), so that no single word names the target.
CONDITIONS: dict[str, tuple[Form, ...]] = {
    HEART_FAILURE: (
        Form("décompensation cardiaque"),
        Form("décompensation cardiaque globale"),
        Form("décompensation cardiaque gauche"),
        Form("insuffisance cardiaque aiguë"),
        Form("poussée d'insuffisance cardiaque"),
        Form("poussée d'IC"),
        Form("IC aiguë"),
        Form("IVG"),
        Form("OAP", feminine=False),
        Form("œdème aigu du poumon", feminine=False),
    ),
    "pneumonia": (
        Form("pneumopathie"),
        Form("pneumopathie basale droite"),
        Form("PNP"),
        Form("foyer infectieux pulmonaire", feminine=False),
    ),
    "copd": (
        Form("décompensation de BPCO"),
        Form("exacerbation de BPCO"),
        Form("poussée de BPCO"),
        Form("décompensation respiratoire"),
    ),
    "embolism": (Form("embolie pulmonaire"), Form("EP")),
    "coronary": (
        Form("syndrome coronarien aigu", feminine=False),
        Form("SCA", feminine=False),
        Form("ischémie myocardique aiguë"),
    ),
    "kidney": (
        Form("insuffisance rénale aiguë"),
        Form("poussée d'insuffisance rénale"),
        Form("IRA"),
    ),
    "stroke": (
        Form("AVC", feminine=False),
        Form("AVC ischémique", feminine=False),
        Form("accident vasculaire cérébral", feminine=False),
    ),
    "diabetes": (
        Form("décompensation de diabète"),
        Form("décompensation acidocétosique"),
        Form("acidocétose"),
    ),
    "urinary": (Form("infection urinaire"), Form("pyélonéphrite aiguë")),
    "thrombosis": (Form("phlébite"), Form("TVP"), Form("thrombose veineuse")),
    "bleeding": (Form("hémorragie digestive"), Form("saignement digestif", feminine=False)),
}
# What can be mistaken for heart failure at the bedside: only these share a sentence with it.
LOOKALIKES = ("pneumonia", "copd", "embolism", "coronary")

KIN = (
    Form("frère", feminine=False),
    Form("oncle", feminine=False),
    Form("fils", feminine=False),
    Form("cousin", feminine=False),
    Form("sœur"),
    Form("tante"),
    Form("fille"),
    Form("cousine"),
)
