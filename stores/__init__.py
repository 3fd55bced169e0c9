"""Where studies are: a local folder of journals, or a PostgreSQL database that machines share.

One abstraction for whoever writes a study (`search`) and whoever reads one (`analysis`). What is
confidential or large, encoded notes, checkpoints and weights, lies in a local folder with either.
"""

from .places import DEFAULT_STORE, Place, secrets_hidden, store_at
from .store import (
    SNAPSHOT,
    Held,
    Store,
    StoredStudy,
    StoreError,
    StoreLostError,
    StudyError,
    StudyNotFoundError,
    StudyUnreadableError,
    reading,
)

__all__ = [
    "DEFAULT_STORE",
    "SNAPSHOT",
    "Held",
    "Place",
    "Store",
    "StoreError",
    "StoreLostError",
    "StoredStudy",
    "StudyError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "reading",
    "secrets_hidden",
    "store_at",
]
