"""A footprint of the skeleton is a footprint of transformers' encoder with peft's additions."""

import subprocess
import sys
from functools import cache
from itertools import product

import pytest
import torch
from transformers import BertConfig, CamembertConfig, DistilBertConfig, RobertaConfig

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, Optimiser, Pooling
from headhunt.spaces.heads import AdapterHead, GrnHead, LinearHead
from headhunt.trainables.card.trace import trace_inference, trace_lengths, trace_training
from headhunt.trainables.models.backbones import empty_encoder
from headhunt.trainables.models.finetuned import TunedModel
from headhunt.trainables.models.skeleton import Geometry, Skeleton, geometry_of

from .test_footprint import BackboneShape, footprinter

NOTES, TOKENS, CLASSES = 3, 24, 3
MODES = {
    "full": {"mode": Mode.FULL},
    "last 1": {"mode": Mode.LAST_K, "last_k": 1},
    "last 4": {"mode": Mode.LAST_K, "last_k": 4},
    "all as last": {"mode": Mode.LAST_K, "last_k": 6},
    "lora": {"mode": Mode.LORA, "lora_rank": 4, "lora_alpha": 8},
}
KINDS = (BertConfig, RobertaConfig, CamembertConfig)


def config_of(kind=CamembertConfig, **changes):
    sizes = {
        "vocab_size": 90,
        "hidden_size": 32,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 60,
        "type_vocab_size": 2,
        "pad_token_id": 1,
    }
    return kind(**{**sizes, **changes})


def both(config):
    """transformers' encoder and the skeleton, as functions that build them."""
    geometry = geometry_of(config.to_dict())
    assert geometry is not None
    return lambda: empty_encoder(config), lambda: Skeleton(geometry)


def ids(tokens, notes=NOTES):
    return torch.zeros(notes, tokens, dtype=torch.int64)


def trace_of(encoder, config):
    def batch(notes, tokens=TOKENS):
        return ids(tokens, notes), torch.ones(notes, tokens, dtype=torch.bool)

    return trace_training(
        lambda: TunedModel(encoder(), CLASSES, config),
        lambda tokens: batch(config.optimisation.batch_size, tokens),
        lambda: batch(NOTES),
        config.optimisation,
        tokens=TOKENS,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_training_step_is_that_of_transformers_and_peft(kind, mode):
    theirs, ours = both(config_of(kind))
    settings = product((False, True), Optimiser, (1, NOTES))
    for checkpointing, optimiser, notes in settings:
        config = HeadConfig(
            backbone="tiny",
            head=LinearHead(),
            checkpointing=checkpointing,
            optimisation=Optimisation(
                optimiser=optimiser, batch_size=notes, accumulation=1 + notes % 2
            ),
            **MODES[mode],
        )

        assert trace_of(ours, config) == trace_of(theirs, config), config


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("head", [AdapterHead(), GrnHead()], ids=lambda head: head.kind)
def test_so_it_is_under_other_heads_and_poolings(pooling, head):
    theirs, ours = both(config_of())
    config = HeadConfig(backbone="tiny", head=head, pooling=pooling, mode=Mode.FULL)

    assert trace_of(ours, config) == trace_of(theirs, config)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_so_it_is_however_few_the_layers_are(layers, checkpointing):
    theirs, ours = both(config_of(num_hidden_layers=layers))
    for mode in ("full", "last 1", "lora"):
        config = HeadConfig(
            backbone="tiny", head=LinearHead(), checkpointing=checkpointing, **MODES[mode]
        )

        assert trace_of(ours, config) == trace_of(theirs, config), mode


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_is_that_of_transformers(kind):
    def trace(encoder):
        def batch(tokens):
            return {"input_ids": ids(tokens), "attention_mask": torch.ones_like(ids(tokens))}

        return trace_inference(encoder, batch, tokens=TOKENS, other_tokens=(6, 12))

    theirs, ours = both(config_of(kind))

    assert trace(ours) == trace(theirs)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_work_at_shorter_lengths_is_that_of_the_whole_network(mode, checkpointing):
    config = HeadConfig(
        backbone="tiny",
        head=AdapterHead(),
        pooling=Pooling.MAX,
        checkpointing=checkpointing,
        **MODES[mode],
    )
    theirs, _ = both(config_of())
    find = footprinter(tokens=TOKENS)
    find._backbones["tiny"] = BackboneShape.of("tiny", config_of())

    shared = find._at_lengths(config, (6, 12))
    whole = trace_lengths(
        lambda: TunedModel(theirs(), 3, config),
        lambda tokens: find._batch(config, 8, tokens),
        (6, 12),
    )

    for found, expected in zip(shared, whole, strict=True):
        assert {k: n for k, n in found.counts.items() if n} == dict(expected.counts)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"chunk_size_feed_forward": 4},
        {"dtype": "float16"},
        {"pad_token_id": None},
        {"hidden_size": 30},
    ],
    ids=str,
)
def test_what_the_skeleton_does_not_know_is_left_to_transformers(changes):
    values = config_of().to_dict()

    assert geometry_of(values) is not None
    assert geometry_of({**values, **changes}) is None
    assert geometry_of(DistilBertConfig().to_dict()) is None


def test_the_known_encoders_are_as_transformers_would_have_them():
    config = CamembertConfig(vocab_size=32_005, max_position_embeddings=514, type_vocab_size=1)

    assert geometry_of(config.to_dict()) == Geometry("camembert", 32_005)


HEAVY = ("transformers", "peft", "torch._dynamo", "torch._inductor")


@cache
def imported_by_footprints():
    """Modules in a process that made a footprint of CamemBERT-bio in every mode."""
    script = """
import sys
from dataclasses import replace
from headhunt.search.estimate import Counted, Estimator, gallery
from headhunt.spaces.configs import Optimiser
from headhunt.trainables.card.cards import CARDS
find = Estimator(CARDS["p620"], Counted(), "camembert-bio", max_tokens=32).study_footprinter()
for config in gallery("camembert-bio"):
    for optimiser in Optimiser:
        find(replace(config, optimisation=replace(config.optimisation, optimiser=optimiser)))
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("module", HEAVY)
def test_a_footprint_in_any_mode_imports_no(module):
    assert module not in imported_by_footprints()
