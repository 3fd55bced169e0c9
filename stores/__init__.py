"""Where studies are: a local folder of journals, or a PostgreSQL database that machines share.

One abstraction for whoever writes a study (`search`) and whoever reads one (`analysis`). What is
confidential or large, encoded notes, checkpoints and weights, lies in a local folder with either.
"""

from .memory import HeldInMemory, SharingStorage
from .places import DEFAULT_STORE, Place, secrets_hidden, store_at
from .store import (
    CONFIRMATION,
    SNAPSHOT,
    Held,
    Store,
    StoredStudy,
    StoreError,
    StoreLostError,
    StudyError,
    StudyNotFoundError,
    StudyUnreadableError,
    check_name,
    confirmation_of,
    confirmed_by,
    reading,
)

__all__ = [
    "CONFIRMATION",
    "DEFAULT_STORE",
    "SNAPSHOT",
    "Held",
    "HeldInMemory",
    "Place",
    "SharingStorage",
    "Store",
    "StoreError",
    "StoreLostError",
    "StoredStudy",
    "StudyError",
    "StudyNotFoundError",
    "StudyUnreadableError",
    "check_name",
    "confirmation_of",
    "confirmed_by",
    "reading",
    "secrets_hidden",
    "store_at",
]
