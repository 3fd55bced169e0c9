"""The report's figures: each takes tables and draws them with Plotly; none computes anything.

Nothing here is imported before a report is made: a notebook imports the analysis without Plotly.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing, and what it shows in a sentence for those who cannot see it."""

    name: str  # of its file and of its place in the page: letters, digits and hyphens
    finding: str  # one or two plain sentences
    drawing: "Drawing | None"  # None where there is nothing to draw: the finding says why
