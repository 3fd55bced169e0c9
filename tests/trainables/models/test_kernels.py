"""Which attention runs: PyTorch's fused ones differ by device, and so does their memory."""

import pytest
import torch

from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.spaces.heads import HEADS
from headhunt.trainables.models.backbones import empty_encoder, load_config, load_encoder
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.models.kernels import (
    PLAIN_ATTENTION,
    additive,
    attention,
    draw_kept,
    dropout,
    packed_attention,
)
from headhunt.trainables.models.scratch import ScratchModel

from ..backbone_dirs import WIDTH, make_backbone
from ..recorded_operations import RecordedOperations

NOTES, TOKENS = 2, 6
CPU = torch.device("cpu")


def loaded(folder):
    return load_encoder(str(folder), folder)[0]


def empty(folder):
    return empty_encoder(load_config(str(folder))).eval()


def is_plain(names):
    """Whether attention is a product, a softmax and a product, and no kernel of its own."""
    return "_softmax" in names and not [name for name in names if "attention" in name]


@pytest.mark.parametrize("kind", ["camembert", "roberta", "bert"])
@pytest.mark.parametrize("made", [loaded, empty])
def test_an_encoder_that_runs_and_the_one_that_is_traced_have_plain_attention(tmp_path, kind, made):
    encoder = made(make_backbone(tmp_path / kind, kind))
    mask = torch.ones(NOTES, TOKENS, dtype=torch.long)
    mask[0, -1] = 0

    with torch.no_grad(), RecordedOperations() as recorded:
        encoder(input_ids=torch.full((NOTES, TOKENS), 5), attention_mask=mask)

    assert encoder.config._attn_implementation == PLAIN_ATTENTION
    assert is_plain(recorded.names)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("model", ["transformer", "moe", "tiny_attention"])
def test_our_own_models_have_plain_attention(model, training):
    mask = torch.arange(TOKENS) < torch.tensor([[TOKENS], [TOKENS - 1]])
    if model == "tiny_attention":
        config = HeadConfig(backbone="tiny", head=HEADS[model].settings())
        network, given = HeadModel(WIDTH, 2, config), torch.ones(NOTES, TOKENS, WIDTH)
    else:
        experts = 2 if model == "moe" else 0
        config = ScratchConfig(model=model, experts=experts, width=8, feed_forward=8, vocabulary=50)
        network, given = ScratchModel(config, 50, 2, TOKENS), torch.full((NOTES, TOKENS), 5)

    with RecordedOperations() as recorded:
        network.train(training)(given, mask)

    assert is_plain(recorded.names)


# --- what is dropped -------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 1e-9, 0.1, 0.3, 0.9, 0.999_999])
def test_the_share_that_is_dropped_is_the_one_asked_for(share):
    torch.manual_seed(0)
    count = 400_001  # no multiple of four
    dropped = 1 - draw_kept((count,), share, CPU).double().mean().item()

    deviation = (share * (1 - share) / count) ** 0.5
    assert abs(dropped - share) < 5 * deviation + 2**-16


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = draw_kept((100_000, 8), 0.5, CPU).double()

    together = torch.corrcoef(kept.T)
    assert (together - torch.eye(8)).abs().max() < 5 / 100_000**0.5


def test_dropping_keeps_the_mean_and_its_gradient_is_its_own_mask():
    torch.manual_seed(0)
    states = torch.ones(50, 1000, requires_grad=True)

    result = dropout(states, 0.25, training=True)
    result.sum().backward()

    assert result.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert result.mean().item() == pytest.approx(1.0, abs=0.02)
    assert states.grad is not None
    assert torch.equal(states.grad, result.detach())


def test_a_generator_of_ones_own_draws_what_the_seed_says():
    torch.manual_seed(3)
    own = torch.Generator().manual_seed(3)

    assert torch.equal(draw_kept((5, 3), 0.5, CPU), draw_kept((5, 3), 0.5, CPU, own))
    assert draw_kept((0, 3), 0.5, CPU).shape == (0, 3)


# --- attention on what was projected at once -------------------------------------------------


def packed_and_mask():
    torch.manual_seed(0)
    packed = torch.randn(3, 7, 3 * 8, dtype=torch.double, requires_grad=True)
    real = torch.arange(7) < torch.tensor([[7], [3], [1]])
    return packed, additive(real).double()


def test_packed_attention_is_attention():
    packed, mask = packed_and_mask()
    query, key, value = packed.unflatten(-1, (3, 2, -1)).permute(0, 3, 1, 2, 4).unbind(dim=3)
    expected = attention(query, key, value, mask, scale=4**-0.5).transpose(1, 2).flatten(2)
    given = torch.randn_like(expected)

    found = packed_attention(packed, mask, heads=2)

    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each, packed, given)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_the_gradient_of_packed_attention_is_its_derivative():
    packed, mask = packed_and_mask()

    assert torch.autograd.gradcheck(lambda states: packed_attention(states, mask, 2), packed)
