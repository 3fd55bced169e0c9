"""Which configs may be trained together."""

from dataclasses import replace

import pytest
from optuna.trial import FixedTrial

from headhunt.spaces.configs import (
    BaselineConfig,
    HeadConfig,
    Mode,
    Optimisation,
    Optimiser,
    Pooling,
    ScratchConfig,
)
from headhunt.spaces.heads import HEADS, AdapterHead, LightweightHead, LinearHead
from headhunt.spaces.together import shared_shape

HEAD = HeadConfig(backbone="tiny", head=AdapterHead(bottleneck=8))


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_on_a_frozen_backbone_has_a_shape_that_a_set_can_hold(kind):
    head = HEADS[kind].suggest(FixedTrial(dict(HEADS[kind].reference)))

    assert isinstance(hash(shared_shape(replace(HEAD, head=head))), int)
    assert shared_shape(replace(HEAD, head=head)) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(HEAD, dropout=0.4),
        replace(HEAD, head=AdapterHead(bottleneck=8, structure_dropout=0.2)),
        replace(HEAD, optimisation=Optimisation(learning_rate=1.0)),
        replace(HEAD, optimisation=Optimisation(weight_decay=1.0)),
        replace(HEAD, optimisation=Optimisation(warmup_share=0.5)),
        replace(HEAD, optimisation=Optimisation(class_weights=True)),
    ],
)
def test_what_no_shape_follows_from_may_differ(other):
    assert shared_shape(other) == shared_shape(HEAD)


@pytest.mark.parametrize(
    "other",
    [
        replace(HEAD, backbone="other"),
        replace(HEAD, head=LinearHead()),
        replace(HEAD, head=LightweightHead(bottleneck=8)),
        replace(HEAD, head=AdapterHead(bottleneck=9)),
        replace(HEAD, head=AdapterHead(bottleneck=8, layer_norm=True)),
        replace(HEAD, pooling=Pooling.MAX),
        replace(HEAD, optimisation=Optimisation(batch_size=4)),
        replace(HEAD, optimisation=Optimisation(accumulation=2)),
        replace(HEAD, optimisation=Optimisation(optimiser=Optimiser.SGD)),
    ],
)
def test_what_a_batched_pass_follows_from_must_be_the_same(other):
    assert shared_shape(other) is not None
    assert shared_shape(other) != shared_shape(HEAD)


@pytest.mark.parametrize(
    "config",
    [
        replace(HEAD, mode=Mode.FULL),
        replace(HEAD, mode=Mode.LAST_K, last_k=1),
        ScratchConfig(),
        BaselineConfig(),
    ],
    ids=["full", "last_k", "scratch", "baseline"],
)
def test_only_heads_on_a_frozen_backbone_can_be(config):
    assert shared_shape(config) is None
