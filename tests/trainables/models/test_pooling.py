import math

import pytest
import torch
from torch._subclasses import FakeTensorMode

from headhunt.spaces.configs import Pooling
from headhunt.trainables.models.pooling import Pool

WIDTH = 6


def batch(lengths=(5, 3, 1), tokens=5):
    hidden = torch.randn(len(lengths), tokens, WIDTH, generator=torch.Generator().manual_seed(0))
    return hidden, torch.arange(tokens) < torch.tensor(lengths)[:, None]


def pool_with_query(kind):
    """A pool whose query, where it has one, is not the zero that it starts from."""
    pool = Pool(kind, WIDTH)
    if pool.query is not None:
        torch.nn.init.normal_(pool.query, generator=torch.Generator().manual_seed(1))
    return pool


def plain(kind, states, query):
    """The pooling of one note's real tokens, [tokens, width] -> [width], a token at a time."""
    if kind is Pooling.FIRST:
        return states[0]
    if kind is Pooling.MAX:
        return torch.stack([max(column) for column in states.T])
    weights = [1.0] * len(states)
    if kind is Pooling.ATTENTION:
        weights = [math.exp((state @ query).item() / math.sqrt(WIDTH)) for state in states]
    weighted = [weight * state for weight, state in zip(weights, states, strict=True)]
    return torch.stack(weighted).sum(0) / sum(weights)


@pytest.mark.parametrize("kind", Pooling)
def test_a_pool_sees_each_notes_real_tokens_and_nothing_else(kind):
    pool = pool_with_query(kind)
    hidden, mask = batch()

    found = pool(hidden, mask)

    for note, length in enumerate(mask.sum(1)):
        expected = plain(kind, hidden[note, :length], pool.query)
        torch.testing.assert_close(found[note], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("garbage", [1.0, 1e30, -1e30])
@pytest.mark.parametrize("kind", Pooling)
def test_nothing_in_the_padding_gets_through(kind, garbage):
    pool = pool_with_query(kind)
    hidden, mask = batch()
    spoilt = hidden.masked_fill(~mask[..., None], garbage)

    assert torch.equal(pool(spoilt, mask), pool(hidden, mask))


@pytest.mark.parametrize("kind", Pooling)
def test_no_gradient_flows_into_padding(kind):
    hidden, mask = batch()
    hidden.requires_grad_()

    pool_with_query(kind)(hidden, mask).sum().backward()

    assert hidden.grad is not None
    assert (hidden.grad[~mask] == 0).all()
    assert hidden.grad[mask].any()


@pytest.mark.parametrize("kind", Pooling)
def test_padding_may_stand_on_the_left(kind):
    pool = pool_with_query(kind)
    hidden, mask = batch(lengths=(3, 3))

    shifted = pool(hidden.roll(2, dims=1), mask.roll(2, dims=1))

    torch.testing.assert_close(shifted, pool(hidden, mask))


@pytest.mark.parametrize("kind", Pooling)
def test_half_precision_states_are_pooled_in_single_precision(kind):
    hidden, mask = batch()

    assert pool_with_query(kind)(hidden.half(), mask).dtype == torch.float32


def test_attention_starts_as_the_mean_and_its_query_learns():
    hidden, mask = batch()
    pool = Pool(Pooling.ATTENTION, WIDTH)

    pooled = pool(hidden, mask)
    pooled.square().sum().backward()

    torch.testing.assert_close(pooled, Pool(Pooling.MEAN, WIDTH)(hidden, mask))
    assert pool.query is not None
    assert pool.query.grad is not None
    assert pool.query.grad.any()


@pytest.mark.parametrize("kind", Pooling)
def test_only_attention_has_parameters_one_number_a_dimension(kind):
    parameters = sum(p.numel() for p in Pool(kind, WIDTH).parameters())

    assert parameters == (WIDTH if kind is Pooling.ATTENTION else 0)


@pytest.mark.parametrize("kind", Pooling)
def test_a_pool_traces_without_data_forward_and_backward(kind):
    with FakeTensorMode():
        hidden = torch.randn(8, 16, WIDTH, requires_grad=True)
        pooled = Pool(kind, WIDTH)(hidden, torch.ones(8, 16).bool())
        pooled.sum().backward()

    assert pooled.shape == (8, WIDTH)
    assert hidden.grad is not None
