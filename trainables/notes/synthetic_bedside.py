"""The phrases of the synthetic corpus that assert no diagnosis: vital signs, nursing, house style.

They carry most of a note's length, and cue words of their own ("pas de", "absence", "écartée",
"confirmé") that deny or assert nothing which the label asks about.
"""

from random import Random

# The long-term diseases that a patient's notes share.
CHRONIC = (
    "HTA",
    "FA",
    "diabète de type 2",
    "BPCO",
    "AOMI",
    "hypothyroïdie",
    "IRC stade 3",
    "cardiopathie ischémique",
    "cancer de prostate",
    "fracture du col fémoral opérée",
    "prothèse de hanche",
    "syndrome dépressif",
    "maladie d'Alzheimer",
    "dyslipidémie",
    "SAOS appareillé",
    "goutte",
)
HOMES = (
    "vit seul{e} à domicile avec aide ménagère",
    "vit en EHPAD",
    "vit avec sa fille",
    "autonome à domicile",
    "vit au foyer logement, passage infirmier deux fois par jour",
    "retour d'EHPAD, GIR 2",
)
REASONS = (
    "dyspnée",
    "essoufflement au moindre effort",
    "altération de l'état général",
    "œdèmes des membres inférieurs",
    "chute au domicile",
    "toux et encombrement",
    "malaise",
    "confusion fébrile",
    "douleur thoracique",
    "asthénie",
)
# Signs go with heart failure a little more often than without it: weak evidence, never proof.
SIGNS_FOR = (
    "crépitants aux deux bases",
    "OMI jusqu'aux genoux",
    "orthopnée, dort assis{e}",
    "prise de {n} kg en une semaine",
    "turgescence jugulaire",
    "furosémide IV {n}0 mg en cours",
    "surcharge à la radio de thorax",
    "diurèse à surveiller sous furosémide",
)
SIGNS_AGAINST = (
    "auscultation libre",
    "pas d'œdème des chevilles",
    "ronchi diffus, expectoration sale",
    "poids stable",
    "mollets souples, indolores",
    "radio de thorax sans particularité",
    "antibiothérapie J{n}",
    "aérosols trois fois par jour",
)
NURSING = (
    "toilette faite au lit avec aide",
    "mange peu, boit bien",
    "nuit calme, a bien dormi",
    "nuit agitée, barrières mises en place",
    "pansement du talon refait, plaie propre",
    "transit présent, selles moulées",
    "pas de selles depuis {n} jours, laxatif donné",
    "levé{e} au fauteuil {n} heures, bien toléré",
    "marche dans le couloir avec déambulateur",
    "famille vue ce jour, rassurée",
    "pas de douleur exprimée, EVA à 0",
    "EVA à {n}, paracétamol donné, soulagé{e}",
    "absence d'escarre au point d'appui",
    "glycémie capillaire à 1,{n} g/l",
    "voie veineuse périphérique changée, point de ponction propre",
    "kinésithérapie respiratoire faite",
    "régime sans sel maintenu",
    "textures modifiées, pas de fausse route au repas",
    "sortie confirmée pour jeudi sous réserve d'une place",
    "demande de SSR faite, refus de la première structure",
    "l'hypothèse d'un retour à domicile est abandonnée par la famille",
    "transfert écarté pour l'instant, reste dans le service",
    "sonde urinaire retirée, mictions spontanées",
    "protection changée, peau intacte",
    "se dit fatigué{e}, souhaite rester au calme",
    "refuse le petit déjeuner, prend son café",
    "lunettes et appareil auditif dans le chevet",
    "pas d'allergie connue",
    "traitement du soir donné et pris en totalité",
    "anticoagulant poursuivi, pas de saignement au point d'injection",
    "ECG fait et montré à l'interne",
    "bilan sanguin de contrôle demandé pour demain",
    "consultation d'ophtalmologie reportée",
    "assistante sociale prévenue",
    "bas de contention remis au lever",
    "un peu désorienté{e} dans le temps, calme",
    "humeur correcte, participe aux soins",
    "oxygène sevré progressivement, cible 92 %",
    "scope retiré ce matin",
    "visite de l'aumônier à sa demande",
)
PLANS = (
    "poursuite du traitement actuel",
    "bilan de contrôle dans 48 h",
    "poids tous les matins, diurèse des 24 h",
    "avis diététique demandé",
    "surveillance des constantes par équipe",
    "réévaluation demain à la visite",
    "ionogramme et créatinine demain",
    "ETT demandée, date à préciser",
    "prévoir consultation à {n} semaines",
)

SHORTHAND = {
    "patient": "pt",
    "patiente": "pte",
    "traitement": "ttt",
    "diagnostic": "dg",
    "hospitalisé": "hospit",
    "hospitalisée": "hospit",
    "avec": "av",
    "pour": "pr",
    "depuis": "dps",
    "dans": "ds",
    "médecin": "méd",
    "surveillance": "surv",
    "sans": "ss",
    "semaine": "sem",
}


def vital_signs(rng: Random) -> str:
    """A line of constants, two to five of them: they do not depend on the label at all."""
    signs = [
        f"TA {rng.randint(10, 17)}/{rng.randint(5, 9)}",
        f"FC {rng.randint(58, 118)}",
        f"SpO2 {rng.randint(88, 98)} %{rng.choice(('', ' AA', ' sous 2 L', ' sous 3 L'))}",
        f"T° {rng.randint(361, 386) / 10:.1f}".replace(".", ","),
        f"FR {rng.randint(14, 30)}",
        f"diurèse {rng.randint(6, 24)}00 ml",
    ]
    rng.shuffle(signs)
    return ", ".join(signs[: rng.randint(2, 5)])


def laboratory(rng: Random, *, failing: bool) -> str:
    """A line of results, where only BNP leans on the label: two distributions that overlap."""
    bnp = rng.triangular(80, 1900, 600) if failing else rng.triangular(40, 1700, 350)
    results = [
        f"{rng.choice(('BNP', 'BNP à', 'NT-proBNP'))} {round(bnp / 10) * 10}",
        f"CRP {rng.randint(3, 140)}",
        f"créat {rng.randint(58, 210)}",
        f"K+ {rng.randint(32, 54) / 10:.1f}".replace(".", ","),
        f"Hb {rng.randint(86, 148) / 10:.1f}".replace(".", ","),
        f"Na {rng.randint(128, 145)}",
    ]
    rng.shuffle(results)
    return ", ".join(results[: rng.randint(2, 5)])
