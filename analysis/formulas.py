"""What the rankings and the tables compute, each formula once; docs/ranking.md has them in words.

A missing value stays missing: no formula makes a number of hours that nobody has, divides by zero
or lets a score that is none take part.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..spaces.configs import BaselineConfig
from ..spaces.record import Role, State

Hours = Literal["modelled", "measured"]
HOURS_COLUMN: dict[Hours, str] = {"modelled": "card_hours", "measured": "gpu_hours"}
TOTAL_COLUMN: dict[Hours, str] = {"modelled": "total_card_hours", "measured": "total_gpu_hours"}
RATIO_COLUMN = "f1_per_gpu_hour"
# What F1 is divided by in each ratio.
RATIOS: dict[str, dict[Hours, str]] = {
    RATIO_COLUMN: HOURS_COLUMN,
    "f1_per_gpu_hour_marginal": {"modelled": "card_hours_marginal", "measured": "gpu_hours"},
    "f1_per_kwh": {"modelled": "card_energy_kwh", "measured": "energy_kwh"},
}

MAYBE_ONE_CORPUS = (
    "Whether the studies have the same corpus is not known, as bundles leave out its hash unless "
    "asked: if they have not, scores do not compare between them."
)


def check_hours(hours: str) -> None:
    """Refuse a kind of hours that there is not.

    Raises:
        ValueError: it is neither modelled nor measured.
    """
    if hours not in HOURS_COLUMN:
        raise ValueError(f"hours are one of {', '.join(HOURS_COLUMN)}; got {hours=}")


def finite(values: pd.Series) -> pd.Series:
    """Whether each is a number: not missing, not NaN, not infinite."""
    return pd.Series(np.isfinite(values.to_numpy(float, na_value=np.nan)), index=values.index)


def paid(cost: pd.Series) -> pd.Series:
    """Hours or kWh that can be divided by; none and zero are both missing here."""
    values = cost.astype(float)
    return values.where(finite(values) & (values > 0))


def f1_over(f1: pd.Series, cost: pd.Series) -> pd.Series:
    """F1 / cost, hours or kWh; missing where either is, or the cost is zero."""
    return f1.where(finite(f1)) / paid(cost)


def front(f1: pd.Series, hours: pd.Series) -> pd.Series:
    """The front of larger `f1` against smaller `hours`; missing values are not on it."""
    on_front = np.zeros(len(f1), dtype=bool)
    scores, spent = f1.to_numpy(float), hours.to_numpy(float)
    best, best_hours = -np.inf, np.inf
    for place in np.lexsort((-scores, spent)):  # fewest hours first, then the largest F1
        if np.isnan(scores[place]) or np.isnan(spent[place]):
            continue
        equal = scores[place] == best and spent[place] == best_hours
        if scores[place] > best or equal:
            on_front[place] = True
            best, best_hours = scores[place], spent[place]
    return pd.Series(on_front, index=f1.index, dtype="boolean")


def spent_card_hours(frame: pd.DataFrame) -> float:
    """Modelled hours of all these trials: every epoch paid, each backbone's encoding once a study.

    Pruned, failed and running trials are in it. NaN where nothing is modelled: baselines, no card.
    """
    if not frame["peak_mib"].notna().any():
        return float("nan")
    encoding = frame["card_hours"] - frame["card_hours_marginal"]
    keys = [frame[name] for name in ("study", "backbone") if name in frame]
    once = encoding.groupby(keys, dropna=False).max()
    return float(frame["card_hours_marginal"].sum() + once.sum())


def spent_gpu_hours(frame: pd.DataFrame) -> float:
    """Measured hours of all these trials; NaN where none of them ran on a GPU."""
    return float(frame["gpu_hours"].sum(min_count=1))


def is_complete(frame: pd.DataFrame) -> pd.Series:
    """Whether each trial is complete: no other can win."""
    return (frame["state"] == State.COMPLETE).fillna(False).astype(bool)


def is_control(frame: pd.DataFrame) -> pd.Series:
    """Baselines, also those that a search over baselines proposed: none of them used a GPU."""
    control = (frame["role"] == Role.CONTROL) | (frame["family"] == BaselineConfig().family)
    return control.fillna(False).astype(bool)


def differences_between_studies(frame: pd.DataFrame) -> dict[str, str]:
    """What the studies of a frame differ in, and what therefore does not compare between them.

    A study that does not tell its corpus, as most bundles do not, has another than all others.
    """
    manifests = frame.attrs.get("manifests", {})
    digests = {_digest(m) or f"of {name}" for name, m in manifests.items()}
    cards = {_card_name(m) for m in manifests.values()}
    return {
        what: consequence
        for what, values, consequence in (
            ("corpus", digests, "scores"),
            ("card", cards, "modelled hours and memory"),
        )
        if len(values) > 1
    }


def difference_notes(frame: pd.DataFrame) -> list[str]:
    """The same as sentences."""
    return [
        MAYBE_ONE_CORPUS
        if what == "corpus" and _may_have_one_corpus(frame)
        else f"The studies differ in their {what}: {consequence} do not compare between them."
        for what, consequence in differences_between_studies(frame).items()
    ]


def _may_have_one_corpus(frame: pd.DataFrame) -> bool:
    digests = {_digest(manifest) for manifest in frame.attrs.get("manifests", {}).values()}
    return None in digests and len(digests) <= 2


def card_of(frame: pd.DataFrame) -> str | None:
    """The card of the modelled hours, or the cards; None where there is none."""
    manifests = frame.attrs.get("manifests") or {"": frame.attrs.get("manifest", {})}
    names = [name for name in map(_card_name, manifests.values()) if name is not None]
    return ", ".join(dict.fromkeys(names)) or None


def _digest(manifest: Mapping[str, Any]) -> str | None:
    return (manifest.get("corpus") or {}).get("digest")


def _card_name(manifest: Mapping[str, Any]) -> str | None:
    return (manifest.get("card") or {}).get("name")
