"""A study in a few sentences: what was asked, what won, by how much, how sure, what it cost.

Every sentence is of the frames and of the manifest; where something is missing it says what.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..spaces.configs import backbone_label
from ..spaces.record import State
from .confirmation import Confirmation
from .formulas import card_of, finite, is_complete, is_control, spent_card_hours, spent_gpu_hours
from .points import points, validation_notes
from .ranking import Ranking
from .tables import amount, score
from .wording import counted


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was asked, and what it means."""

    name: str
    value: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The answers to a reader's first questions, in plain sentences."""

    won: str
    margin: str  # over the best baseline
    sure: tuple[str, ...]
    cost: str
    missing: tuple[str, ...]  # what a reader must know is not there

    def facts(self) -> tuple[Fact, ...]:
        """Question and answer; what is not told is left out."""
        told = (
            Fact("What won", f"{self.won} {self.margin}".strip()),
            Fact("How sure", " ".join(self.sure)),
            Fact("What it cost", self.cost),
            Fact("What is missing", " ".join(self.missing)),
        )
        return tuple(fact for fact in told if fact.value)


def asked(manifest: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What the study was asked; what its manifest does not tell is left out."""
    corpus, card = manifest.get("corpus") or {}, manifest.get("card") or {}
    settings = manifest.get("settings") or {}
    told = {**settings, **manifest}
    facts = [
        Fact("Notes", _notes(corpus), "counted; no text of a note is in this report"),
        Fact("Classes", ", ".join(map(str, corpus.get("classes", ()))), "the labels told apart"),
        Fact("Searched", str(told.get("space", "")), "the space: what was allowed to vary"),
        Fact(
            "Backbones",
            ", ".join(backbone_label(name) for name in settings.get("backbones") or ()),
            "pre-trained encoders under the heads",
        ),
        Fact("Objective", ", ".join(told.get("objective") or ()), "what the sampler was told"),
        Fact("Sampler", _joined(told.get("sampler"), "seed", told.get("seed")), "who proposed"),
        Fact("Epochs at most", str(told.get("max_epochs", "")), "of a trial"),
        Fact("Budget", _budget(manifest.get("budget") or {}), "whichever was reached first"),
        Fact("Card", _card(card), "emulated: its hours, memory and energy are modelled"),
        Fact("Made", str(manifest.get("created_at", "")), "when the study was begun, UTC"),
    ]
    return tuple(fact for fact in facts if fact.value)


def _notes(corpus: Mapping[str, Any]) -> str:
    parts = corpus.get("parts") or {}
    if "notes" not in corpus:
        return ""
    told = ", ".join(f"{count:,} {part}" for part, count in parts.items())
    return f"{corpus['notes']:,} in {len(corpus.get('classes', ()))} classes: {told}"


def _joined(first: Any, word: str, second: Any) -> str:
    if first is None:
        return ""
    return str(first) if second is None else f"{first}, {word} {second}"


def _budget(budget: Mapping[str, Any]) -> str:
    limits = {name: limit for name, limit in budget.items() if limit is not None}
    return ", ".join(f"{limit:g} {name.replace('_', ' ')}" for name, limit in limits.items())


def _card(card: Mapping[str, Any]) -> str:
    if not card:
        return "none: no hours, memory or energy are modelled"
    memory = f", {card['memory_bytes'] / 2**20:,.0f} MiB" if "memory_bytes" in card else ""
    watts = f", {card['watts']:g} W" if card.get("watts") else ""
    return f"{card.get('name', '?')}{memory}{watts}"


def summary(
    frame: pd.DataFrame, ranking: Ranking, confirmation: Confirmation | None = None
) -> Summary:
    """The answers from the trials of one study, their ranking, and what was confirmed of them.

    Args:
        frame: trials of one study.
        ranking: `rank(frame)`.
        confirmation: None where none was made.
    """
    complete = frame[is_complete(frame) & finite(frame["f1"])]
    searched = complete[~is_control(complete)]
    controls = complete[is_control(complete)]
    best = _best(searched)
    best_control = _best(controls)
    return Summary(
        won=_won(best, best_control, ranking),
        margin=_margin(best, best_control),
        sure=_sure(frame, best, best_control, len(searched), confirmation),
        cost=_cost(frame),
        missing=tuple(_missing(frame, best, best_control)),
    )


def _best(trials: pd.DataFrame) -> pd.Series | None:
    if trials.empty:
        return None
    return trials.sort_values(["f1", "trial"], ascending=[False, True]).iloc[0]


def _named(trial: pd.Series) -> str:
    backbone = trial.get("backbone")
    on = f" on {backbone_label(backbone)}, {trial['mode']}" if pd.notna(backbone) else ""
    return f"{trial['model']}{on} (trial {trial['trial']})"


def _won(best: pd.Series | None, control: pd.Series | None, ranking: Ranking) -> str:
    if best is None:
        if control is None:
            return "Nothing has won: no trial is complete."
        return f"Only baselines are complete: {_named(control)} has F1 {score(control['f1'])}."
    said = f"The best F1 is {score(best['f1'])}: {_named(best)}."
    if ranking.by != "f1" and len(ranking.table):
        first = ranking.table.iloc[0]
        hours = first["card_hours" if ranking.hours == "modelled" else "gpu_hours"]
        if first["trial"] == best["trial"]:
            return f"{said} It also has the most F1 per GPU-hour."
        among = ", among those that reach the best baseline," if control is not None else ""
        said += (
            f" The most F1 per GPU-hour{among} has {_named(first)}: F1 {score(first['f1'])} for "
            f"{amount(hours)} h."
        )
    return said


def _margin(best: pd.Series | None, control: pd.Series | None) -> str:
    if best is None or control is None:
        return ""
    difference = best["f1"] - control["f1"]
    if difference == 0:
        return f"It equals the best baseline, {_named(control)}."
    side = "above" if difference > 0 else "below"
    return (
        f"That is {score(abs(difference))} {side} the best baseline, {_named(control)}, "
        f"which has {score(control['f1'])} and needs no GPU."
    )


def _sure(
    frame: pd.DataFrame,
    best: pd.Series | None,
    control: pd.Series | None,
    searched: int,
    confirmation: Confirmation | None,
) -> tuple[str, ...]:
    if confirmation is not None:
        return confirmation.sentences
    said = [
        "Nothing has been confirmed: these scores are of validation, which the search has used to "
        "choose. The command headhunt confirm trains the best again, and scores them on the test "
        "part."
    ]
    if best is None:
        return tuple(said)
    table = points(frame)
    ends = table[table["trial"] == best["trial"]].iloc[0]
    if notes := validation_notes(frame.attrs.get("manifest", {})):
        said.append(
            f"On {notes:,} validation notes an F1 of {score(best['f1'])} is roughly "
            f"{score(ends['f1_low'])} to {score(ends['f1_high'])}"
            + _told_apart(control, ends["f1_low"])
        )
    if searched > 1:
        said.append(
            f"It is the best of {counted(searched, 'complete trial')}, so some of it is luck."
        )
    return tuple(said)


def _told_apart(control: pd.Series | None, low: float) -> str:
    if control is None:
        return "."
    if control["f1"] >= low:
        return ", and the best baseline is not below that: they cannot be told apart by this."
    return "; the best baseline is below that."


def _cost(frame: pd.DataFrame) -> str:
    counts = frame["state"].value_counts()
    states = ", ".join(f"{counts[s]} {s}" for s in State if s in counts.index)
    said = f"{counted(len(frame), 'trial')}: {states}." if len(frame) else "No trial was started."
    hours, card = spent_card_hours(frame), card_of(frame)
    if pd.notna(hours):
        watts = (frame.attrs.get("manifest", {}).get("card") or {}).get("watts")
        energy = f", {amount(hours * watts / 1000)} kWh at its {watts:g} W" if watts else ""
        said += (
            f" All of them cost {amount(hours)} hours of the card {card or '?'}{energy}: modelled."
        )
    if pd.notna(measured := spent_gpu_hours(frame)):
        said += f" Measured here: {amount(measured)} GPU hours."
    seconds = float(frame["wall_seconds"].sum())
    if seconds:
        said += f" Their epochs took {amount(seconds / 3600)} hours here."
    return said


def _missing(frame: pd.DataFrame, best: pd.Series | None, control: pd.Series | None) -> list[str]:
    said = []
    running = int((frame["state"] == State.RUNNING).sum())
    if running:
        are = "trial is" if running == 1 else "trials are"
        said.append(f"{running} {are} unfinished: this report is of the study as it stood.")
    infeasible = int((frame["state"] == State.INFEASIBLE).sum())
    if infeasible and infeasible == len(frame):
        said.append("The card could hold none of the trials: nothing was run.")
    without_score = int((is_complete(frame) & ~finite(frame["f1"])).sum())
    if without_score:
        said.append(f"{counted(without_score, 'complete trial')} without an F1 left out.")
    if best is not None and control is None:
        said.append("No baseline is complete, so nothing says what a plain method would reach.")
    if best is not None and not frame["card_hours"].notna().any():
        said.append("No hours are modelled, so nothing is told of F1 per GPU-hour.")
    return said
