from dataclasses import replace

import optuna
import pytest

from headhunt.spaces.catalogue import SPACES, SpaceOptions
from headhunt.spaces.configs import HeadConfig, Mode
from headhunt.spaces.finetune import EFFECTIVE_BATCHES, TRAINED_MODES

OPTIONS = SpaceOptions(backbones=("some/encoder",), batch_limit=8, layers=3)


@pytest.fixture(scope="module")
def configs():
    space = SPACES["finetune"](OPTIONS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(200)]


def test_every_mode_but_frozen_is_suggested(configs):
    assert {config.mode for config in configs} == set(TRAINED_MODES) == set(Mode) - {Mode.FROZEN}


def test_fewer_layers_train_than_the_shallowest_backbone_has(configs):
    assert {config.last_k for config in configs if config.mode is Mode.LAST_K} == {1, 2}


def test_a_step_has_an_effective_batch_whatever_fits_in_memory(configs):
    effective = {c.optimisation.batch_size * c.optimisation.accumulation for c in configs}
    assert effective == set(EFFECTIVE_BATCHES)
    assert {c.optimisation.batch_size for c in configs} == {1, 2, 4, 8}


@pytest.mark.parametrize("limit", [3, 6, 12, 64])
def test_a_limit_that_is_no_choice_of_a_step_is_reached_and_never_passed(limit):
    space = SPACES["finetune"](replace(OPTIONS, batch_limit=limit))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    for _ in range(100):
        trial = study.ask()
        suggested = space.suggest(trial)
        assert isinstance(suggested, HeadConfig)
        optimisation = suggested.optimisation
        notes = optimisation.batch_size * optimisation.accumulation
        assert optimisation.batch_size <= min(limit, trial.params["effective_batch"])
        # No other number of whole micro-batches comes nearer.
        assert 2 * abs(notes - trial.params["effective_batch"]) <= optimisation.batch_size
    for reference in space.references:
        config = space.suggest(optuna.trial.FixedTrial(dict(reference)))
        assert isinstance(config, HeadConfig)
        assert config.optimisation.batch_size == limit


def test_references_are_whole_points_of_the_space():
    space = SPACES["finetune"](OPTIONS)
    study = optuna.create_study()
    for reference in space.references:
        study.enqueue_trial(dict(reference))
    for reference in space.references:
        trial = study.ask()
        config = space.suggest(trial)
        assert trial.params.items() >= reference.items()
        assert trial.params.keys() == reference.keys()
        assert config.model == "linear"


def test_only_what_a_space_asks_for_is_encoded():
    assert Mode.FROZEN not in SPACES["finetune"](OPTIONS).modes
    assert SPACES["heads"](OPTIONS).modes == {Mode.FROZEN}
