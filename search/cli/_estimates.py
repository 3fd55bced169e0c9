"""Footprints as tables for people and as dictionaries for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group
    from rich.table import Table

    from ...spaces.configs import HeadConfig, ScratchConfig
    from ...spaces.record import Footprint
    from ...trainables.card.cards import Card
    from ..estimate import Estimate

MIB = 1024**2
PARTS = (  # of the training's peak
    ("parameters", "parameter_bytes"),
    ("gradients", "gradient_bytes"),
    ("optimiser state", "optimiser_bytes"),
    ("activations and inputs", "activation_bytes"),
    ("rounding by the allocator", "rounding_bytes"),
)


def footprint_dict(
    config: HeadConfig | ScratchConfig, footprint: Footprint, card: Card, epochs: int
) -> dict[str, Any]:
    """All figures of a footprint; units are in the names, and everything is modelled."""
    from ...spaces.configs import config_to_dict

    hours = footprint.card_hours(epochs)
    return {
        "config": config_to_dict(config),
        "card": card.name,
        "fits": footprint.excess_bytes <= 0,
        "peak_mib": footprint.peak_bytes / MIB,
        "limit_mib": footprint.limit_bytes / MIB,
        "excess_mib": footprint.excess_bytes / MIB,
        "parts_mib": {
            **{name: getattr(footprint, part) / MIB for name, part in PARTS},
            "encoding": footprint.encoding_bytes / MIB,
            "workspace (allowance)": footprint.workspace_bytes / MIB,
            "reserve (allowance)": footprint.reserve_bytes / MIB,
        },
        "trainable_parameters": footprint.trainable_parameters,
        "total_parameters": footprint.total_parameters,
        "step_gflop": footprint.step_flops / 1e9,
        "step_moved_mib": footprint.step_bytes / MIB,
        "epoch_seconds": footprint.epoch_seconds,
        "encoding_seconds": footprint.encoding_seconds,
        "epochs": epochs,
        "card_hours": hours,
        "card_energy_kwh": hours * card.watts / 1000,
    }


def estimate_dict(estimate: Estimate, epochs: int) -> dict[str, Any]:
    """The same, and the border."""
    return {
        **footprint_dict(estimate.config, estimate.footprint, estimate.card, epochs),
        "max_tokens": estimate.max_tokens,
        "largest_batch_notes": estimate.largest_batch,
        "largest_batch_is_known": estimate.largest_batch_is_known,
        "largest_tokens": estimate.largest_tokens,
        "training_notes": estimate.training_notes,
    }


def estimate_table(estimate: Estimate, epochs: int, corpus: str) -> Group:
    """One config: its peak by part, the border, and its cost."""
    from rich.console import Group
    from rich.text import Text

    batch = estimate.config.optimisation.batch_size
    heading = (
        f"{describe(estimate.config)}: batch of {batch} x {estimate.max_tokens} tokens"
        f"{_why_shorter(estimate)}, on the card {estimate.card.name}"
    )
    return Group(
        Text(heading, style="bold"),
        _memory(estimate),
        Text(_border(estimate)),
        _cost(estimate, epochs, corpus),
    )


def _why_shorter(estimate: Estimate) -> str:
    """Than was asked for."""
    if estimate.max_tokens >= estimate.asked_tokens:
        return ""
    limited = estimate.max_tokens == estimate.length_limit
    return " (all that the model can read)" if limited else " (the longest note)"


def _memory(estimate: Estimate) -> Table:
    found = estimate.footprint
    table = plain_table("Peak memory, modelled", "part", "MiB")
    for name, part in PARTS:
        table.add_row(name, mib(getattr(found, part)))
    training = sum(getattr(found, part) for _, part in PARTS)
    table.add_row("= training", mib(training), end_section=found.encoding_bytes == 0)
    if found.encoding_bytes:
        table.add_row("encoding, before it", mib(found.encoding_bytes), end_section=True)
    larger = "the larger of both" if found.encoding_bytes else "training"
    table.add_row(
        f"{larger} + matrix library's {mib(found.workspace_bytes)}", mib(found.peak_bytes)
    )
    table.add_row(
        f"the card's {mib(estimate.card.memory_bytes)} less its context's "
        f"{mib(found.reserve_bytes)}",
        mib(found.limit_bytes),
    )
    return table


def _border(estimate: Estimate) -> str:
    found, batch = estimate.footprint, estimate.config.optimisation.batch_size
    over = found.excess_bytes
    verdict = (
        f"fits, {mib(-over)} MiB to spare"
        if over <= 0
        else f"does not fit: {mib(over)} MiB too much"
    )
    tokens, largest = estimate.max_tokens, estimate.largest_batch
    if largest == 0:
        said = f"No batch fits at {tokens} tokens{_with_validation(estimate)}."
    elif not estimate.largest_batch_is_known:
        said = f"Batches of {tokens} tokens fit up to {largest:,} notes, and were not tried beyond."
    else:
        said = f"The largest batch of {tokens} tokens that fits has {largest:,} {_notes(largest)}."
    return f"It {verdict}. {said}\n{_length(estimate, batch)}"


def _with_validation(estimate: Estimate) -> str:
    """What else is in the peak, where it may be what does not fit."""
    if estimate.batch_limit <= estimate.config.optimisation.batch_size:
        return ""
    return f", beside validation batches of {estimate.batch_limit:,} notes (--batch-limit)"


def _length(estimate: Estimate, batch: int) -> str:
    if estimate.largest_tokens == 0:
        return f"No length fits at {batch} {_notes(batch)} a batch.\n"
    end = (
        ", all that the model can read" if estimate.largest_tokens == estimate.length_limit else ""
    )
    longest = f"{estimate.largest_tokens:,} tokens{end}"
    return f"The longest notes that fit at {batch} a batch have {longest}.\n"


def _notes(count: int) -> str:
    return "note" if count == 1 else "notes"


def _cost(estimate: Estimate, epochs: int, corpus: str) -> Table:
    found = estimate.footprint
    table = plain_table(f"Cost, modelled, for {corpus}", "what", "", "unit")
    table.add_row("parameters that train", f"{found.trainable_parameters:,}", "")
    table.add_row("parameters in all", f"{found.total_parameters:,}", "")
    table.add_row("a step, at most", f"{found.step_flops / 1e9:,.2f}", "GFLOP")
    table.add_row("moved by it", f"{found.step_bytes / MIB:,.1f}", "MiB")
    table.add_row(f"an epoch ({estimate.training_notes:,} notes)", amount(found.epoch_seconds), "s")
    if found.encoding_seconds:
        table.add_row("encoding, once a study", amount(found.encoding_seconds), "s")
    hours = found.card_hours(epochs)
    table.add_row(f"{epochs} epochs", amount(hours), "card hours")
    table.add_row(
        f"at {estimate.card.watts:g} W", amount(hours * estimate.card.watts / 1000), "kWh"
    )
    return table


def gallery_table(
    rows: Sequence[tuple[HeadConfig | ScratchConfig, Footprint]],
    card: Card,
    epochs: int,
    corpus: str,
    backbone: str,
    max_tokens: int,
) -> Group:
    """All kinds of models, a line each."""
    from rich.console import Group
    from rich.text import Text

    table = plain_table(
        f"On the card {card.name}, {max_tokens} tokens, {corpus}; heads on {backbone}",
        "model",
        "batch",
        "trainable\nparameters",
        "peak\nMiB",
        "fits",
        "an epoch\ns",
        f"{epochs} epochs\ncard hours",
    )
    for config, found in rows:
        fits = "yes" if found.excess_bytes <= 0 else f"{mib(found.excess_bytes)} over"
        step = config.optimisation
        batch = (
            f"{step.batch_size}"
            if step.accumulation == 1
            else f"{step.batch_size} x {step.accumulation}"
        )
        table.add_row(
            describe(config),
            batch,
            f"{found.trainable_parameters:,}",
            mib(found.peak_bytes),
            fits,
            amount(found.epoch_seconds),
            amount(found.card_hours(epochs)),
        )
    limit = rows[0][1].limit_bytes
    return Group(
        table,
        Text(
            f"All of it is modelled. The card leaves {mib(limit)} MiB; hours include encoding. "
            "Name a model for its memory by part."
        ),
    )


def describe(config: HeadConfig | ScratchConfig) -> str:
    """A config in a few words."""
    from ...spaces.configs import HeadConfig

    what = "head" if isinstance(config, HeadConfig) else "from scratch"
    return f"{config.model} {what}, {trained(config)}"


def trained(config: HeadConfig | ScratchConfig) -> str:
    """How a backbone trains under its head, or how wide a scratch model is."""
    from ...spaces.configs import HeadConfig

    if not isinstance(config, HeadConfig):
        return f"width {config.width}"
    mode = {"last_k": f"last {config.last_k} layers", "lora": f"lora {config.lora_rank}"}
    again = ", checkpointing" if config.checkpointing else ""
    return f"{mode.get(config.mode.value, config.mode.value)}{again}"


def amount(value: float) -> str:
    """Three significant digits, and whole numbers from a hundred on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def mib(size: int) -> str:
    """Bytes in MiB, to three significant digits."""
    mib = size / MIB
    return f"{mib:,.0f}" if mib >= 100 or mib == 0 else f"{mib:.2f}" if mib < 10 else f"{mib:.1f}"


def plain_table(title: str, *headers: str) -> Table:
    """An empty one: words stand left, numbers right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, header in enumerate(headers):
        left = place == 0 or header in ("unit", "mode")
        table.add_column(header, justify="left" if left else "right", no_wrap=place > 0)
    return table
