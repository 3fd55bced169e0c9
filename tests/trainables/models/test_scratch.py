import math
from dataclasses import replace

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from headhunt.spaces.configs import Pooling, ScratchConfig
from headhunt.trainables.models.moe import SwitchFeedForward
from headhunt.trainables.models.scratch import Block, ScratchModel, SelfAttention

torch.set_num_threads(1)
VOCABULARY, CLASSES = 50, 3
PLAIN = ScratchConfig(width=8, feed_forward=12)
MOE = ScratchConfig(model="moe", width=8, feed_forward=12, experts=4, classifier_dropout=0.25)
CONFIGS = [
    PLAIN,
    MOE,
    replace(PLAIN, blocks=2, attention_heads=4, pooling=Pooling.ATTENTION),
    replace(MOE, blocks=2, pooling=Pooling.MAX),
    replace(MOE, experts=2, capacity_factor=2.0, pooling=Pooling.FIRST),
]


@pytest.fixture(params=CONFIGS, ids=lambda c: f"{c.model}-{c.blocks}-{c.pooling}")
def config(request):
    return request.param


def build(config):
    torch.manual_seed(0)
    return ScratchModel(config, VOCABULARY, CLASSES, max_tokens=16)


def batch(lengths=(7, 3, 1), tokens=7):
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randint(0, VOCABULARY, (len(lengths), tokens), generator=generator)
    return numbers, torch.arange(tokens) < torch.tensor(lengths)[:, None]


def balance(output):
    """Its balance loss; only what routes has one."""
    return torch.zeros(()) if output.balance_loss is None else output.balance_loss


def switch(*, experts=4, capacity_factor=1.0, router_noise=0.0, width=8):
    torch.manual_seed(0)
    return SwitchFeedForward(
        width=width,
        feed_forward=12,
        experts=experts,
        capacity_factor=capacity_factor,
        router_noise=router_noise,
    )


def states_and_mask(lengths=(9, 4, 1), tokens=9, width=8):
    hidden = torch.randn(len(lengths), tokens, width, generator=torch.Generator().manual_seed(2))
    return hidden, torch.arange(tokens) < torch.tensor(lengths)[:, None]


def plain_switch(layer, hidden, mask, capacity):
    """Switch routing a token at a time; also how many real tokens were over capacity."""
    added, taken, dropped = torch.zeros_like(hidden), [0] * layer.experts, 0
    for note in range(hidden.shape[0]):
        for token in range(hidden.shape[1]):
            if not mask[note, token]:
                continue
            state = hidden[note, token]
            probabilities = (layer.router.weight @ state).softmax(0)
            expert = int(probabilities.argmax())
            if taken[expert] >= capacity:
                dropped += 1
                continue
            taken[expert] += 1
            inner = F.relu(state @ layer.up[expert] + layer.up_bias[expert, 0])
            out = inner @ layer.down[expert] + layer.down_bias[expert, 0]
            added[note, token] = probabilities[expert] * out
    return added, dropped


# --- both models -----------------------------------------------------------------------------


