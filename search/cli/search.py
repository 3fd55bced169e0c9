"""`headhunt search`: run a search on a file of notes, or continue one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ._budgets import CardHours, StopMargin
from ._running import run_and_exit
from ._stores import StoreOption, WorkOption, named_store

app = typer.Typer(add_completion=False)


@app.command()
def search(
    notes: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet with `text` and `label`.")
    ],
    study: Annotated[str, typer.Option(help="Name of the study.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue this study.")] = False,
    space: Annotated[
        str | None,
        typer.Option(
            help="heads | scratch | finetune | baselines | all | study, the study's comparison | "
            "FILE.py:FUNCTION, your own code, which is run with your rights (default: heads)",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="camembert-bio, drbert, alibert, minilm, a Hugging Face id (with @REVISION if "
            "wanted) or a directory. Repeatable. (default: none; of --space study: its three)",
            show_default=False,
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="f1 | f1,card-hours (default: f1)", show_default=False),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="tpe | random | gp | cmaes | nsga2; tpe alone learns what fits the card "
            "(default: tpe)",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Budget: trials that start. (default, if no budget is named: 40, and of --space "
            "study twice those that it names)",
            show_default=False,
        ),
    ] = None,
    card_hours: CardHours = None,
    gpu_hours: Annotated[
        float | None, typer.Option(help="Budget: measured GPU-hours.", show_default=False)
    ] = None,
    wall_hours: Annotated[
        float | None,
        typer.Option(
            help="Budget: hours of this run by the clock; no trial starts after them.",
            show_default=False,
        ),
    ] = None,
    stop_margin: StopMargin = None,
    card: Annotated[
        str | None,
        typer.Option(
            help="p620 | gtx1050ti | t4 | rtx3060 | a100 | h100 | h200 | FILE.toml | auto (this "
            "machine's GPU) | none (default: p620)",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            help="Trials at a time at most, over all nodes; GPUs never share more than fit. "
            "(default: what the GPUs hold under the card, or one a CPU)",
            show_default=False,
        ),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            help="Heads of one shape on stored features that a worker trains in one batched pass, "
            "at most; 1: each alone. `python -m benchmarks.together` shows where it pays.",
        ),
    ] = 1,
    mps: Annotated[
        bool,
        typer.Option(
            "--mps",
            help="Where NVIDIA's MPS daemon runs: limit each trial's device memory (MiB) and "
            "multiprocessors (%) to its share.",
        ),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster to join, or auto.", show_default=False),
    ] = None,
    allow_open_cluster: Annotated[
        bool,
        typer.Option(
            "--allow-open-cluster",
            help="Use a Ray without token authentication: whoever reaches it on the network can "
            "run anything on its nodes.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="Of split, trials and sampler. (default: 0)", show_default=False),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs of a trial at most, and the length of its schedule. (default: 10)",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a better F1 after which a trial ends; 0: never. (default: 4)",
            show_default=False,
        ),
    ] = None,
    rungs: Annotated[
        bool | None,
        typer.Option(
            "--rungs/--no-rungs",
            help="Stop weak trials at epochs 1, 2, 4, 8, ... (default: rungs; none in --space "
            "study)",
            show_default=False,
        ),
    ] = None,
    batch_limit: Annotated[
        int | None,
        typer.Option(help="Notes in a batch at most. (default: 8)", show_default=False),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of a note at most. (default: 256)", show_default=False),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the encoding: auto | fp32 | bf16. (default: auto)", show_default=False
        ),
    ] = None,
    conflicting: Annotated[
        str | None,
        typer.Option(
            help="Same texts with other labels: keep | drop. (default: keep)", show_default=False
        ),
    ] = None,
    train_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the training notes to use, in (0, 1]. (default: 1)", show_default=False
        ),
    ] = None,
    min_document_frequency: Annotated[
        int | None,
        typer.Option(
            help="Scratch models and baselines learn a word only from so many patients (or notes, "
            "where patients are not known): keeps names and other rare words out. (default: 1)",
            show_default=False,
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="(default: text)", show_default=False)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="(default: label)", show_default=False)
    ] = None,
    patient_column: Annotated[
        str | None,
        typer.Option(help="'' for none. (default: patient_id, if there)", show_default=False),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="'' for none. (default: split, if there)", show_default=False),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Folder that all nodes share, or fsspec URL, for trials' checkpoints and best "
            "weights. (default: in the study's folder)",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    work: WorkOption = None,
) -> None:
    """Search for the model with the most F1 per GPU-hour on NOTES.

    Ends with the ranking on standard output, and --space study with the study's table; progress
    goes to standard error. Ctrl-C ends it with status 130 and loses nothing: --resume continues.
    """
    said: dict[str, Any] = {
        "space": space,
        "backbones": tuple(backbone) if backbone else None,
        "objective": tuple(objective.split(",")) if objective else None,
        "sampler": sampler,
        "seed": seed,
        "max_epochs": max_epochs,
        "patience": patience,
        "rungs": rungs,
        "card": card,
        "max_tokens": max_tokens,
        "batch_limit": batch_limit,
        "precision": precision,
        "conflicting": conflicting,
        "train_fraction": train_fraction,
        "min_document_frequency": min_document_frequency,
        "text_column": text_column,
        "label_column": label_column,
        "patient_column": patient_column,
        "split_column": split_column,
        "checkpoints": checkpoints,
    }
    run_and_exit(
        notes=notes,
        study=study,
        store=named_store(store, work),
        work=work,
        resume=resume,
        given={name: value for name, value in said.items() if value is not None},
        budget={
            "trials": trials,
            "card_hours": card_hours,
            "gpu_hours": gpu_hours,
            "wall_hours": wall_hours,
            "stop_margin": stop_margin,
        },
        slots=slots,
        together=together,
        mps=mps,
        address=address,
        allow_open=allow_open_cluster,
    )
