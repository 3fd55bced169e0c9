"""What a report of 1,000 trials takes: its size and its time, from a process that has read nothing.

Once as a search leaves a study behind, most trials stopped at rungs; and with every trial complete,
when there is most to draw. `python -m benchmarks.report`.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import toy_study

TRIALS = 1000
LIMIT_SECONDS, LIMIT_BYTES = 5.0, 8_000_000


def measure(trials: int = TRIALS) -> str:
    """A toy study of so many trials, with rungs and without, reported by the command."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        toy_study.record(store, trials=trials, name="rungs")
        toy_study.record(store, trials=trials, name="complete", rungs=False)
        told = [f"{name}: {_report(store, name)}" for name in ("rungs", "complete")]
    return (
        f"a report of {trials:,} trials (at most {LIMIT_SECONDS:.0f} s and "
        f"{LIMIT_BYTES / 1e6:.0f} MB): {'; '.join(told)}"
    )


def _report(store: Path, name: str) -> str:
    page = store / f"{name}.html"
    code = "from headhunt.search.cli import main; main()"
    words = ["report", name, "--store", str(store), "-o", str(page)]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return f"{seconds:.1f} s, {page.stat().st_size / 1e6:.1f} MB"


if __name__ == "__main__":
    print(measure())