def test_longer_padding_and_what_stands_in_it_change_nothing_in_evaluation(config):
    model = build(config).eval()
    tokens, mask = batch()
    longer, longer_mask = torch.full((3, 16), 5), torch.zeros(3, 16, dtype=torch.bool)
    longer[:, :7] = torch.where(mask, tokens, 9)
    longer_mask[:, :7] = mask

    short, long = model(tokens, mask), model(longer, longer_mask)

    torch.testing.assert_close(long.logits, short.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(balance(long), balance(short), rtol=0, atol=1e-5)


def test_a_notes_logits_do_not_depend_on_its_neighbours_in_evaluation(config):
    model = build(config).eval()
    tokens, mask = batch()

    together = model(tokens, mask).logits
    alone = torch.cat([model(tokens[i : i + 1], mask[i : i + 1]).logits for i in range(3)])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("notes", [1, 2, 3])
def test_a_last_smaller_batch_trains_as_any_other(config, notes):
    model = build(config).train()
    tokens, mask = batch()

    output = model(tokens[:notes], mask[:notes])
    (output.logits.sum() + balance(output)).backward()

    assert output.logits.shape == (notes, CLASSES)
    assert output.logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_note_of_one_token_has_finite_logits(config):
    tokens, mask = batch(lengths=(1,), tokens=1)

    assert build(config).train()(tokens, mask).logits.isfinite().all()


def test_gradients_reach_every_parameter(config):
    model = build(replace(config, capacity_factor=4.0))
    lengths = (16,) * 16  # enough tokens for every expert to have one
    tokens, mask = batch(lengths, tokens=16)
    output = model(tokens, mask)
    labels = torch.arange(16) % CLASSES
    (F.cross_entropy(output.logits, labels) + balance(output)).backward()

    missing = [
        name
        for name, value in model.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert missing == []


def test_a_model_traces_without_data_forward_and_backward_in_both_modes(config):
    with FakeTensorMode():
        model = ScratchModel(config, VOCABULARY, CLASSES, max_tokens=16)
        for mode in (True, False):
            model.train(mode).zero_grad()
            tokens, mask = torch.zeros(8, 16).long(), torch.ones(8, 16).bool()
            output = model(tokens, mask)
            loss = F.cross_entropy(output.logits, torch.zeros(8).long())
            (loss + balance(output)).backward()

            assert output.logits.shape == (8, CLASSES)
            assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_a_state_dict_goes_into_a_differently_seeded_model_and_back(config):
    model = build(config).eval()
    torch.manual_seed(9)
    other = ScratchModel(config, VOCABULARY, CLASSES, max_tokens=16).eval()
    tokens, mask = batch()

    other.load_state_dict(model.state_dict())

    assert torch.equal(model(tokens, mask).logits, other(tokens, mask).logits)


def test_a_block_is_post_norm():
    torch.manual_seed(0)
    block = Block(PLAIN).eval()
    hidden, mask = states_and_mask()

    found, balance = block(hidden, mask)

    middle = F.layer_norm(hidden + block.attention(hidden, mask), (8,))
    expected = F.layer_norm(middle + block.feed_forward(middle, mask)[0], (8,))
    torch.testing.assert_close(found, expected)
    assert balance is None


def test_attention_is_softmax_over_a_notes_real_tokens_in_each_head():
    torch.manual_seed(0)
    attention = SelfAttention(width=8, heads=2)
    hidden, mask = states_and_mask()
    query, key, value = attention.project(hidden).chunk(3, dim=-1)

    found = attention(hidden, mask)

    for note, length in enumerate(mask.sum(1)):
        heads = []
        for columns in (slice(0, 4), slice(4, 8)):
            q, k, v = (part[note, :length, columns] for part in (query, key, value))
            heads.append((q @ k.T / math.sqrt(4)).softmax(-1) @ v)
        torch.testing.assert_close(found[note, :length], attention.out(torch.cat(heads, dim=-1)))


def test_word_order_matters():
    model = build(PLAIN).eval()
    tokens, mask = batch(lengths=(7,))

    assert not torch.allclose(model(tokens, mask).logits, model(tokens.flip(1), mask).logits)


def test_the_default_templates_have_the_parameters_that_their_shapes_say():
    embeddings, attention, norms, classifier = (20_000 + 256) * 32, 4 * (32 * 32 + 32), 4 * 32, 66
    network = 2 * (32 * 32 + 32)
    shared = embeddings + attention + norms + classifier
    plain = ScratchModel(ScratchConfig(), 20_000, 2)
    moe = ScratchModel(ScratchConfig(model="moe", experts=10), 20_000, 2)

    assert sum(p.numel() for p in plain.parameters()) == shared + network == 654_722
    assert sum(p.numel() for p in moe.parameters()) == shared + 10 * network + 320 == 674_050


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(PLAIN, model="mamba"), "transformer or moe; got config.model='mamba'"),
        (replace(PLAIN, attention_heads=3), "config.width=8 and config.attention_heads=3"),
        (replace(MOE, experts=0), "experts >= 2 .* got config.experts=0"),
        (replace(MOE, capacity_factor=0.0), "capacity_factor > 0; .* config.capacity_factor=0.0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build(config)


def test_a_note_longer_than_the_positions_is_refused():
    tokens, mask = batch(lengths=(17,), tokens=17)

    with pytest.raises(ValueError, match=r"self.max_tokens=16 .* got length=17"):
        build(PLAIN)(tokens, mask)


# --- the experts -----------------------------------------------------------------------------


def test_in_evaluation_every_real_token_goes_to_its_likeliest_expert():
    layer = switch(capacity_factor=0.1).eval()
    hidden, mask = states_and_mask()

    added, _ = layer(hidden, mask)

    expected, dropped = plain_switch(layer, hidden, mask, capacity=14)
    assert dropped == 0
    torch.testing.assert_close(added, expected, rtol=1e-5, atol=1e-6)
    assert (added[~mask] == 0).all()


@pytest.mark.parametrize("capacity_factor", [0.3, 0.5, 1.0, 1.25, 4.0])
def test_in_training_tokens_over_the_capacity_of_real_tokens_get_nothing(capacity_factor):
    layer = switch(capacity_factor=capacity_factor).train()
    hidden, mask = states_and_mask()
    capacity = math.ceil(capacity_factor * int(mask.sum()) / layer.experts)

    added, _ = layer(hidden, mask)

    expected, dropped = plain_switch(layer, hidden, mask, capacity)
    assert (dropped > 0) == (capacity_factor < 4.0)
    torch.testing.assert_close(added, expected, rtol=1e-5, atol=1e-6)


def test_a_capacity_that_is_a_whole_number_is_not_rounded_up_by_floating_point():
    layer = switch(experts=10, capacity_factor=1.1).train()  # 1.1 * 100 / 10 = 11.000000000000002
    equal = torch.ones(1, 100, 8)

    added, _ = layer(equal, torch.ones(1, 100, dtype=torch.bool))

    assert added.any(dim=-1).sum() == 11


def test_dropped_tokens_are_the_last_of_the_batch_and_pass_through_the_residual():
    torch.manual_seed(0)
    block = Block(replace(MOE, dropout=0.0, router_noise=0.0)).train()
    hidden = torch.ones(2, 8, 8)  # 16 equal tokens of one expert, whose capacity is 4
    mask = torch.ones(2, 8, dtype=torch.bool)
    middle = F.layer_norm(hidden + block.attention(hidden, mask), (8,))

    added, _ = block.feed_forward(middle, mask)
    found, _ = block(hidden, mask)

    assert added[0, :4].any(dim=-1).all()
    assert not added[0, 4:].any()
    assert not added[1].any()
    torch.testing.assert_close(found[1], F.layer_norm(middle[1], (8,)))


def test_longer_padding_takes_nobodys_place_in_training():
    layer = switch(capacity_factor=0.5).train()
    hidden, mask = states_and_mask()

    short, short_balance = layer(hidden, mask)
    long, long_balance = layer(F.pad(hidden, (0, 0, 0, 5), value=3.0), F.pad(mask, (0, 5)))

    torch.testing.assert_close(long[:, :9], short, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(long_balance, short_balance)


def test_the_balance_loss_is_one_under_uniform_routing_and_the_experts_under_collapse():
    layer = switch(experts=8)
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(8) * 50)  # token i of one-hot states goes to expert i
    mask = torch.ones(1, 8, dtype=torch.bool)

    _, uniform = layer(torch.eye(8).unsqueeze(0), mask)
    _, collapsed = layer(torch.eye(8)[:1].expand(1, 8, 8), mask)

    assert uniform.item() == pytest.approx(1.0)
    assert collapsed.item() == pytest.approx(8.0)


def test_the_balance_loss_is_that_of_the_paper_over_real_tokens():
    layer = switch().eval()
    hidden, mask = states_and_mask()

    _, balance = layer(hidden, mask)

    probabilities = layer.router(hidden[mask]).softmax(-1)
    share = F.one_hot(probabilities.argmax(-1), 4).float().mean(0)
    torch.testing.assert_close(balance, 4 * (share * probabilities.mean(0)).sum())


def test_a_model_sums_its_blocks_balance_losses_and_weighs_them():
    tokens, mask = batch()
    unit = build(replace(MOE, blocks=2, balance_weight=1.0)).eval()(tokens, mask).balance_loss
    weighted = build(replace(MOE, blocks=2, balance_weight=0.01)).eval()(tokens, mask).balance_loss

    assert 2 * 0.9 < unit < 2 * 4
    torch.testing.assert_close(weighted, 0.01 * unit)


def test_the_router_learns_from_both_losses():
    layer = switch(capacity_factor=4.0)
    hidden, mask = states_and_mask()
    added, balance = layer(hidden, mask)

    (by_task,) = torch.autograd.grad(added.square().sum(), layer.router.weight, retain_graph=True)
    (by_balance,) = torch.autograd.grad(balance, layer.router.weight)

    assert by_task.any()
    assert by_balance.any()


def test_router_noise_is_in_training_alone():
    layer = switch(capacity_factor=4.0, router_noise=0.1)
    hidden, mask = states_and_mask()

    layer.train()
    assert not torch.equal(layer(hidden, mask)[0], layer(hidden, mask)[0])
    layer.eval()
    assert torch.equal(layer(hidden, mask)[0], layer(hidden, mask)[0])


def test_router_noise_multiplies_the_routers_input_by_u_of_one_minus_to_one_plus():
    layer = switch(width=1000, router_noise=0.1).train()
    seen = []
    layer.router.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mask = torch.ones(1, 9, dtype=torch.bool)

    layer(torch.ones(1, 9, 1000), mask)

    assert seen[0].dtype == torch.float32
    assert 0.9 <= seen[0].min() < 0.91
    assert 1.09 < seen[0].max() <= 1.1
    assert seen[0].mean().item() == pytest.approx(1.0, abs=0.01)
