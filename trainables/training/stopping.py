"""When a training is over by itself: the study's rule, whoever trains."""

from collections.abc import Sequence

from ...spaces.record import EpochReport, best_report


def why_over(
    reports: Sequence[EpochReport], *, max_epochs: int, patience: int, epochs: int | None = None
) -> str:
    """Why a training ends after these epochs; "" where it goes on.

    Args:
        reports: of all epochs so far.
        max_epochs: that are trained at most.
        patience: epochs without a better F1 after which it ends; 0: never.
        epochs: that are trained instead, whatever they score; None: they are not fixed.
    """
    if len(reports) >= (epochs or max_epochs):
        return f"all {len(reports)} epochs trained"
    best = best_report(reports)
    if (
        epochs is None
        and patience > 0
        and best is not None
        and len(reports) - best.epoch >= patience
    ):
        return f"no better F1 for {patience} epochs"
    return ""
