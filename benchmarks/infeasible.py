"""What a sampler proposes where three quarters of a space do not fit the card, side by side.

The space is a toy with the shape of the real ones: four modes, of which each has parameters of its
own and another share that fits; memory is a sum of products, and the best configs lie at the card's
limit. Counted is everything that the sampler was asked for after start-up, repeats included. It
takes two minutes of a free core, most of it for the variant that is refused most.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from optuna.trial import BaseTrial, FixedTrial, TrialState

from headhunt.search.fits import Fits, Params
from headhunt.search.sampling import STARTUP_TRIALS, Proposal, Proposer
from headhunt.search.study import Trial
from headhunt.spaces.catalogue import Space
from headhunt.spaces.configs import Config, Optimisation, ScratchConfig, config_hash
from headhunt.spaces.record import (
    EXCESS_CONSTRAINT,
    EpochReport,
    Footprint,
    Outcome,
    State,
)

MIB = 2**20
LIMIT_MIB = 157  # a quarter of random configs fits
STARTED, SEEDS = 60, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig(ScratchConfig):
    """One config of the toy; what its mode does not have stands at 0."""

    mode: str
    length: int  # tokens
    rank: int = 0
    layers: int = 0  # that train
    checkpointing: bool = False
    optimiser: str = "adamw"


def suggest(trial: BaseTrial) -> ToyConfig:
    """Four modes; numbers on both scales, categories, and choices that need no memory."""
    mode = trial.suggest_categorical("mode", ["frozen", "lora", "full", "scratch"])
    own: dict[str, Any] = {}
    match mode:
        case "frozen":
            own["width"] = trial.suggest_int("bottleneck", 16, 1024, log=True)
        case "lora":
            own["rank"] = trial.suggest_int("rank", 1, 64, log=True)
            own["layers"] = trial.suggest_int("lora_layers", 1, 12)
            own["checkpointing"] = trial.suggest_categorical("lora_checkpointing", [False, True])
        case "full":
            own["layers"] = trial.suggest_int("full_layers", 1, 12)
            own["checkpointing"] = trial.suggest_categorical("full_checkpointing", [False, True])
            own["optimiser"] = trial.suggest_categorical("optimiser", ["adamw", "sgd", "adafactor"])
        case _:
            own["blocks"] = trial.suggest_int("blocks", 1, 6)
            own["width"] = trial.suggest_int("width", 32, 512, log=True)
    return ToyConfig(
        mode=mode,
        length=trial.suggest_int("length", 64, 1024, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        optimisation=Optimisation(
            learning_rate=trial.suggest_float("rate", 1e-5, 1e-2, log=True),
            batch_size=trial.suggest_categorical("batch", [2, 4, 8, 16, 32]),
            weight_decay=trial.suggest_float("decay", 1e-4, 1e-1, log=True),
        ),
        **own,
    )


SPACE = Space("tight", suggest, controls=())


def needed_mib(config: ToyConfig) -> float:
    """Weights with what the optimiser keeps of them, and activations."""
    numbers = config.optimisation.batch_size * config.length * 4 / MIB  # MiB a number of a token
    kept = 2 if config.checkpointing else 10 if config.mode == "full" else 8  # widths a layer
    layers = 768 * (kept * config.layers + 6)
    match config.mode:
        case "frozen":
            return 100 + numbers * (768 * 8 + config.width * 16)
        case "lora":
            return 100 + 0.2 * config.rank * config.layers + numbers * layers
        case "full":
            states = {"adamw": 3, "sgd": 1, "adafactor": 1.1}[config.optimiser]
            return 100 + 14 * states * config.layers + numbers * layers
    weights = config.blocks * 12 * config.width**2 * 16 / MIB
    return 20 + weights + numbers * config.blocks * (60 * config.width + 4 * config.length)


def footprint(config: ToyConfig) -> Footprint:
    """A footprint of which the memory counts."""
    return Footprint(
        peak_bytes=int(needed_mib(config) * MIB),
        limit_bytes=LIMIT_MIB * MIB,
        trainable_parameters=1,
        total_parameters=1,
        step_flops=1,
        step_bytes=1,
        epoch_seconds=1.0,
        encoding_seconds=0.0,
    )


def score(config: ToyConfig) -> float:
    """The larger the better, in every mode, so that the best lie at the limit."""
    optimisation, log2 = config.optimisation, math.log2
    whole = 0.5 + 0.04 * log2(config.length / 64) + 0.01 * log2(optimisation.batch_size)
    whole -= 0.1 * (config.dropout - 0.2) ** 2
    whole -= 0.005 * (math.log10(optimisation.weight_decay) + 2) ** 2
    match config.mode:
        case "frozen":
            own, best_rate = 0.004 * log2(config.width), -3.0
        case "lora":
            own, best_rate = 0.05 + 0.01 * config.layers + 0.004 * log2(config.rank), -3.3
        case "full":
            own = 0.08 + 0.012 * config.layers + 0.02 * (config.optimiser == "adamw")
            best_rate = -4.5
        case _:
            own, best_rate = -0.05 + 0.02 * config.blocks**0.5 + 0.01 * log2(config.width / 32), -3
    return whole + own - 0.05 * (math.log10(optimisation.learning_rate) - best_rate) ** 2


class Told(Proposer):
    """TPE hears of refusals by Optuna's constraints, and of nothing else."""

    def refuse(self, proposal: Proposal, footprint: Footprint) -> None:
        """Pruned, with the excess."""
        assert proposal.live is not None
        proposal.live.set_constraint(EXCESS_CONSTRAINT, footprint.excess_bytes / MIB)
        self._tell(proposal.live, state=TrialState.PRUNED)


