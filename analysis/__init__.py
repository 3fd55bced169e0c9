"""What was learned: the trials as a frame, and their ranking.

Made for a notebook: it imports pandas and Optuna, never torch or Ray.
"""

from ..stores import StoreError, StudyNotFoundError, StudyUnreadableError
from .confirmation import Confirmation
from .frame import curves, trials
from .ranking import Ranking, pareto, rank

__all__ = [
    "Confirmation",
    "Ranking",
    "StoreError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "curves",
    "pareto",
    "rank",
    "trials",
]
