"""The footprint against arithmetic by hand; against the allocator: `test_footprint_truth`."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from headhunt.spaces.configs import (
    BaselineConfig,
    HeadConfig,
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
from headhunt.trainables.card import footprint
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.card.footprint import (
    WORKSPACE_BYTES,
    BackboneShape,
    Footprinter,
    Workload,
)
from headhunt.trainables.card.trace import _without_data, trace_inference
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.models.scratch import ScratchModel

WIDTH, CLASSES, TOKENS, NOTES, VOCABULARY = 256, 3, 128, 8, 2000
P620 = CARDS["p620"]
HEAD = HeadConfig(backbone="tiny", head=AdapterHead())
SCRATCH = ScratchConfig(blocks=2, width=64, feed_forward=64)
MOE = replace(SCRATCH, model="moe", experts=4)
CONFIGS = {
    "linear": replace(HEAD, head=LinearHead()),
    "adapter": HEAD,
    "adapter with norm and dropout": replace(
        HEAD, head=AdapterHead(layer_norm=True, activation="relu", structure_dropout=0.1)
    ),
    "lightweight": replace(HEAD, head=LightweightHead()),
    "lightweight inner": replace(HEAD, head=LightweightHead(variant="inner")),
    "tiny attention": replace(HEAD, head=TinyAttentionHead()),
    "tiny attention, width 32": replace(HEAD, head=TinyAttentionHead(attention_width=32)),
    "grn": replace(HEAD, head=GrnHead()),
    "grn with bottleneck": replace(HEAD, head=GrnHead(bottleneck=64)),
    "first": replace(HEAD, pooling=Pooling.FIRST),
    "max": replace(HEAD, pooling=Pooling.MAX),
    "attention pooling": replace(HEAD, pooling=Pooling.ATTENTION, dropout=0.0),
    "transformer": SCRATCH,
    "transformer without dropout": replace(SCRATCH, dropout=0.0, classifier_dropout=0.0),
    "moe": MOE,
    "moe, max": replace(MOE, pooling=Pooling.MAX),
}


class SmallEncoder(nn.Module):
    """An encoder that takes less than any head, so that the head's own peak is seen."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 1)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(last_hidden_state=self.table(input_ids) * attention_mask[..., None])


def footprinter(
    *,
    card=P620,
    tokens=TOKENS,
    batch_limit=NOTES,
    lengths=None,
    encoder: Callable[[], nn.Module] = SmallEncoder,
):
    lengths = np.arange(1, 41) * tokens // 40 + 1 if lengths is None else np.asarray(lengths)
    lengths = lengths.clip(max=tokens)
    places = np.arange(len(lengths))
    workload = Workload(lengths, places[::2], places[1::2])
    return Footprinter(
        card,
        classes=CLASSES,
        max_tokens=tokens,
        batch_limit=batch_limit,
        backbones={"tiny": BackboneShape("tiny", WIDTH, 512, encoder)},
        backbone_workloads={"tiny": workload},
        scratch_workload=lambda vocabulary: (workload, min(vocabulary, VOCABULARY)),
    )


@cache
def found_of(config, **options):
    """The footprint of a network, traced once for all tests that ask for the same one."""
    found = footprinter(**options)(config)
    assert found is not None
    return found


def build(config):
    if isinstance(config, HeadConfig):
        return HeadModel(WIDTH, CLASSES, config)
    return ScratchModel(config, VOCABULARY, CLASSES, TOKENS)


# --- memory ----------------------------------------------------------------------------------


def test_the_optimisers_state_is_counted():
    config = replace(HEAD, head=GrnHead(), optimisation=Optimisation(batch_size=1))

    found = found_of(config, tokens=4, batch_limit=1)

    # Weight, gradient, two moments.
    assert found.peak_bytes - WORKSPACE_BYTES >= 4 * 4 * found.trainable_parameters


def test_a_frozen_encoder_of_the_size_of_bert_base_takes_about_530_mib_at_8_notes_of_256_tokens():
    from transformers import CamembertConfig, CamembertModel

    config = CamembertConfig(vocab_size=32_005, max_position_embeddings=514, type_vocab_size=1)
    find = footprinter(tokens=256, encoder=lambda: CamembertModel(config, add_pooling_layer=False))

    assert 450 * MIB < find.encoding_peak_bytes("tiny") < 600 * MIB
    found = find(replace(HEAD, head=LinearHead()))
    assert found is not None
    assert found.peak_bytes == find.encoding_peak_bytes("tiny")
    assert 109e6 < found.total_parameters - found.trainable_parameters < 112e6
    assert found.encoding_seconds > 0


def test_a_larger_validation_batch_than_the_training_batch_is_counted():
    config = replace(HEAD, optimisation=Optimisation(batch_size=1))

    peaks = (found_of(config, batch_limit=n).peak_bytes for n in (1, 64))
    small, large = (peak - WORKSPACE_BYTES for peak in peaks)

    assert large > 5 * small


@pytest.mark.parametrize(
    "grow",
    [
        lambda c: replace(c, optimisation=Optimisation(batch_size=2 * NOTES)),
        lambda c: replace(c, width=2 * c.width),
        lambda c: replace(c, blocks=c.blocks + 1),
        lambda c: replace(c, vocabulary=2 * c.vocabulary),
    ],
    ids=["batch", "width", "blocks", "vocabulary"],
)
def test_more_of_anything_is_a_larger_peak(grow):
    small = replace(SCRATCH, vocabulary=500)

    assert found_of(grow(small)).peak_bytes > found_of(small).peak_bytes


