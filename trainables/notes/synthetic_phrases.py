"""The sentences of the synthetic corpus that assert something of a condition.

Heart failure and every other condition go through the same sentences, so a cue ("écartée", "pas
d'argument") tells nothing until it is bound to its condition, and a modifier often stands between
the two. What asserts nothing (vital signs, nursing) is in `synthetic_bedside`.

Slots: `{a.un}`, `{a.de}`, `{a.la}`, `{a.du}`, `{a.dun}` and `{a.nu}` are a condition with its
article, `{a.e}` is the feminine ending that agrees with it; `{p.e}` agrees with the patient and
`{k.e}` with a relative. The others are numbers, or modifiers drawn from `MODIFIERS`.
"""

from .synthetic_conditions import Status

SENTENCES: dict[Status, tuple[str, ...]] = {
    Status.OUTRIGHT: (
        "{a.nu} sur écart de régime, diurétiques IV débutés ce matin",
        "{a.nu} en cours de traitement par furosémide IV",
        "{a.nu} sur passage en FA rapide, scope en place",
        "{a.nu} sévère, VNI et dérivés nitrés",
        "{a.nu} avec OMI et crépitants, en cours de déplétion",
    ),
    Status.PRESENT: (
        "le tableau {how} est celui {a.dun}",
        "{a.un} est, {how}, retenu{a.e} par {who}",
        "pris{p.e} en charge depuis {since} pour {a.un}",
        "au total, {how} : {a.nu}",
        "les signes relevés {when} sont en faveur {a.dun}",
        "{who} conclut {how} à {a.un}",
        "{a.la} diagnostiqué{a.e} {when} n'est toujours pas résolu{a.e} {how}",
        "{how}, pas encore d'amélioration nette {a.du}, traitement poursuivi",
        "pas de doute {how} sur {a.la}, traitement en cours",
        "aggravation depuis {since}, sans fièvre ni douleur : {how}, {a.un}",
        "rien {how} qui remette en cause le diagnostic {a.de}",
        "absence {how} d'évolution favorable {a.du}",
    ),
    Status.NEGATED: (
        "le tableau {how} n'est pas celui {a.dun}",
        "{a.un} est, {how}, écarté{a.e} par {who}",
        "pas d'argument {how} pour {a.un}",
        "les signes relevés {when} ne sont pas en faveur {a.dun}",
        "{who} ne conclut pas {how} à {a.un}",
        "absence {how} de tout signe en faveur {a.dun}",
        "les examens faits {when} éliminent, selon {who}, {a.un}",
        "{a.la} redouté{a.e} {when} n'est pas retrouvé{a.e} {how}",
        "{a.un} a été recherché{a.e} {how}, rien ne va dans ce sens",
        "aucun élément {how} pour conclure à {a.un}",
        "pas de fièvre ni de douleur, et {how} rien qui fasse retenir {a.un}",
    ),
    Status.HISTORY: (
        "ATCD, {recall}, {a.de} en {year}",
        "hospitalisé{p.e} en {year}, {recall}, pour {a.un}",
        "on retrouve, {recall}, {a.un} en {year}",
        "a présenté en {year} {a.un}, sans récidive {recall}",
        "ancien compte rendu de {year} : {a.nu} pris{a.e} en charge dans un autre hôpital",
        "{a.un} déjà traité{a.e} en {year}, {recall}",
    ),
    Status.FAMILY: (
        "{k.un} décédé{k.e} à {age} ans {a.dun}",
        "{k.un} actuellement hospitalisé{k.e} pour {a.un}, ce qui l'inquiète beaucoup",
        "antécédents familiaux, {recall} : {a.nu} chez {k.un}",
        "notion, {recall}, {a.dun} chez {k.un}",
        "{k.un} suivi{k.e} en ville depuis {a.un}",
    ),
    Status.HYPOTHETICAL: (
        "surveillance rapprochée, rappeler {who} devant tout signe évoquant {a.un}",
        "revenir aux urgences si altération de l'état faisant craindre {a.un}",
        "consignes laissées {when} pour le cas où {a.un} surviendrait",
        "risque {a.de} expliqué {when} à la famille",
        "signes d'alerte {a.dun} revus {when} avec l'entourage",
        "en cas {a.de} cette nuit, appeler {who}",
        "le terrain expose {how} à {a.un}, contrôle prévu en consultation",
    ),
    Status.RESOLVED: (
        "{a.la} diagnostiqué{a.e} {past} est, {how}, résolu{a.e}",
        "au décours {a.dun} traité{a.e} {past}, {how} plus aucun signe",
        "{a.la} traité{a.e} {past} a totalement régressé {how}",
        "traitement {a.du} arrêté {past}, guérison constatée {how}",
    ),
}

# One condition present (a), one not (b), in the same breath: only their order and the wording tell.
PAIRS: tuple[str, ...] = (
    "le tableau évoque {how} {a.un} plutôt qu'{b.un}",
    "deux hypothèses {when}, {a.un} ou {b.un} : {how} la première est retenue, la seconde écartée",
    "deux hypothèses {when}, {b.un} ou {a.un} : {how} la seconde est retenue, la première écartée",
    "{b.un} a été évoqué{b.e} {when}, mais il s'agit {how} {a.dun}",
    "il ne s'agit pas, {how}, {b.dun} mais {a.dun}",
    "{b.un} étant écarté{b.e} {how}, {who} retient {a.un}",
    "{who} retient {how} {a.un}, {b.un} étant écarté{b.e}",
    "traité{p.e} {when} pour {b.un}, en réalité {how} {a.un}",
    "{a.un} et non pas {b.un} selon {who}, {how}",
    "entre {a.un} et {b.un}, {who} élimine {how} la seconde hypothèse",
    "entre {b.un} et {a.un}, {who} élimine {how} la première hypothèse",
)

# A suspicion, and in a later sentence what became of it.
SUSPICIONS: tuple[str, ...] = (
    "suspicion {when} {a.de}",
    "{a.un} était évoqué{a.e} {when}",
    "la question {a.dun} s'est posée {when}",
    "doute {when} sur {a.un}",
    "adressé{p.e}, {recall}, pour {a.un} possible",
)
VERDICTS: dict[Status, tuple[str, ...]] = {
    Status.CONFIRMED: (
        "cette hypothèse est finalement retenue {how}",
        "{who} retient ce diagnostic {how}",
        "{how}, le bilan complémentaire va dans ce sens",
        "ce premier diagnostic est confirmé {how}",
        "diagnostic initial maintenu {how}, rien ne l'écarte",
    ),
    Status.REFUTED: (
        "cette hypothèse est finalement abandonnée {how}",
        "{who} ne retient pas ce diagnostic {how}",
        "{how}, le bilan complémentaire ne va pas dans ce sens",
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
        "après nouvel examen",
        "à la lecture des examens",
        "après discussion en équipe",
        "à la contre-visite",
    ),
    "who": (
        "le médecin de garde",
        "le chef de clinique",
        "l'interne",
        "le senior",
        "le médecin du service",
        "le praticien d'astreinte",
        "l'équipe mobile",
    ),
    "when": (
        "aux urgences",
        "à l'entrée",
        "hier soir",
        "en fin de journée",
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
