"""What was learned: the trials as a frame, their ranking, and the study's table.

Made for a notebook: it imports pandas and Optuna, never torch or Ray.
"""

from ..stores import StoreError, StudyNotFoundError, StudyUnreadableError
from .compare import Comparison, compare
from .confirmation import Confirmation
from .frame import curves, trials
from .ranking import Ranking, on_front, pareto, rank

__all__ = [
    "Comparison",
    "Confirmation",
    "Ranking",
    "StoreError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "compare",
    "curves",
    "on_front",
    "pareto",
    "rank",
    "trials",
]