def test_a_card_too_small_makes_a_config_infeasible_by_the_bytes_that_it_lacks():
    fits = found_of(HEAD)
    tight = replace(P620, memory_bytes=P620.reserve_bytes + fits.peak_bytes)

    assert fits.excess_bytes < 0
    assert found_of(HEAD, card=tight).excess_bytes == 0
    smaller = replace(tight, memory_bytes=tight.memory_bytes - 1)
    assert found_of(HEAD, card=smaller).excess_bytes == 1


# --- arithmetic ------------------------------------------------------------------------------


def test_a_linear_layer_takes_two_flops_a_weight_and_row():
    def batch(rows):
        return {"input": torch.zeros(rows, 30)}

    trace = trace_inference(lambda: nn.Linear(30, 20, bias=False), batch, tokens=7, other_tokens=())

    assert trace.work.flops == 2 * 7 * 30 * 20
    given, weights, result = 4 * 7 * 30, 4 * 30 * 20, 4 * 7 * 20
    assert trace.work.moved_bytes == given + (given + weights + result)  # it arrives, and is read


def test_training_a_linear_head_takes_the_classifier_forward_and_its_weights_backward():
    found = found_of(replace(HEAD, head=LinearHead()))

    # The states are no parameters: nothing flows back to them. They are one vector a note, of which
    # the pooling takes the mean.
    assert found.step_flops == 2 * (2 * NOTES * WIDTH * CLASSES) + 2 * NOTES * WIDTH
    assert found.trainable_parameters == WIDTH * CLASSES + CLASSES


def test_an_adapters_flops_are_those_of_its_two_matrices_forward_and_backward():
    bottleneck = 64
    found = found_of(replace(HEAD, head=AdapterHead(bottleneck=bottleneck)))

    matrix = 2 * NOTES * TOKENS * WIDTH * bottleneck
    classifier = 2 * NOTES * WIDTH * CLASSES
    up = 2 * NOTES * bottleneck * WIDTH  # it maps what is pooled: one vector a note
    pooling = 2 * NOTES * TOKENS * (WIDTH + 2 * bottleneck)  # of the states, and of what is inside
    # Forward, weights, and inputs, of which the first matrix's are not wanted.
    assert found.step_flops == 2 * matrix + 3 * up + 3 * classifier + pooling


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_trainable_parameters_are_those_of_the_real_model(config):
    counted = sum(p.numel() for p in build(config).parameters())

    assert found_of(config).trainable_parameters == counted


# --- hours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [HEAD, SCRATCH, MOE], ids=lambda c: c.model)
def test_hours_grow_with_each_epoch_by_the_same(config):
    found = found_of(config)

    hours = [found.card_hours(epochs) for epochs in range(5)]
    assert found.epoch_seconds > 0
    assert np.diff(hours) == pytest.approx([found.epoch_seconds / 3600] * 4)
    assert hours[0] == found.encoding_seconds / 3600
    assert found.card_hours_marginal(3) == pytest.approx(hours[3] - hours[0])


def test_encoding_is_paid_under_a_head_alone():
    assert found_of(HEAD).encoding_seconds > 0
    assert found_of(SCRATCH).encoding_seconds == 0


@pytest.mark.parametrize("config", [HEAD, SCRATCH], ids=lambda c: c.model)
def test_more_notes_and_longer_notes_take_more_hours(config):
    work = ((5,) * 40, (32,) * 40, (32,) * 80)

    hours = [found_of(config, tokens=32, lengths=notes).card_hours(3) for notes in work]

    assert all(less < more for less, more in pairwise(hours))


def test_a_slower_card_takes_more_hours():
    slow = replace(P620, flops=P620.flops / 10, bandwidth=P620.bandwidth / 10)

    assert found_of(SCRATCH, card=slow).card_hours(1) > found_of(SCRATCH).card_hours(1)


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_the_shortest_limits_have_hours_too(tokens):
    found = found_of(HEAD, tokens=tokens, lengths=(1,) * 20)

    assert found.epoch_seconds > 0
    assert found.encoding_seconds > 0


# --- lookups ---------------------------------------------------------------------------------


@pytest.fixture
def traced(monkeypatch):
    """The shapes that were traced, one an entry."""
    calls = []
    real = footprint.trace_training

    def counted(*args, **options):
        calls.append(args)
        return real(*args, **options)

    monkeypatch.setattr(footprint, "trace_training", counted)
    return calls


@pytest.mark.parametrize("config", [HEAD, SCRATCH, MOE], ids=lambda c: c.model)
def test_a_config_of_a_shape_that_was_seen_is_looked_up(config, traced):
    find = footprinter()
    tuned = Optimisation(learning_rate=3e-3, weight_decay=0.1, warmup_share=0.3, class_weights=True)

    one = find(config)
    other = find(replace(config, dropout=0.37, optimisation=tuned))

    assert one == other
    assert len(traced) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(HEAD, head=AdapterHead(bottleneck=65)),
        replace(HEAD, pooling=Pooling.MAX),
        replace(HEAD, dropout=0.0),
        replace(HEAD, optimisation=Optimisation(batch_size=4)),
    ],
    ids=["bottleneck", "pooling", "no dropout", "batch"],
)
def test_a_config_of_another_shape_is_traced(other, traced):
    find = footprinter()

    assert find(HEAD) != find(other)
    assert len(traced) == 2


def test_a_baseline_has_no_footprint(traced):
    assert footprinter()(BaselineConfig()) is None
    assert traced == []


def test_an_operation_that_changes_a_shape_in_place_does_so_every_time():
    """A vector times a matrix does, and what was met before is looked up."""

    def work():
        building = _without_data(lambda: nn.Linear(16, 4))
        with building as (meter, model), meter.work() as found, torch.device("meta"):
            states = torch.empty(2, 8, 4)
            (states @ (torch.empty(16) @ next(model.parameters()).t())).sum().backward()
        return found[0]

    assert work() == work()
