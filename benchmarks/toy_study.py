"""A recorded study without training: the scratch space, smooth curves, known seconds.

The simulation's benchmark and its tests replay it.
"""

import math
import tempfile
from pathlib import Path

from headhunt.search.executor.simulated import VirtualClock, run_virtually
from headhunt.search.plan import Budget, Plan, Watcher
from headhunt.search.rungs import study_rungs
from headhunt.search.sampling import Proposer
from headhunt.search.simulation.recorded import Recorded
from headhunt.search.simulation.surrogate import epoch_report
from headhunt.search.study import Study
from headhunt.spaces.catalogue import SpaceOptions, scratch_space
from headhunt.spaces.configs import BaselineConfig, Config, ScratchConfig
from headhunt.spaces.record import EpochReport, Footprint, Outcome, State
from headhunt.stores import store_at
from headhunt.trainables.steps import Step
from headhunt.trainables.training.stopping import why_over

MIB = 2**20
LIMIT_MIB = 1748
MAX_EPOCHS, PATIENCE = 9, 4
SETTINGS = {
    "space": "scratch",
    "backbones": [],
    "objective": ["f1"],
    "sampler": "random",
    "seed": 0,
    "max_epochs": MAX_EPOCHS,
    "patience": PATIENCE,
    "rungs": True,
}


def seconds(config: Config) -> float:
    """Of an epoch: wider is slower."""
    if isinstance(config, ScratchConfig):
        return config.width / 32 * config.blocks
    return 1.0


def f1(config: Config, epoch: int) -> float:
    """Smooth in the learning rate and the width; each epoch brings half of what is missing."""
    if not isinstance(config, ScratchConfig):
        return 0.5
    rate = math.log10(config.optimisation.learning_rate)
    end = 0.9 - 0.2 * (rate + 2.5) ** 2 - 0.05 * abs(math.log2(config.width) - 6)
    return end * (1 - 0.5**epoch)


def need(config: Config) -> Footprint | None:
    """The widest models of two blocks with long steps do not fit."""
    if not isinstance(config, ScratchConfig):
        return None
    large = config.width == 128 and config.blocks == 2 and config.feed_forward == 128
    return Footprint(
        peak_bytes=(LIMIT_MIB + 50 if large else LIMIT_MIB - 100) * MIB,
        limit_bytes=LIMIT_MIB * MIB,
        trainable_parameters=1000,
        total_parameters=1000,
        step_flops=10**9,
        step_bytes=10**6,
        epoch_seconds=seconds(config),
        encoding_seconds=0.0,
    )


def trained(config: Config) -> list[Step]:
    """What a trial of this config yields."""
    reports: list[EpochReport] = []
    steps: list[Step] = []
    why = ""
    while not why:
        epoch = len(reports) + 1
        reports.append(epoch_report(epoch, f1(config, epoch), seconds(config)))
        why = why_over(reports, max_epochs=MAX_EPOCHS, patience=PATIENCE)
        if isinstance(config, BaselineConfig):
            why = "fitted"
        state = State.COMPLETE if why else State.RUNNING
        steps.append(Step(reports[-1], Outcome(state=state, reason=why)))
    return steps


def record(
    store: Path, *, trials: int = 60, slots: int = 1, name: str = "lab", rungs: bool = True
) -> None:
    """A search with the random sampler, as it would have been."""
    manifest = {
        "objective": ["f1"],
        "study": name,
        "settings": {**SETTINGS, "rungs": rungs},
        "space_file": "",
        "card": {"name": "toy"},
    }
    study, clock = Study.create(store, name, manifest), VirtualClock()
    proposer = Proposer(
        scratch_space(SpaceOptions()),
        sampler="random",
        seed=0,
        objective=["f1"],
        trials=(),
        values=study.values,
    )
    plan = Plan(
        study,
        proposer,
        need,
        study_rungs(MAX_EPOCHS, wanted=rungs),
        Budget(trials=trials),
        seed=0,
        elapsed_hours=clock.hours,
        watcher=Watcher(),
    )
    run_virtually(plan, lambda trial: iter(trained(trial.config)), clock, slots=slots)
    plan.close()
    study.close()


def recorded(store: Path | None, name: str = "lab") -> Recorded:
    """As a simulation reads it."""
    stored = store_at(store).read(name)
    return Recorded.of(name, stored.manifest, stored.trials)


def chosen(study: str | None, store: Path | None) -> Recorded:
    """The recorded study of this name; where none is named, the toy."""
    if study is not None:
        return recorded(store, study)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        return recorded(Path(folder))
