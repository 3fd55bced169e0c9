"""What was learned: the trials as a frame, rankings, tables, and what holds on the test part.

Made for a notebook: it imports pandas and Optuna, never torch or Ray.
"""

from ..stores import StoreError, StudyNotFoundError, StudyUnreadableError
from .bundle import Made, Sharing, bundle
from .bundle_file import Bundle, BundleError, read_bundle, write_bundle
from .compare import Comparison, compare
from .confirmation import Confirmation, confirmation
from .frame import curves, trials
from .importance import Importance, importance
from .ranking import Ranking, on_front, pareto, rank

__all__ = [
    "Bundle",
    "BundleError",
    "Comparison",
    "Confirmation",
    "Importance",
    "Made",
    "Ranking",
    "Sharing",
    "StoreError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "bundle",
    "compare",
    "confirmation",
    "curves",
    "importance",
    "on_front",
    "pareto",
    "rank",
    "read_bundle",
    "trials",
    "write_bundle",
]