class Unseen(Proposer):
    """Nobody hears of refusals.

    They cost nothing here, so this is also TPE as it would be if only configs that fit existed.
    """

    def _learn(self, proposal: Proposal, footprint: Footprint | None) -> None:
        pass


class Exactly(Fits):
    """Footprints in the place of guesses."""

    @property
    def knows(self) -> bool:
        """From the first one on."""
        return True

    def log_chance(self, params: Params) -> float:
        """The further over the limit, the less."""
        needed = footprint(suggest(FixedTrial({**self.some_values(), **params})))
        return min(0.0, -needed.excess_bytes)


class Knowing(Proposer):
    """The footprint of every candidate is known before one is proposed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fits = Exactly()


VARIANTS: dict[str, tuple[type[Proposer], str]] = {
    "random": (Unseen, "random"),
    "TPE, refusals told as constraints": (Told, "tpe"),
    "TPE, refusals unseen and free": (Unseen, "tpe"),
    "TPE that knows every footprint": (Knowing, "tpe"),
    "headhunt: TPE that guesses what fits": (Proposer, "tpe"),
}


@dataclass(frozen=True, slots=True)
class Searched:
    """One search."""

    trials: list[Trial]  # the refused ones too
    asked: list[tuple[int, bool]]  # of each proposal: started trials before it, and whether it fits
    best: float  # score

    @property
    def infeasible(self) -> float:
        """Share of what was asked for after start-up."""
        return fmean(not fits for started, fits in self.asked if started >= STARTUP_TRIALS)


def search(
    kind: type[Proposer] = Proposer,
    sampler: str = "tpe",
    *,
    seed: int,
    started: int = STARTED,
    known: tuple[Trial, ...] = (),
) -> Searched:
    """Search until so many trials have started, after those that are known."""
    trials, asked = list(known), []

    def values(trial: Trial) -> list[float]:
        return [trial.reports[0].f1]

    class Counted(kind):
        def _ask(
            self, number: int, attempt: int, sampler: str, fixed: Mapping[str, Any] | None
        ) -> Proposal:
            proposal = super()._ask(number, attempt, sampler, fixed)
            asked.append((begun(), _fits(proposal.config)))
            return proposal

    def begun() -> int:
        return sum(trial.state is State.COMPLETE for trial in trials)

    proposer = Counted(
        SPACE, sampler=sampler, seed=seed, objective=["f1"], trials=trials, values=values
    )
    hashes = {trial.config_hash for trial in trials}
    while begun() < started:
        proposal = proposer.propose(len(trials), lambda config: config_hash(config) in hashes)
        assert proposal is not None
        trial = _trial(len(trials), proposal)
        if trial.state is State.INFEASIBLE and trial.footprint:
            proposer.refuse(proposal, trial.footprint)
        else:
            proposer.accept(proposal, trial)
            proposer.settle(trial)
        trials.append(trial)
        hashes.add(trial.config_hash)
    return Searched(trials, asked, max(t.reports[0].f1 for t in trials if t.reports))


def _fits(config: Config) -> bool:
    assert isinstance(config, ToyConfig)
    return footprint(config).excess_bytes <= 0


def _trial(number: int, proposal: Proposal) -> Trial:
    """The proposal as a trial that has ended."""
    config = proposal.config
    assert isinstance(config, ToyConfig)
    fits = _fits(config)
    trial = Trial(
        number=number,
        config=config,
        config_hash=config_hash(config),
        role=proposal.role,
        seed=0,
        footprint=footprint(config),
        sampled=proposal.sampled,
        outcome=Outcome(state=State.COMPLETE if fits else State.INFEASIBLE),
    )
    if fits:
        trial.reports = [reported(config)]
    return trial


def reported(config: ToyConfig) -> EpochReport:
    """The one epoch of a config."""
    f1 = score(config)
    return EpochReport(
        epoch=1,
        f1=f1,
        accuracy=f1,
        precision=f1,
        recall=f1,
        validation_loss=0.0,
        train_loss=0.0,
        wall_seconds=1.0,
        cpu_seconds=1.0,
    )


def rows(seeds: range) -> Iterator[str]:
    """The table's rows."""
    for name, (kind, sampler) in VARIANTS.items():
        found = [search(kind, sampler, seed=seed) for seed in seeds]
        shares, bests = [f.infeasible for f in found], [f.best for f in found]
        proposals = fmean(len(f.asked) for f in found)
        yield (
            f"| {name} | {fmean(shares):.0%} (at most {max(shares):.0%}) | {proposals:.0f} "
            f"| {fmean(bests):.3f} ± {stdev(bests) / len(bests) ** 0.5:.3f} |"
        )


def main() -> None:
    """Print the table; an argument is another number of seeds."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS)
    print(f"{len(seeds)} seeds, {STARTED} started trials, {STARTUP_TRIALS} of them start-up\n")
    print("| sampler | infeasible after start-up | asked for | best score, mean ± its error |")
    print("|---|---|---|---|")
    for row in rows(seeds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
