"""Options that several commands have: of a budget, and the largest seed."""

from typing import Annotated

import typer

MOST_SEED = 2**31 - 1
CardHours = Annotated[
    float | None,
    typer.Option(help="Budget: modelled GPU-hours on the card.", show_default=False),
]
StopMargin = Annotated[
    float | None,
    typer.Option(
        help="End a search when a trial that beats the best F1 by this much has become unlikely "
        "(under 5 %) in the trials that are left. (default: off)",
        show_default=False,
    ),
]
