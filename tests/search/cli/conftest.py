"""A small study that was searched once, and copies of it to confirm."""

import shutil

import pytest

from headhunt.search import run
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget
from headhunt.search.settings import Request
from headhunt.spaces.record import State

from ...trainables.backbone_dirs import make_backbone
from ..here import run_here
from .confirming import write_synthetic

EPOCHS = 3
SPACE = """
from headhunt.spaces.configs import HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead


def mixed(trial, options):
    rate = trial.suggest_float("rate", 3e-3, 3e-2, log=True)
    tuned = Optimisation(learning_rate=rate)
    if trial.number % 2:
        return ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=tuned)
    return HeadConfig(backbone=options.backbones[0], head=AdapterHead(bottleneck=4),
        dropout=0.2, optimisation=tuned)
"""


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A folder with notes and a store in which they were searched: four networks, two controls."""
    folder = tmp_path_factory.mktemp("searched")
    write_synthetic(folder / "notes.csv")
    (folder / "mine.py").write_text(SPACE)
    encoder = make_backbone(folder / "encoder")
    request = Request(
        notes=folder / "notes.csv",
        study="lab",
        store=folder / "store",
        given={
            "space": f"{folder}/mine.py:mixed",
            "backbones": (str(encoder),),
            "max_epochs": EPOCHS,
            "max_tokens": 32,
            "sampler": "random",
            "rungs": False,
        },
        budget=Budget(trials=6),
    )
    plan = run_here(prepare(request))
    assert {t.state for t in plan.study.trials} == {State.COMPLETE}
    return folder


@pytest.fixture
def lab(searched, tmp_path, monkeypatch):
    """A copy of the store; what is confirmed there runs in this process."""
    shutil.copytree(searched / "store", tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADHUNT_STORE", "store")
    monkeypatch.setattr(run, "run_search", run_here)
    return tmp_path
