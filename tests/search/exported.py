"""A study with a trial of every kind, really trained without Ray, for the tests of its export."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from headhunt.search.launch import prepare
from headhunt.search.retrain import Hooks, materials_for
from headhunt.search.settings import Request
from headhunt.search.study import Study
from headhunt.spaces.configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    Mode,
    Optimisation,
    Pooling,
    ScratchConfig,
)
from headhunt.spaces.heads import (
    AdapterHead,
    GrnHead,
    LightweightHead,
    LinearHead,
    TinyAttentionHead,
)
from headhunt.stores import Store
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.notes.cache import cache_dir
from headhunt.trainables.runner import run_trial

from .toys import begin

CPU = torch.device("cpu")
FAST = Optimisation(learning_rate=1e-2)
SCRATCH = ScratchConfig(
    width=16,
    feed_forward=8,
    blocks=2,
    vocabulary=300,
    pooling=Pooling.MAX,
    optimisation=Optimisation(learning_rate=5e-2),
)


def configs(backbone: str) -> dict[str, Config]:
    """A config of every head, mode and model, and of every pooling."""
    head = HeadConfig(backbone=backbone, head=LinearHead(), optimisation=FAST)
    low_rank = {"lora_rank": 2, "lora_alpha": 4}
    return {
        "linear": head,
        "adapter": replace(
            head, head=AdapterHead(bottleneck=4, layer_norm=True), pooling=Pooling.ATTENTION
        ),
        "adapter relu": replace(
            head, head=AdapterHead(bottleneck=4, activation="relu"), pooling=Pooling.FIRST
        ),
        "lightweight": replace(head, head=LightweightHead(bottleneck=4), pooling=Pooling.MAX),
        "lightweight inner": replace(head, head=LightweightHead(bottleneck=4, variant="inner")),
        "tiny attention": replace(head, head=TinyAttentionHead(attention_width=2)),
        "grn": replace(head, head=GrnHead(bottleneck=4), pooling=Pooling.MAX),
        "last_k": replace(head, mode=Mode.LAST_K, last_k=1),
        "full": replace(head, mode=Mode.FULL, head=TinyAttentionHead(attention_width=2)),
        "lora": replace(head, mode=Mode.LORA, **low_rank, pooling=Pooling.ATTENTION),
        "transformer": SCRATCH,
        "moe": replace(SCRATCH, model="moe", experts=3, blocks=1, pooling=Pooling.MEAN),
        "tfidf_lr": BaselineConfig(),
        "tfidf_mlp": BaselineConfig(model="tfidf_mlp", hidden=8),
    }


def trained_study(
    store: Store, notes: Path, wanted: dict[str, Config], *, backbone: str = "", **given: Any
) -> Study:
    """A study of these configs, complete and closed."""
    space = {"space": "all", "backbones": (backbone,)} if backbone else {"space": "scratch"}
    asked = {**space, "max_tokens": 40, "max_epochs": 2}
    prepared = prepare(
        Request(notes=notes, study="lab", store=store, given={**asked, "patience": 0, **given})
    )
    study = prepared.study
    for number, config in enumerate(wanted.values()):
        materials = materials_for(
            config,
            prepared.corpus,
            prepared.settings,
            cache=cache_dir(store.work),
            states=study.states,
            precision=prepared.precision,
            hooks=Hooks(),
        )
        kept = replace(materials, settings=replace(materials.settings, keep_weights=True))
        begin(study, config, seed=number)
        assignment = Assignment(number=number, config=config, seed=number)
        steps = list(run_trial(assignment, prepared.corpus, kept, device=CPU, device_fraction=0.0))
        for step in steps:
            assert step.report, step.outcome.reason
            study.report(number, step.report)
        study.end(number, steps[-1].outcome)
    study.close()
    return study
