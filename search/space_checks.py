"""Whether a space can be searched, and by which sampler: found by trying, before any trial."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ..spaces.catalogue import Space
from ..spaces.configs import Config, HeadConfig, Mode
from .sampling import SAMPLERS, SpaceError, suggest

PROBES = 64  # random proposals that tell what a space is like
UNCONDITIONAL_ONLY = {
    "gp": "models only the parameters that all branches share, and samples the rest at random",
    "cmaes": "models only numbers that every configuration has, and samples the rest at random",
}


def _probe(space: Space) -> Iterator[tuple[optuna.Trial, Config]]:
    """Random proposals of the space, thrown away."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(PROBES):
        trial = study.ask()
        with warnings.catch_warnings():  # Optuna warns of choices that are refused here
            warnings.simplefilter("ignore")
            config = suggest(space, trial)
        yield trial, config


def drawn_modes(space: Space) -> set[Mode]:
    """The modes that the space asks for, found by trying."""
    configs = (config for _, config in _probe(space))
    return {config.mode for config in configs if isinstance(config, HeadConfig)}


def is_conditional(space: Space) -> bool:
    """Whether some parameters exist only under a choice of others, found by trying."""
    return len({frozenset(trial.params) for trial, _ in _probe(space)}) > 1


def check_space(space: Space, backbones: Sequence[str], build: Callable[[Config], object]) -> None:
    """Refuse a space that some trial would fail in, found by trying.

    `build` makes a config's network, and raises ValueError where its numbers do not fit.

    Raises:
        SpaceError: its function fails, returns no config or one that cannot be built, does not
            depend on its trial alone, or puts a head on an unknown backbone.
    """
    for trial, config in _probe(space):
        _check_choices(space, trial)
        if _suggest_again(space, trial) != config:
            raise SpaceError(
                f"the space {space.name!r} returns another config for the same parameters, so no "
                "trial of it could be run again: take what varies from the trial alone"
            )
        backbone = getattr(config, "backbone", None)
        if backbone is not None and backbone not in backbones:
            raise SpaceError(
                f"the space {space.name!r} puts a head on the backbone {backbone!r}, which is none "
                f"of the study's: add --backbone {backbone}"
            )
        try:
            build(config)
        except (ValueError, RuntimeError) as error:
            raise SpaceError(
                f"the space {space.name!r} proposes a config that cannot be built: {error}"
            ) from error


def _suggest_again(space: Space, trial: optuna.Trial) -> Config | None:
    with suppress(SpaceError):
        return suggest(space, FixedTrial(trial.params, number=trial.number))
    return None


def _check_choices(space: Space, trial: optuna.Trial) -> None:
    """A study keeps choices as JSON: others would come back as something else."""
    for name, distribution in trial.distributions.items():
        if not isinstance(distribution, CategoricalDistribution):
            continue
        if not all(isinstance(c, str | int | float | None) for c in distribution.choices):
            raise SpaceError(
                f"the space {space.name!r} has choices of the parameter {name!r} that are no text, "
                "number, truth value or None, which a study cannot keep: suggest a name, and look "
                "up what it stands for"
            )


def check_sampler(name: str, space: Space | None, objective: Sequence[str]) -> None:
    """Refuse a sampler that would quietly search at random; `space` is None where it is broken.

    Raises:
        SpaceError: it cannot model this space, or these objectives.
    """
    if name not in SAMPLERS:
        raise SpaceError(f"a sampler is one of {list(SAMPLERS)}; got {name!r}")
    if space is not None and name in UNCONDITIONAL_ONLY and is_conditional(space):
        raise SpaceError(
            f"the sampler {name!r} {UNCONDITIONAL_ONLY[name]}, and the space {space.name!r} is "
            "conditional: use --sampler tpe, or a space whose parameters always exist"
        )
    if name == "cmaes" and len(objective) > 1:
        raise SpaceError("the sampler 'cmaes' has one objective; use tpe, gp or nsga2 for two")
