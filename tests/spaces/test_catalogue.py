"""The contract of every space in SPACES; a new space is bound to it by being there."""

import json
import warnings
from dataclasses import replace
from itertools import pairwise

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from headhunt.spaces.catalogue import (
    CONTROLS,
    NEEDS_BACKBONE,
    SCRATCH_MODELS,
    SPACES,
    SpaceOptions,
    batch_sizes,
)
from headhunt.spaces.configs import (
    BaselineConfig,
    HeadConfig,
    Optimisation,
    Pooling,
    ScratchConfig,
    config_from_dict,
    config_hash,
    config_to_dict,
)
from headhunt.spaces.heads import (
    HEADS,
    AdapterHead,
    GrnHead,
    LightweightHead,
    LinearHead,
    TinyAttentionHead,
)
from headhunt.trainables.models.baselines import fit_baseline
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.models.scratch import ScratchModel

DRAWS = 60
OPTIONS = SpaceOptions(backbones=("minilm", "drbert"), batch_limit=8)
OFFICIAL = Optimisation(
    learning_rate=1e-3, weight_decay=0.01, warmup_share=0.02, batch_size=8, class_weights=False
)


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param](OPTIONS)


def draw(space, *, draws=DRAWS, seed=0):
    """Configs and their trials' parameters, at random."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    for _ in range(draws):
        trial = study.ask()
        yield space.suggest(trial), trial.params


def check_builds(config):
    """Make what the config describes, without memory where it is a network."""
    if isinstance(config, BaselineConfig):
        texts, labels = ["pas de dyspnée", "dyspnée ce matin"] * 10, torch.arange(20).numpy() % 2
        fit_baseline(replace(config, hidden=2), texts, labels, 0, 2)
        return
    with torch.device("meta"):
        if isinstance(config, HeadConfig):
            HeadModel(384, 2, config)
        else:
            ScratchModel(config, config.vocabulary, 2, 256)


# --- the contract ----------------------------------------------------------------------------


def test_a_space_is_called_by_its_name(space):
    assert SPACES[space.name](OPTIONS).name == space.name


def test_every_draw_is_a_config_that_builds(space):
    draws = 6 if space.name == "baselines" else DRAWS  # an MLP is fitted, not built
    for config, _ in draw(space, draws=draws):
        check_builds(config)


def test_every_draw_goes_to_json_and_back(space):
    for config, _ in draw(space):
        assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("name", SPACES)
def test_no_draw_and_no_reference_has_a_larger_batch_than_the_limit(name, limit):
    space = SPACES[name](replace(OPTIONS, batch_limit=limit))
    configs = [config for config, _ in draw(space)]
    configs += [space.suggest(FixedTrial(dict(reference))) for reference in space.references]

    sizes = [c.optimisation.batch_size for c in configs if not isinstance(c, BaselineConfig)]

    assert all(1 <= size <= limit for size in sizes)
    assert not sizes or max(sizes) == limit


def test_shares_and_rates_stay_where_they_have_a_meaning(space):
    for config, _ in draw(space):
        if isinstance(config, BaselineConfig):
            continue
        assert 0 <= config.dropout < 1
        assert 0 <= config.optimisation.warmup_share < 1
        assert config.optimisation.learning_rate > 0
        assert config.optimisation.weight_decay >= 0


def test_the_same_parameters_are_the_same_config(space):
    for config, params in draw(space, draws=10):
        assert space.suggest(FixedTrial(params)) == config


def test_a_parameter_has_one_set_of_choices_in_all_of_a_space(space):
    """Optuna refuses a categorical parameter that changes; a range that changes misleads it."""
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    seen = {}
    for _ in range(DRAWS):
        trial = study.ask()
        space.suggest(trial)
        for name, distribution in trial.distributions.items():
            assert seen.setdefault(name, distribution) == distribution


def test_every_parameter_reaches_the_config(space):
    """A parameter that changes nothing wastes the search and makes duplicates."""
    for config, params in draw(space, draws=20):
        for name in params:
            others = {
                config_hash(other)
                for other, given_params in draw_around(space, params, name)
                if given_params[name] != params[name]
            }
            assert not others or others != {config_hash(config)}


def draw_around(space, params, free):
    """Configs with all parameters fixed but one; those that then want others are left out."""
    study = optuna.create_study(sampler=RandomSampler(seed=2))
    for _ in range(4):
        study.enqueue_trial({name: value for name, value in params.items() if name != free})
        trial = study.ask()
        config = space.suggest(trial)
        if trial.params.keys() == params.keys():
            yield config, trial.params


def test_every_space_begins_with_both_baselines_as_its_controls(space):
    assert space.controls == CONTROLS
    assert [c.model for c in CONTROLS if isinstance(c, BaselineConfig)] == ["tfidf_lr", "tfidf_mlp"]


def test_a_reference_is_a_point_of_its_space_and_leaves_nothing_to_chance(space):
    for reference in space.references:
        trial = FixedTrial(dict(reference))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna warns of a value outside its range
            check_builds(space.suggest(trial))

        assert trial.params == reference


def test_a_space_that_needs_a_backbone_is_known_to(space):
    kinds = {type(config) for config, _ in draw(space)}

    assert (HeadConfig in kinds) == (space.name in NEEDS_BACKBONE)


# --- what each space holds -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("heads", {*HEADS}),
        ("scratch", {*SCRATCH_MODELS}),
        ("baselines", {"tfidf_lr", "tfidf_mlp"}),
        ("all", {*HEADS, *SCRATCH_MODELS}),
    ],
)
def test_a_space_draws_every_one_of_its_models_and_no_other(name, models):
    assert {config.model for config, _ in draw(SPACES[name](OPTIONS), draws=150)} == models


@pytest.mark.parametrize("name", sorted(NEEDS_BACKBONE))
def test_one_backbone_is_no_choice_and_several_are_all_drawn(name):
    one = SPACES[name](SpaceOptions(backbones=("minilm",)))
    several = SPACES[name](OPTIONS)

    assert all("backbone" not in params for _, params in draw(one))
    drawn = {c.backbone for c, _ in draw(several) if isinstance(c, HeadConfig)}
    assert drawn == {"minilm", "drbert"}


OFFICIAL_HEADS = {
    "linear": LinearHead(),
    "adapter": AdapterHead(
        bottleneck=64, activation="gelu", layer_norm=False, init="houlsby", structure_dropout=0.0
    ),
    "lightweight": LightweightHead(bottleneck=256, variant="residual"),
    "tiny_attention": TinyAttentionHead(attention_width=1, structure_dropout=0.1),
    "grn": GrnHead(bottleneck=0, structure_dropout=0.15),
}


@pytest.mark.parametrize("name", ["heads", "all"])
def test_the_heads_references_are_the_official_codes_values(name):
    space = SPACES[name](OPTIONS)
    configs = [space.suggest(FixedTrial(dict(reference))) for reference in space.references]

    assert [c for c in configs if isinstance(c, HeadConfig)] == [
        HeadConfig(
            backbone="minilm",
            head=settings,
            pooling=Pooling.MEAN,
            dropout=0.1,
            optimisation=OFFICIAL,
        )
        for settings in OFFICIAL_HEADS.values()
    ]


@pytest.mark.parametrize("name", ["scratch", "all"])
def test_the_scratch_models_references_are_the_probable_templates(name):
    space = SPACES[name](OPTIONS)
    configs = [space.suggest(FixedTrial(dict(reference))) for reference in space.references]

    assert [c for c in configs if isinstance(c, ScratchConfig)] == [
        ScratchConfig(optimisation=OFFICIAL),
        ScratchConfig(model="moe", experts=10, classifier_dropout=0.25, optimisation=OFFICIAL),
    ]


# --- conditional parameters ------------------------------------------------------------------

BRANCHES = {
    "linear": (),
    "adapter": (
        "adapter_bottleneck",
        "adapter_activation",
        "adapter_layer_norm",
        "adapter_init",
        "adapter_dropout",
    ),
    "lightweight": ("lightweight_bottleneck", "lightweight_variant"),
    "tiny_attention": ("tiny_attention_width", "tiny_attention_dropout"),
    "grn": ("grn_full_width", "grn_bottleneck", "grn_dropout"),
}
SHARED = {"model", "backbone", "pooling", "head_dropout"} | {
    f"head_{name}"
    for name in ("learning_rate", "weight_decay", "warmup_share", "batch_size", "class_weights")
}


def test_a_heads_own_parameters_do_not_appear_under_another_head():
    for config, params in draw(SPACES["heads"](OPTIONS), draws=150):
        own = params.keys() - SHARED
        assert own <= set(BRANCHES[config.model])


@pytest.mark.parametrize(("full", "asked"), [(True, False), (False, True)])
def test_a_grns_bottleneck_is_asked_for_below_full_width_alone(full, asked):
    space = SPACES["heads"](OPTIONS)
    drawn = [p for _, p in draw(space, draws=200) if p.get("grn_full_width") is full]

    assert drawn
    assert all(("grn_bottleneck" in params) is asked for params in drawn)


def test_experts_are_asked_for_under_the_moe_alone():
    for config, params in draw(SPACES["scratch"](OPTIONS)):
        assert ("experts" in params) == (config.model == "moe")


def test_a_baselines_parameters_are_its_own():
    for config, params in draw(SPACES["baselines"](OPTIONS)):
        regression = config.model == "tfidf_lr"
        assert ({"inverse_regularisation", "balanced"} <= params.keys()) == regression
        assert ({"hidden", "mlp_learning_rate", "features"} <= params.keys()) == (not regression)


def test_no_head_parameter_appears_under_a_scratch_model_and_none_of_its_under_a_head():
    for config, params in draw(SPACES["all"](OPTIONS)):
        if isinstance(config, HeadConfig):
            assert params.keys() <= SHARED | set(BRANCHES[config.model])
        else:
            assert params.keys() & SHARED == {"model"}


# --- batch sizes -----------------------------------------------------------------------------


@given(st.integers(1, 4096))
def test_batch_sizes_are_the_limit_and_its_halves_three_at_most(limit):
    sizes = batch_sizes(limit)

    assert sizes[-1] == limit
    assert sizes == sorted(set(sizes))
    assert 1 <= len(sizes) <= 3
    assert all(small == large // 2 for small, large in pairwise(sizes))
