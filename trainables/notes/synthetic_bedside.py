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
    "cancer du côlon opéré",
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
    "vient d'EHPAD, GIR 2",
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
# Two findings each: the first is a little likelier with heart failure, the second without.
# Weak evidence, never proof. A pair's halves contradict each other, so a note holds one of them.
SIGNS = (
    ("crépitants aux deux bases", "auscultation libre"),
    ("OMI jusqu'aux genoux", "pas d'œdème des chevilles"),
    ("orthopnée, dort assis{e}", "dort à plat"),
    ("prise de {n} kg en une semaine", "poids stable"),
    ("turgescence jugulaire", "mollets souples, indolores"),
    ("surcharge à la radio de thorax", "radio de thorax sans particularité"),
    ("furosémide IV, {n} ampoules par jour", "antibiothérapie J{n}"),
    ("diurèse à surveiller sous furosémide", "aérosols trois fois par jour"),
)
# One phrase at most of each line: the others of the line would contradict or repeat it.
NURSING = (
    ("toilette faite au lit avec aide", "toilette faite au lavabo, aide au dos"),
    ("mange peu, boit bien", "bon appétit", "refuse le petit déjeuner, prend son café"),
    ("nuit calme, a bien dormi", "nuit agitée, barrières mises en place"),
    ("pansement du talon refait, plaie propre", "absence d'escarre aux points d'appui"),
    ("transit présent, selles moulées", "pas de selles depuis {n} jours, laxatif donné"),
    ("levé{e} au fauteuil {n} heures, bien toléré", "reste au lit ce jour, asthénique"),
    ("marche dans le couloir avec déambulateur", "kinésithérapie de marche reportée"),
    ("famille vue ce jour, rassurée", "famille non vue, message laissé"),
    ("pas de douleur exprimée, EVA à 0", "EVA à {n}, paracétamol donné, soulagé{e}"),
    ("glycémie capillaire à 1,{n} g/l", "glycémies capillaires arrêtées"),
    ("voie veineuse périphérique changée, point de ponction propre", "voie veineuse retirée"),
    ("kinésithérapie respiratoire faite",),
    ("régime sans sel maintenu", "régime normal"),
    ("textures modifiées, pas de fausse route au repas", "prothèses dentaires égarées, cherchées"),
    ("sortie confirmée pour jeudi sous réserve d'une place", "pas de sortie prévue à ce jour"),
    ("demande de SSR faite, refus de la première structure", "demande de SSR confirmée"),
    ("l'hypothèse d'un retour à domicile est abandonnée par la famille",),
    ("transfert écarté pour l'instant, reste dans le service",),
    ("sonde urinaire retirée, mictions spontanées", "sonde urinaire en place, urines claires"),
    ("protection changée, peau intacte",),
    ("se dit fatigué{e}, souhaite rester au calme", "humeur correcte, participe aux soins"),
    ("lunettes et appareil auditif dans le chevet",),
    ("pas d'allergie connue",),
    ("traitement du soir donné et pris en totalité", "a refusé le traitement du soir"),
    ("anticoagulant poursuivi, pas d'hématome au point d'injection",),
    ("ECG fait et montré à l'interne",),
    ("bilan sanguin de contrôle demandé pour demain", "pas de bilan prévu demain"),
    ("consultation d'ophtalmologie reportée",),
    ("assistante sociale prévenue", "visite de l'aumônier à sa demande"),
    ("bas de contention remis au lever",),
    ("un peu désorienté{e} dans le temps, calme", "orienté{e}, cohérent{e}"),
    ("oxygène sevré progressivement, cible 92 %",),
    ("scope retiré ce matin", "scope maintenu"),
    ("chambre seule demandée", "change de chambre ce jour"),
    ("téléphone et télévision en service",),
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
