"""What the entries of the table share: their form, and the beginnings of command lines.

An entry: what is made in the working folder first, the words of the command line, what is said. In
the folder there are sound `notes.csv`, a sound `encoder`, and a `store` with the study `kept`.
"""

from collections.abc import Callable
from pathlib import Path

Case = tuple[Callable[[Path], object] | None, list[str], list[str]]
HUGE = "9" * 400
SEARCH = ["search", "notes.csv", "--study", "new"]
SCRATCH = [*SEARCH, "--space", "scratch"]
BASELINES = [*SEARCH, "--space", "baselines"]
