"""The phrases of the synthetic corpus that assert something: conditions, and sentences about them.

Heart failure and every other condition go through the same sentences, so a cue ("écartée", "pas
d'argument") tells nothing until it is bound to its condition, and a modifier often stands between
the two. What asserts nothing (vital signs, nursing) is in `synthetic_bedside`.

Slots: `{a.un}`, `{a.de}`, `{a.la}`, `{a.du}`, `{a.dun}` and `{a.nu}` are a condition with its
article, `{a.e}` is the feminine ending that agrees with it; `{p.e}` agrees with the patient and
`{k.e}` with a relative. `{how}`, `{who}`, `{when}`, `{since}` and `{recall}` are modifiers.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What a sentence says of its condition. Only PRESENT and CONFIRMED say: the patient, now."""

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
        return "e" if self.feminine else ""

    @property
    def un(self) -> str:
        return f"une {self.nu}" if self.feminine else f"un {self.nu}"

    @property
    def dun(self) -> str:
        return f"d'{self.un}"

    @property
    def de(self) -> str:
        return f"d'{self.nu}" if self._elides else f"de {self.nu}"

    @property
    def la(self) -> str:
        if self._elides:
            return f"l'{self.nu}"
        return f"la {self.nu}" if self.feminine else f"le {self.nu}"

    @property
    def du(self) -> str:
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
        Form("PNP", feminine=True),
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
        Form("AIT", feminine=False),
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

SENTENCES: dict[Status, tuple[str, ...]] = {
    Status.PRESENT: (
        "le tableau {how} est celui {a.dun}",
        "{a.un} est {how} retenu{a.e} par {who}",
        "pris{p.e} en charge depuis {since} pour {a.un}",
        "au total, {how} : {a.nu}",
        "les signes relevés {how} sont en faveur {a.dun}",
        "{who} conclut {how} à {a.un}",
        "{a.la} diagnostiqué{a.e} {when} n'est toujours pas résolu{a.e} {how}",
        "pas d'amélioration {how} {a.du}, traitement poursuivi",
        "pas de doute {how} sur {a.la}, traitement en cours",
        "aggravation depuis {since}, sans fièvre ni douleur, avec {how} {a.un}",
        "aucun autre diagnostic {how} que {a.la} n'explique le tableau",
        "absence d'évolution favorable {how} {a.du}",
    ),
    Status.NEGATED: (
        "le tableau {how} n'est pas celui {a.dun}",
        "{a.un} est {how} écarté{a.e} par {who}",
        "pas d'argument {how} pour {a.un}",
        "les signes relevés {how} ne sont pas en faveur {a.dun}",
        "{who} ne conclut pas {how} à {a.un}",
        "absence {how} de tout signe en faveur {a.dun}",
        "le bilan reçu {how} élimine {a.un}",
        "{a.la} redouté{a.e} {when} n'est pas retrouvé{a.e} {how}",
        "{a.un} a été recherché{a.e} {how}, rien ne va dans ce sens",
        "aucun élément {how} pour conclure à {a.un}",
        "pas de fièvre ni de douleur, et {how} rien qui fasse retenir {a.un}",
    ),
    Status.HISTORY: (
        "ATCD {recall} {a.de} en {year}",
        "hospitalisé{p.e} en {year}, {recall}, pour {a.un}",
        "on retrouve {recall} {a.un} en {year}",
        "a présenté en {year} {a.un}, sans récidive {recall}",
        "ancien compte rendu de {year} : {a.nu} pris{a.e} en charge dans un autre hôpital",
        "{a.un} déjà traité{a.e} en {year}, {recall}",
    ),
    Status.FAMILY: (
        "{k.un} décédé{k.e} à {age} ans {a.dun}",
        "{k.un} actuellement hospitalisé{k.e} pour {a.un}, ce qui l'inquiète beaucoup",
        "antécédents familiaux, {recall} : {a.nu} chez {k.un}",
        "notion {recall} {a.dun} chez {k.un}",
        "{k.un} suivi{k.e} en ville depuis {a.un}",
    ),
    Status.HYPOTHETICAL: (
        "surveillance rapprochée {how}, rappeler {who} devant tout signe évoquant {a.un}",
        "revenir aux urgences si altération de l'état faisant craindre {a.un}",
        "consignes laissées {how} pour le cas où {a.un} surviendrait",
        "risque {a.de} expliqué {how} à la famille",
        "signes d'alerte {a.dun} revus {how} avec l'entourage",
        "en cas {a.de} cette nuit, appeler {who}",
        "le terrain expose {how} à {a.un}, contrôle prévu en consultation",
    ),
    Status.RESOLVED: (
        "{a.la} diagnostiqué{a.e} {past} est {how} résolu{a.e}",
        "au décours {a.dun} traité{a.e} {past}, {how} plus aucun signe",
        "{a.la} traité{a.e} {past} a totalement régressé {how}",
        "traitement {a.du} arrêté {past}, guérison {how}",
    ),
}

