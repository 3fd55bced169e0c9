"""Which attention runs: PyTorch's fused ones differ by device, and so does their memory."""

import pytest
import torch

from headhunt.spaces.configs import HeadConfig, ScratchConfig
from headhunt.spaces.heads import HEADS
from headhunt.trainables.models.backbones import empty_encoder, load_config, load_encoder
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.models.kernels import PLAIN_ATTENTION
from headhunt.trainables.models.scratch import ScratchModel

from ..backbone_dirs import WIDTH, make_backbone
from ..recorded_operations import RecordedOperations

NOTES, TOKENS = 2, 6


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
