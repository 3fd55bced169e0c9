"""`headhunt footprint`: what a config would need on a card, without running it.

One model in detail, or, where none is named, all heads, modes and scratch models in a table. With
`--calibrate` the device of this machine is measured and written as a card file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._calibrating import calibrate_device, options_named
from ._estimates import estimate_dict, estimate_table, footprint_dict, gallery_table
from ._real_three import real_dict, real_table
from ._stores import refuse

if TYPE_CHECKING:
    from ...spaces.configs import HeadConfig, ScratchConfig
    from ...trainables.card.cards import Card
    from ...trainables.notes.corpus import Corpus

app = typer.Typer(add_completion=False)

SCRATCH = ("transformer", "moe")
MODELS = ("linear", "adapter", "lightweight", "tiny_attention", "grn", *SCRATCH)


class FootprintFormat(StrEnum):
    """How it is written."""

    TABLE = "table"
    JSON = "json"


@app.command()
def footprint(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help=f"{' | '.join(MODELS)}. (default: all of them, and the modes, in one table)",
            show_default=False,
        ),
    ] = None,
    card: Annotated[
        str,
        typer.Option(
            help="p620 | gtx1050ti | t4 | rtx3060 | a100 | h100 | h200 | FILE.toml | auto (this "
            "machine's GPU)"
        ),
    ] = "p620",
    backbone: Annotated[
        str,
        typer.Option(
            help="Under a head: camembert-bio, drbert, alibert, minilm, a Hugging Face id or a "
            "directory. Its configuration is enough; with --notes, its tokenizer too."
        ),
    ] = "camembert-bio",
    mode: Annotated[
        str, typer.Option(help="How the backbone trains: frozen | last_k | full | lora.")
    ] = "frozen",
    last_k: Annotated[int, typer.Option(min=1, max=1_000, help="last_k: layers that train.")] = 2,
    lora_rank: Annotated[
        int, typer.Option(min=1, max=100_000, help="lora: width of the additions.")
    ] = 8,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations twice to keep fewer.")
    ] = False,
    bottleneck: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_000_000,
            help="adapter, lightweight, grn: width inside. (default: 64, 256, full)",
            show_default=False,
        ),
    ] = None,
    attention_width: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="tiny_attention: width. (default: 1)", show_default=False
        ),
    ] = None,
    pooling: Annotated[str, typer.Option(help="first | mean | max | attention.")] = "mean",
    width: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="transformer, moe: of a token.")
    ] = 32,
    blocks: Annotated[int, typer.Option(min=1, max=100, help="transformer, moe: layers.")] = 1,
    feed_forward: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="transformer, moe: width.")
    ] = 32,
    experts: Annotated[int, typer.Option(min=1, max=10_000, help="moe.")] = 10,
    vocabulary: Annotated[
        int, typer.Option(min=100, max=10_000_000, help="transformer, moe: sub-words.")
    ] = 20_000,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Notes in memory at once.")
    ] = 8,
    accumulation: Annotated[int, typer.Option(min=1, max=1_000_000, help="Batches a step.")] = 1,
    optimiser: Annotated[str, typer.Option(help="adamw | sgd | adafactor.")] = "adamw",
    max_tokens: Annotated[
        int, typer.Option(min=8, max=1_000_000, help="Tokens of a note at most.")
    ] = 256,
    batch_limit: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Notes of a validation batch, as in a search.")
    ] = 8,
    epochs: Annotated[int, typer.Option(min=1, max=1_000_000, help="For the card hours.")] = 10,
    notes: Annotated[
        Path | None,
        typer.Option(
            help="Notes whose lengths count: CSV, TSV, JSON Lines or Parquet with `text` and "
            "`label`. (default: the next three)",
            show_default=False,
        ),
    ] = None,
    note_count: Annotated[
        int, typer.Option(min=10, max=10_000_000, help="Notes, 70 % of them to train on.")
    ] = 5444,
    note_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Tokens of a note in the mean.")
    ] = 107,
    classes: Annotated[int, typer.Option(min=2, max=1_000_000, help="Labels.")] = 2,
    study: Annotated[
        bool,
        typer.Option(
            "--study",
            help="The study's three encoders instead, with every head and mode, at its batches of "
            "8 notes and 256 tokens.",
        ),
    ] = False,
    written_as: Annotated[FootprintFormat, typer.Option("--format")] = FootprintFormat.TABLE,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Measure the device of this machine (its GPU, or one core) in under a minute, and "
            "write it to this .toml file, for --card. Nothing else is done.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --calibrate: overwrite the file.")
    ] = False,
    watts: Annotated[
        float | None,
        typer.Option(
            help="With --calibrate: power of the device under load, in W, where it does not tell.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the peak memory, the largest batch, and the hours of MODEL on a card; nothing is run.

    All of it is modelled: see docs/footprint.md for how far it is from what was measured.
    """
    from rich.console import Console

    error = Console(stderr=True, highlight=False)
    said = _said(context)
    if calibrate is not None:
        beside = options_named(said - {"calibrate", "watts", "force"})
        calibrate_device(calibrate, watts, error, beside=beside, force=force)
        return
    chosen = Chosen(
        backbone=backbone,
        mode=mode,
        last_k=last_k,
        lora_rank=lora_rank,
        checkpointing=checkpointing,
        bottleneck=bottleneck,
        attention_width=attention_width,
        pooling=pooling,
        width=width,
        blocks=blocks,
        feed_forward=feed_forward,
        experts=experts,
        vocabulary=vocabulary,
        batch_size=batch_size,
        accumulation=accumulation,
        optimiser=optimiser,
    )
    with error.status("tracing shapes"):
        from ...trainables.models.backbones import BackboneError
        from ..estimate import Counted, Estimator, counted, gallery
        from ..real_three import real_rows

        problems = _unused(said, model, chosen, with_notes=notes is not None, study=study)
        config = _config(model, chosen, problems) if model and not study else None
        real = _card(card, problems)
        corpus = _corpus(notes, problems) if notes else Counted(note_count, note_tokens, classes)
        if problems or real is None or corpus is None:
            refuse(*problems)
        estimator = Estimator(
            real, corpus, backbone, max_tokens=max_tokens, batch_limit=batch_limit
        )
        size = (
            f"{corpus.notes:,} notes of {corpus.tokens} tokens"
            if isinstance(corpus, Counted)
            else f"{len(corpus):,} notes"
        )
        try:
            if study:
                known = corpus if isinstance(corpus, Counted) else counted(corpus, max_tokens)
                of_study = real_rows(real, known)
                shown: Any = [real_dict(row, real, epochs) for row in of_study]
                table = real_table(of_study, real, known, epochs)
            elif config:
                estimate = estimator(config)
                shown = estimate_dict(estimate, epochs)
                table = estimate_table(estimate, epochs, size)
            else:
                rows = [(each, estimator.footprint(each)) for each in gallery(backbone)]
                shown = [footprint_dict(each, found, real, epochs) for each, found in rows]
                table = gallery_table(rows, real, epochs, size, backbone, max_tokens)
        except (BackboneError, ValueError) as problem:
            refuse(str(problem))
        except (RuntimeError, OverflowError) as problem:
            if isinstance(problem, RuntimeError) and "overflow" not in str(problem).lower():
                raise
            refuse("sizes so large cannot be counted, for their bytes are too many: lower them")
    if written_as is FootprintFormat.JSON:
        typer.echo(json.dumps(shown, indent=2))
        return
    Console(highlight=False, width=None if sys.stdout.isatty() else 100).print(table)


