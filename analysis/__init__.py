"""What was learned: the trials as a frame, their ranking, and what of it holds on the test part.

Made for a notebook: it imports pandas and Optuna, never torch or Ray.
"""

from ..stores import StoreError, StudyNotFoundError, StudyUnreadableError
from .confirmation import Confirmation, confirmation
from .frame import curves, trials
from .ranking import Ranking, pareto, rank

__all__ = [
    "Confirmation",
    "Ranking",
    "StoreError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "confirmation",
    "curves",
    "pareto",
    "rank",
    "trials",
]
