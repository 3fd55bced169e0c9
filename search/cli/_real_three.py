"""What the study's own three encoders would need on a card, as a table and as dictionaries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ._estimates import amount, footprint_dict, mib, plain_table, trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from ...trainables.card.cards import Card
    from ..estimate import Counted
    from ..real_three import RealRow


def real_dict(row: RealRow, card: Card, epochs: int) -> dict[str, Any]:
    """All figures of a row; units are in the names, and everything is modelled."""
    return {
        **footprint_dict(row.config, row.footprint, card, epochs),
        "largest_batch_up_to_8_notes": row.largest_batch,
    }


def real_table(rows: Sequence[RealRow], card: Card, notes: Counted, epochs: int) -> Group:
    """A row a config under its encoder, the total, and what could not have run."""
    from rich.console import Group
    from rich.text import Text

    from ...spaces.configs import backbone_label

    table = plain_table(
        f"The study's three encoders on the card {card.name}, modelled: batches of 8 notes and 256 "
        f"tokens, a corpus of {notes.notes:,} notes of {notes.tokens} tokens",
        "model",
        "mode",
        "trainable\nparameters",
        "peak\nMiB",
        "fits",
        "largest\nbatch",
        f"{epochs} epochs\ncard hours",
    )
    table.columns[0].no_wrap = True
    encoder = None
    for row in rows:
        backbone = backbone_label(getattr(row.config, "backbone", "from scratch"))
        if backbone != encoder:
            table.add_section()
            table.add_row(backbone)
            encoder = backbone
        found = row.footprint
        table.add_row(
            f"  {row.config.model}",
            trained(row.config),
            f"{found.trainable_parameters:,}",
            mib(found.peak_bytes),
            "yes" if row.fits else f"{mib(found.excess_bytes)} over",
            f"{row.largest_batch}" if row.largest_batch else "none",
            amount(found.card_hours(epochs)),
        )
    table.add_section()
    total = sum(row.footprint.card_hours(epochs) for row in rows)
    table.add_row("one trial each", "", "", "", "", "", amount(total))
    return Group(table, Text(_sentences(rows, card)))


def _sentences(rows: Sequence[RealRow], card: Card) -> str:
    refused = [row for row in rows if not row.fits]
    limit = rows[0].footprint.limit_bytes
    left = f"The card leaves {mib(limit)} of its {mib(card.memory_bytes)} MiB to a trial."
    by_mode = Counter(getattr(row.config, "mode", "scratch") for row in rows)
    modes = Counter(getattr(row.config, "mode", "scratch") for row in refused)
    told = ", ".join(f"{count} of {by_mode[mode]} in mode {mode}" for mode, count in modes.items())
    verdict = (
        f"{len(refused)} of the {len(rows)} could not have run on it at batches of 8 notes of 256 "
        f"tokens: {told}."
        if refused
        else f"All {len(rows)} fit at batches of 8 notes of 256 tokens."
    )
    return (
        f"{left} {verdict} The largest batch is of 8 notes at most, as the study's; smaller ones, "
        "checkpointing and other optimisers than AdamW are searched. Which of these the study ran "
        "is unknown, and so are its sizes and rates: heads stand here as their official code has "
        "them, last layers and LoRA's rank as this search starts.\n"
    )
