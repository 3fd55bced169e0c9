"""What the test part said: models with their intervals, and F1 against the training notes."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from ..tables import score
from . import Figure
from .style import BLACK, BLUE, GREY, Mark, drawing, legend, lines, plain, rows

ROW = 40  # pixels of a model


def confirmed_models(models: pd.DataFrame) -> Figure:
    """F1 on test with its interval, a row a model, and hollow what validation had said.

    Args:
        models: `Confirmation.models`.
    """
    name = "confirmed"
    scored = models[models["test_f1"].notna()]
    if scored.empty:
        return Figure(name, "No model has been scored on the test part yet.", None)
    turned = scored.iloc[::-1]
    names = [plain(f"{row.model}, trial {row.trial}") for row in rows(turned)]
    figure = drawing(x="macro F1", y="", height=140 + ROW * len(names), legend_entries=2)
    figure.add_trace(
        go.Scatter(
            x=turned["validation_f1"], y=names, mode="markers", name="validation, in the search",
            marker={"symbol": "diamond-open", "color": GREY, "size": 10, "line": {"width": 1.5}},
            text=[f"validation F1 {score(f1)}" for f1 in turned["validation_f1"]],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=turned["test_f1"], y=names, mode="markers", name="test, with its 95 % interval",
            marker={"symbol": "circle", "color": BLUE, "size": 10},
            error_x={
                "type": "data", "symmetric": False, "color": BLACK, "thickness": 1.5, "width": 5,
                "array": turned["test_f1_high"] - turned["test_f1"],
                "arrayminus": turned["test_f1"] - turned["test_f1_low"],
            },
            text=[
                lines(
                    f"{row.model}, trial {row.trial}",
                    f"test F1 {score(row.test_f1)}, {score(row.test_f1_low)} to "
                    f"{score(row.test_f1_high)}",
                    f"against the best baseline: {row.verdict}",
                )
                for row in rows(turned)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    best = scored.sort_values("test_f1").iloc[-1]
    finding = (
        f"The best on test is {best['model']} (trial {best['trial']}) with F1 "
        f"{score(best['test_f1'])}, {score(best['test_f1_low'])} to {score(best['test_f1_high'])}; "
        f"on validation it had {score(best['validation_f1'])}."
    )
    return Figure(name, finding, figure)


def f1_by_training_notes(fractions: pd.DataFrame, groups: Mapping[str, Mark]) -> Figure:
    """F1 on test against the number of training notes, a line a model.

    Args:
        fractions: `Confirmation.fractions`.
        groups: the mark of each model, by `model_label`.
    """
    name = "f1-by-training-notes"
    scored = fractions[fractions["test_f1"].notna()]
    if scored.empty:
        return Figure(name, "No model has been scored with fewer training notes yet.", None)
    labels = model_label(scored)
    figure = drawing(x="training notes", y="macro F1 on test", legend_entries=labels.nunique())
    for label in dict.fromkeys(labels):
        own = scored[labels == label].sort_values("training_notes")
        mark = groups[label]
        figure.add_trace(
            go.Scatter(
                x=own["training_notes"], y=own["test_f1"], mode="lines+markers", name=legend(label),
                line={"color": mark.colour, "dash": mark.dash, "width": 2},
                marker={"symbol": mark.symbol, "size": 9},
                error_y={
                    "type": "data", "symmetric": False, "thickness": 1, "width": 4,
                    "array": own["test_f1_high"] - own["test_f1"],
                    "arrayminus": own["test_f1"] - own["test_f1_low"],
                },
                text=[
                    lines(
                        label,
                        f"{row.training_notes} notes: test F1 {score(row.test_f1)}, "
                        f"{score(row.test_f1_low)} to {score(row.test_f1_high)}",
                    )
                    for row in rows(own)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    ends = scored.assign(label=labels).sort_values("training_notes").groupby("label", sort=False)
    told = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{score(row.test_f1)} with {row.training_notes} notes"
            for row in rows(own.iloc[[0, -1]] if len(own) > 1 else own)
        )
        for label, own in ends
    )
    return Figure(name, f"{told}.", figure)


def model_label(frame: pd.DataFrame) -> pd.Series:
    """The name of a confirmed model: two trials may be of one head."""
    return frame["model"].astype(str) + ", trial " + frame["trial"].astype(str)
