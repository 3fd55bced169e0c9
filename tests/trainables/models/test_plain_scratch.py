"""What the benchmark sets beside our scratch models is the same function of the same weights."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.plain_scratch import PlainModel, renamed
from headhunt.spaces.configs import ScratchConfig
from headhunt.trainables.models.scratch import ScratchModel

SMALL = {"width": 8, "feed_forward": 12, "dropout": 0.0, "classifier_dropout": 0.0}
CONFIGS = [
    ScratchConfig(**SMALL, attention_heads=2, blocks=2),
    ScratchConfig(**SMALL, attention_heads=4, model="moe", experts=3, router_noise=0.0),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model)
@pytest.mark.parametrize("training", [True, False])
def test_both_models_say_and_learn_the_same(config, training):
    torch.manual_seed(0)
    ours = ScratchModel(config, 50, 3, 16).train(training)
    plain = PlainModel(config, ours).train(training)
    tokens, labels = torch.randint(0, 50, (5, 11)), torch.tensor([0, 1, 2, 1, 0])
    mask = torch.arange(11)[None, :] < torch.tensor([11, 3, 7, 1, 9])[:, None]

    output, found = ours(tokens, mask), plain(tokens, mask, labels)

    torch.testing.assert_close(found["logits"], output.logits)
    loss = F.cross_entropy(output.logits, labels)
    if output.balance_loss is not None:
        loss = loss + output.balance_loss
    torch.testing.assert_close(found["loss"], loss)
    if not training:
        return
    loss.backward()
    found["loss"].backward()
    own, theirs = gradients(ours), gradients(plain)
    blocks = {name: own.pop(name) for name in list(own) if name.startswith("blocks.")}
    for number in range(config.blocks):
        prefix = f"blocks.{number}."
        block = {n.removeprefix(prefix): g for n, g in blocks.items() if n.startswith(prefix)}
        own |= {prefix + name: each for name, each in renamed(block).items()}
    assert own.keys() == theirs.keys()
    for name, each in own.items():
        torch.testing.assert_close(theirs[name], each, msg=lambda said, n=name: f"{n}: {said}")


def gradients(model):
    """By the parameters' names; 0 where none came, as of an expert without tokens."""
    parameters = model.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters}
