"""How long a study of 5,000 trials of ten epochs takes to load, with its snapshots and without.

`python -m benchmarks.frame`
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from headhunt.analysis import curves, trials
from headhunt.stores import store_at

from .storage import write

TRIALS = 5000
LIMIT_SECONDS = 1.0


def measure(count: int = TRIALS) -> str:
    """Both frames twice: from the store, and from the snapshots that this left."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        write(store, "frame", count)
        first = [_seconds(read, store) for read in (trials, curves)]
        again = [_seconds(read, store) for read in (trials, curves)]
        kept = store_at(store).snapshot_folder("frame")
        size = sum(file.stat().st_size for file in kept.glob("*.parquet")) if kept else 0
    return (
        f"frame: {count:,} trials load in {again[0]:.2f} s and their curves in {again[1]:.2f} s "
        f"(at most {LIMIT_SECONDS} s) from {size / 1e6:.1f} MB of snapshots; from the store "
        f"{first[0]:.2f} and {first[1]:.2f} s"
    )


def _seconds(read: Callable[..., pd.DataFrame], store: Path) -> float:
    begin = time.perf_counter()
    read("frame", store=store)
    return time.perf_counter() - begin


if __name__ == "__main__":
    print(measure())
