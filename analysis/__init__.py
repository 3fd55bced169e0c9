"""What was learned: the trials as a frame, and their ranking.

Made for a notebook: it imports pandas and Optuna, never torch or Ray.
"""

from .frame import curves, trials
from .ranking import Ranking, pareto, rank
from .stored import StudyNotFoundError, StudyUnreadableError

__all__ = [
    "Ranking",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "curves",
    "pareto",
    "rank",
    "trials",
]