# One condition present (a), one not (b), in the same breath: only their order and the wording tell.
PAIRS: tuple[str, ...] = (
    "le tableau évoque {how} {a.un} plutôt que {b.un}",
    "deux hypothèses {when}, {a.un} ou {b.un} : {how} la première est retenue, la seconde écartée",
    "deux hypothèses {when}, {b.un} ou {a.un} : {how} la seconde est retenue, la première écartée",
    "{b.un} a été évoqué{b.e} {when}, mais il s'agit {how} {a.dun}",
    "il ne s'agit pas {how} {b.dun} mais {a.dun}",
    "{b.un} étant écarté{b.e} {how}, {who} retient {a.un}",
    "{who} retient {how} {a.un}, {b.un} étant écarté{b.e}",
    "traité{p.e} {when} pour {b.un}, en réalité {how} {a.un}",
    "{a.un} et non {b.un}, {how} et selon {who}",
    "entre {a.un} et {b.un}, {who} élimine {how} la seconde hypothèse",
    "entre {b.un} et {a.un}, {who} élimine {how} la première hypothèse",
)

# A suspicion, and in a later sentence what became of it.
SUSPICIONS: tuple[str, ...] = (
    "suspicion {when} {a.de}",
    "{a.un} était évoqué{a.e} {when}",
    "la question {a.dun} s'est posée {when}",
    "doute {when} sur {a.un}",
    "adressé{p.e} {recall} pour {a.un} possible",
)
VERDICTS: dict[Status, tuple[str, ...]] = {
    Status.CONFIRMED: (
        "cette hypothèse est finalement retenue {how}",
        "{who} retient ce diagnostic {how}",
        "le bilan complémentaire va {how} dans ce sens",
        "ce premier diagnostic est confirmé {how}",
        "diagnostic initial maintenu {how}, rien ne l'écarte",
    ),
    Status.REFUTED: (
        "cette hypothèse est finalement abandonnée {how}",
        "{who} ne retient pas ce diagnostic {how}",
        "le bilan complémentaire ne va pas {how} dans ce sens",
        "ce premier diagnostic n'est pas confirmé {how}",
        "diagnostic initial revu {how}, rien ne le soutient",
    ),
}

MODIFIERS: dict[str, tuple[str, ...]] = {
    "how": (
        "à l'examen de ce matin",
        "au vu du bilan",
        "après relecture du dossier",
        "à ce stade",
        "après avis spécialisé",
        "à la visite",
        "à l'examen du jour",
        "au vu de l'imagerie",
        "après discussion en équipe",
        "à la contre-visite",
    ),
    "who": (
        "le médecin de garde",
        "le cardiologue",
        "l'interne",
        "le senior",
        "le gériatre",
        "le pneumologue",
        "l'équipe mobile",
    ),
    "when": (
        "aux urgences",
        "à l'entrée",
        "hier soir",
        "au téléphone par le SAMU",
        "la nuit dernière",
        "pendant la garde",
        "à son arrivée dans le service",
    ),
    "since": (
        "hier",
        "ce matin",
        "48 h",
        "trois jours",
        "la nuit dernière",
        "lundi",
        "son arrivée",
    ),
    "recall": (
        "d'après le courrier du médecin traitant",
        "d'après la famille",
        "selon le dossier",
        "à l'interrogatoire",
        "selon le courrier d'entrée",
        "d'après l'infirmière libérale",
    ),
    "past": ("le mois dernier", "la semaine dernière", "il y a dix jours", "au précédent séjour"),
}