def _said(context: typer.Context) -> set[str]:
    """The options that stand on the command line, by their names here."""
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }


ANYWHERE = {"model", "card", "max_tokens", "batch_limit", "epochs", "notes", "written_as"}
OF_THE_STUDY = {"study", "card", "epochs", "notes", "written_as"}
OF_A_MODEL = {"pooling", "batch_size", "accumulation", "optimiser"}
OF_SCRATCH = {"width", "blocks", "feed_forward", "vocabulary"}
OF_HEADS = {
    "adapter": {"bottleneck"},
    "lightweight": {"bottleneck"},
    "grn": {"bottleneck"},
    "tiny_attention": {"attention_width"},
}
OF_MODES = {"last_k": {"last_k"}, "lora": {"lora_rank"}}


def _unused(
    said: set[str], model: str | None, chosen: Chosen, *, with_notes: bool, study: bool
) -> list[str]:
    """What stands on the command line and would change nothing."""
    if model and model not in MODELS and not study:
        return []
    used, what = ANYWHERE | {"backbone"}, "the table of all models"
    if study:
        used, what = OF_THE_STUDY, "the study's table"
    elif model in SCRATCH:
        used, what = ANYWHERE | OF_A_MODEL | OF_SCRATCH, f"the scratch model {model!r}"
        used |= {"experts"} if model == "moe" else set()
    elif model:
        used, what = (
            used | OF_A_MODEL | {"mode"} | OF_HEADS.get(model, set()),
            f"the head {model!r}",
        )
        if chosen.mode != "frozen":
            used |= {"checkpointing"} | OF_MODES.get(chosen.mode, set())
            what += f" in mode {chosen.mode!r}"
        else:
            what += " on a frozen backbone"
    counts = {"note_count", "note_tokens", "classes"}
    problems = []
    if with_notes and (given := said & counts):
        problems.append(f"--notes says what {options_named(given)} would: leave one of them out")
    if unused := said - used - counts:
        problems.append(f"{options_named(unused)} would change nothing for {what}")
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The options that say what the model is."""

    backbone: str
    mode: str
    last_k: int
    lora_rank: int
    checkpointing: bool
    bottleneck: int | None
    attention_width: int | None
    pooling: str
    width: int
    blocks: int
    feed_forward: int
    experts: int
    vocabulary: int
    batch_size: int
    accumulation: int
    optimiser: str


def _config(model: str, chosen: Chosen, problems: list[str]) -> HeadConfig | ScratchConfig | None:
    """The config that the options say; what is wrong with them goes to `problems`."""
    from ...spaces.configs import HeadConfig, Mode, Optimisation, Optimiser, Pooling, ScratchConfig

    if model not in MODELS:
        problems.append(f"a model is one of {list(MODELS)}; got {model!r}")
    for kind, value, option in (
        (Mode, chosen.mode, "--mode"),
        (Pooling, chosen.pooling, "--pooling"),
        (Optimiser, chosen.optimiser, "--optimiser"),
    ):
        known = [each.value for each in kind]
        if value not in known:
            problems.append(f"{option} is one of {known}; got {value!r}")
    if chosen.bottleneck == 0 and model in ("adapter", "lightweight"):
        problems.append(f"--bottleneck 0 is the full width of a grn: {model!r} needs at least 1")
    if problems:
        return None
    optimisation = Optimisation(
        batch_size=chosen.batch_size,
        accumulation=chosen.accumulation,
        optimiser=Optimiser(chosen.optimiser),
    )
    pooling = Pooling(chosen.pooling)
    try:
        if model in SCRATCH:
            return ScratchConfig(
                model=model,
                width=chosen.width,
                blocks=chosen.blocks,
                feed_forward=chosen.feed_forward,
                vocabulary=chosen.vocabulary,
                experts=chosen.experts if model == "moe" else 0,
                pooling=pooling,
                optimisation=optimisation,
            )
        mode = Mode(chosen.mode)
        return HeadConfig(
            backbone=chosen.backbone,
            mode=mode,
            head=_head(model, chosen),
            pooling=pooling,
            optimisation=optimisation,
            last_k=chosen.last_k if mode is Mode.LAST_K else 0,
            lora_rank=chosen.lora_rank if mode is Mode.LORA else 0,
            lora_alpha=2 * chosen.lora_rank if mode is Mode.LORA else 0,
            checkpointing=chosen.checkpointing,
        )
    except ValueError as problem:
        problems.append(str(problem))
        return None


def _head(model: str, chosen: Chosen) -> Any:
    from ...spaces.heads import HEADS

    given: dict[str, Any] = {
        name: value
        for name in OF_HEADS.get(model, set())
        if (value := getattr(chosen, name)) is not None
    }
    return HEADS[model].settings(**given)


def _card(name: str, problems: list[str]) -> Card | None:
    from ...trainables.card.cards import CardError, load_card

    try:
        card = load_card(name)
    except CardError as problem:
        problems.append(str(problem))
        return None
    if card is None:
        problems.append("a footprint needs a card: without one there is nothing to compare with")
    return card


def _corpus(notes: Path, problems: list[str]) -> Corpus | None:
    from ...trainables.notes.corpus import Columns, CorpusError, read_corpus

    try:
        return read_corpus(notes, columns=Columns())
    except CorpusError as error:
        problems += error.problems
        return None
