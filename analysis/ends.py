"""How the trials ended, why some did not fit or failed, and the energy that all of them took."""

from math import nan
from typing import Any

import pandas as pd

from ..spaces.record import UNSCORED, Column, State
from .columns import described
from .formulas import spent_card_hours, spent_gpu_hours

MANIFEST = "manifest"

END_COLUMNS = (
    Column(
        name="family",
        unit="",
        origin="chosen",
        text="a backbone and mode, a scratch model, or the baselines",
    ),
    Column(name="trials", unit="trials", origin="measured", text="all of the family's trials"),
    *(
        Column(name=state.value, unit="trials", origin="measured", text=f"those {told}")
        for state, told in (
            (State.RUNNING, "that have not ended"),
            (State.COMPLETE, "that are complete"),
            (State.PRUNED, "stopped at a rung, since others of the family did better"),
            (State.INFEASIBLE, "that the card could not hold"),
            (State.FAILED, "that diverged or crashed"),
        )
    ),
)
REASON_COLUMNS = (
    Column(name="state", unit="", origin="measured", text="infeasible or failed"),
    Column(name="model", unit="", origin="chosen", text="the head, scratch model or baseline"),
    Column(name="trials", unit="trials", origin="measured", text="trials of that model and end"),
    Column(
        name="least_excess_mib",
        unit="MiB",
        origin="modelled",
        text="the least that one of them needed beyond what the card leaves; as measured where it "
        "was the training that showed it",
    ),
    Column(name="largest_excess_mib", unit="MiB", origin="modelled", text="likewise, the largest"),
    Column(name="reason", unit="", origin="measured", text="the reason of the first of them"),
)
ENERGY_COLUMNS = (
    END_COLUMNS[0],
    Column(
        name="total_card_hours",
        unit="h",
        origin="modelled",
        text="of all its trials: every epoch paid, and a backbone's encoding once",
    ),
    Column(
        name="total_card_energy_kwh",
        unit="kWh",
        origin="modelled",
        text="total_card_hours times the card's watts",
    ),
    Column(
        name="total_gpu_hours",
        unit="h",
        origin="measured",
        text="device time of all its trials times the fraction held; missing without a GPU",
    ),
    Column(
        name="total_energy_kwh",
        unit="kWh",
        origin="measured",
        text="of its trials that a GPU's counter measured; missing where none did",
    ),
    Column(
        name="total_cpu_seconds", unit="s", origin="measured", text="processor time of its trials"
    ),
)


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a family: its trials by state; the family with the most trials first."""
    family = frame["family"].fillna("?").rename("family")
    counts = pd.crosstab(family, frame["state"])
    table = pd.DataFrame({"family": counts.index.astype("string"), "trials": counts.sum(axis=1)})
    for state in State:
        table[state.value] = counts.get(state.value, 0)
    table = table.reset_index(drop=True).sort_values(["trials", "family"], ascending=[False, True])
    return _described(table, END_COLUMNS)


def reasons(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each model that did not fit or failed: how many, by how much, and why."""
    excess = frame["measured_excess_mib"].fillna(frame["excess_mib"])
    excess = excess.where(frame["state"] == State.INFEASIBLE)
    unscored = frame.assign(excess=excess)[frame["state"].isin(UNSCORED)]
    rows: list[dict[str, Any]] = [
        {
            "state": state,
            "model": model,
            "trials": len(own),
            "least_excess_mib": own["excess"].min(),
            "largest_excess_mib": own["excess"].max(),
            "reason": own["reason"].iloc[0],
        }
        for (state, model), own in unscored.groupby(["state", "model"], dropna=False)
    ]
    names = [column.name for column in REASON_COLUMNS]
    table = pd.DataFrame(rows, columns=names).sort_values(
        ["trials", "state", "model"], ascending=[False, True, True]
    )
    return _described(table, REASON_COLUMNS)


def energy(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a family of one study: hours and energy of all its trials, modelled and measured."""
    watts = (frame.attrs.get(MANIFEST, {}).get("card") or {}).get("watts")
    rows: list[dict[str, Any]] = []
    for family, own in frame.groupby(frame["family"].fillna("?"), sort=True):
        hours = spent_card_hours(own)
        rows.append(
            {
                "family": family,
                "total_card_hours": hours,
                "total_card_energy_kwh": hours * watts / 1000 if watts else nan,
                "total_gpu_hours": spent_gpu_hours(own),
                "total_energy_kwh": own["energy_kwh"].sum(min_count=1),
                "total_cpu_seconds": own["cpu_seconds"].sum(min_count=1),
            }
        )
    names = [column.name for column in ENERGY_COLUMNS]
    return _described(pd.DataFrame(rows, columns=names), ENERGY_COLUMNS)


def _described(table: pd.DataFrame, columns: tuple[Column, ...]) -> pd.DataFrame:
    table = table.reset_index(drop=True)
    table.attrs["columns"] = described(map(str, table.columns), columns)
    return table
