"""The contract of every head in HEADS; a new head is bound to it by being there.

A new head adds its equation to EQUATIONS. Whole models (pooling and classifier behind the head)
are at the end.
"""

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FixedTrial
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

from headhunt.spaces.configs import HeadConfig, Mode, Pooling
from headhunt.spaces.heads import (
    HEADS,
    AdapterHead,
    GrnHead,
    LightweightHead,
    LinearHead,
    TinyAttentionHead,
)
from headhunt.trainables.models.classifier import HeadModel, as_read, fixed_pooling
from headhunt.trainables.models.heads import registers, structure
from headhunt.trainables.models.heads.linear import Linear
from headhunt.trainables.training.batches import Ragged

torch.set_num_threads(1)
WIDTH = 24

# Beside the defaults and the space's reference: every choice that changes a formula, once.
EXTRAS = {
    "adapter": [
        AdapterHead(bottleneck=8, activation="relu", init="zero"),
        AdapterHead(bottleneck=8, layer_norm=True, structure_dropout=0.2),
    ],
    "lightweight": [LightweightHead(bottleneck=8), LightweightHead(bottleneck=8, variant="inner")],
    "tiny_attention": [TinyAttentionHead(attention_width=5)],
    "grn": [GrnHead(bottleneck=8)],
}


def variants(kind):
    """Settings to hold a head to: defaults, reference, extras, and three that the space draws."""
    choice = HEADS[kind]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [choice.suggest(study.ask()) for _ in range(3)]
    named = [choice.settings(), choice.suggest(FixedTrial(dict(choice.reference)))]
    return dict.fromkeys([*named, *EXTRAS.get(kind, []), *drawn])


ALL = [settings for kind in HEADS for settings in variants(kind)]


@pytest.fixture(params=ALL, ids=repr)
def settings(request):
    return request.param


def build(settings, width=WIDTH, seed=0):
    torch.manual_seed(seed)
    return structure(settings, width)


def trained(settings, width=WIDTH):
    """A structure away from its initialisation, where zero weights could hide a wrong formula."""
    module = build(settings, width)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def batch(lengths=(7, 3, 1), tokens=7, width=WIDTH, seed=2):
    """Hidden states [notes, tokens, width] and mask [notes, tokens] of notes so long."""
    hidden = torch.randn(len(lengths), tokens, width, generator=torch.Generator().manual_seed(seed))
    return hidden, torch.arange(tokens) < torch.tensor(lengths)[:, None]


# --- the equations, in NumPy and double precision -------------------------------------------


def norm(x, weights, name="norm"):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def affine(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


def linear_equation(h, weights, settings):
    return h


def adapter_equation(h, weights, settings):
    inside = norm(h, weights) if settings.layer_norm else h
    activation = {"gelu": gelu, "relu": relu}[settings.activation]
    return h + affine(activation(affine(inside, weights, "down")), weights, "up")


def lightweight_equation(h, weights, settings):
    if settings.variant == "inner":
        return norm(affine(affine(h, weights, "down"), weights, "up"), weights)
    return h + affine(relu(affine(norm(h, weights), weights, "down")), weights, "up")


def tiny_attention_equation(h, weights, settings):
    k = settings.attention_width
    projected = affine(norm(h, weights), weights, "project")
    matrix, bias = weights["attention.in_proj_weight"], weights["attention.in_proj_bias"]
    query, key, value = (
        projected[:, i * k : (i + 1) * k] @ matrix[i * k : (i + 1) * k].T
        + bias[i * k : (i + 1) * k]
        for i in range(3)
    )
    mixed = softmax(query @ key.T / math.sqrt(k)) @ value
    return h + affine(affine(mixed, weights, "attention.out_proj"), weights, "up")


def grn_equation(h, weights, settings):
    inside = affine(h, weights, "w2")
    inside = affine(np.where(inside > 0, inside, np.expm1(np.minimum(inside, 0))), weights, "w1")
    gated = sigmoid(affine(inside, weights, "w4")) * affine(inside, weights, "w5")
    return norm(h + gated, weights)


# Each takes one note's real tokens, [tokens, width]: padding cannot even be expressed.
EQUATIONS = {
    "linear": linear_equation,
    "adapter": adapter_equation,
    "lightweight": lightweight_equation,
    "tiny_attention": tiny_attention_equation,
    "grn": grn_equation,
}


def test_every_head_has_its_equation_here():
    assert set(EQUATIONS) == set(HEADS)


def test_a_head_computes_its_equation_on_each_notes_real_tokens(settings):
    module = trained(settings)
    weights = {name: value.double().numpy() for name, value in module.state_dict().items()}
    hidden, mask = batch()

    with torch.no_grad():
        found = module(hidden, mask)

    for note, length in enumerate(mask.sum(1)):
        expected = EQUATIONS[settings.kind](
            hidden[note, :length].double().numpy(), weights, settings
        )
        np.testing.assert_allclose(found[note, :length].numpy(), expected, rtol=1e-4, atol=1e-4)


# --- the contract ----------------------------------------------------------------------------


def test_longer_padding_and_what_stands_in_it_change_nothing(settings):
    module = trained(settings)
    hidden, mask = batch()
    longer, longer_mask = torch.full((3, 12, WIDTH), 9.0), torch.zeros(3, 12, dtype=torch.bool)
    longer[:, :7] = torch.where(mask[..., None], hidden, -9.0)
    longer_mask[:, :7] = mask

    with torch.no_grad():
        short, long = module(hidden, mask), module(longer, longer_mask)

    assert long.shape == (3, 12, WIDTH)
    torch.testing.assert_close(long[:, :7][mask], short[mask], rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_parameter_from_the_second_step_on(settings):
    # From the second: under init zero, what is below W_up = 0 has a zero gradient at the first.
    module = build(settings)
    hidden, mask = batch()
    weights = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.SGD([*module.parameters(), nn.Parameter(torch.zeros(1))], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        # Through the input too, so that the linear head has something to differentiate.
        (module(hidden.requires_grad_(), mask) * weights * mask[..., None]).sum().backward()
        optimiser.step()

    missing = [
        name
        for name, value in module.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert missing == []


def test_a_note_of_one_token_has_finite_states(settings):
    hidden, mask = batch(lengths=(1, 1), tokens=1)

    assert build(settings)(hidden, mask).isfinite().all()


def test_a_state_dict_goes_into_a_differently_seeded_head_and_back(settings):
    module, other = trained(settings), build(settings, seed=5).eval()
    hidden, mask = batch()

    other.load_state_dict(module.state_dict())

    assert torch.equal(module(hidden, mask), other(hidden, mask))


def test_dropout_acts_in_training_alone(settings):
    module = trained(settings)
    hidden, mask = batch()
    settled = module(hidden, mask)
    assert torch.equal(settled, module(hidden, mask))

    module.train()
    differs = not torch.equal(module(hidden, mask), module(hidden, mask))

    assert differs == (getattr(settings, "structure_dropout", 0.0) > 0)


def test_without_dropout_training_and_evaluation_compute_the_same(settings):
    module = trained(settings)
    hidden, mask = batch()
    settled = module(hidden, mask)
    module.train()
    for part in module.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
        if isinstance(part, nn.Dropout):
            part.p = 0.0

    torch.testing.assert_close(module(hidden, mask), settled, rtol=1e-5, atol=1e-5)


def test_a_head_traces_without_data_forward_and_backward(settings):
    with FakeTensorMode():
        model = HeadModel(WIDTH, 3, HeadConfig(backbone="none", head=settings))
        logits, _ = model(torch.randn(8, 16, WIDTH), torch.ones(8, 16).bool())
        F.cross_entropy(logits, torch.zeros(8).long()).backward()

    assert logits.shape == (8, 3)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


# --- what single heads promise ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        (LinearHead(), 0),
        (AdapterHead(bottleneck=64), 99_136),
        (AdapterHead(bottleneck=64, layer_norm=True), 100_672),
        (LightweightHead(bottleneck=64), 100_672),
        (TinyAttentionHead(attention_width=1), 5_387),
        (GrnHead(), 2_363_904),
        (GrnHead(bottleneck=768), 2_363_904),
    ],
    ids=repr,
)
def test_a_head_on_768_wide_states_has_the_published_number_of_parameters(settings, parameters):
    assert sum(p.numel() for p in structure(settings, 768).parameters()) == parameters


@pytest.mark.parametrize("settings", [LinearHead(), AdapterHead(init="zero")], ids=repr)
def test_a_linear_head_and_a_zero_adapter_start_as_the_exact_identity(settings):
    hidden, mask = batch(width=768)

    assert torch.equal(build(settings, 768)(hidden, mask), hidden)


@pytest.mark.parametrize(
    ("settings", "distance"),
    [
        # 64 products of N(0, 1e-3) weights and of activations of deviation 1e-3 sqrt(768).
        (AdapterHead(), 2e-3),
        # 0.01 times a Linear of one input, whose weight and bias are both within 1, on a value
        # that is an average of O(1) numbers.
        (TinyAttentionHead(), 0.05),
        (TinyAttentionHead(attention_width=64), 0.05),
    ],
    ids=repr,
)
def test_houlsby_and_tiny_attention_start_near_the_identity(settings, distance):
    hidden, mask = batch(width=768)
    found = build(settings, 768).eval()(hidden, mask)

    assert not torch.equal(found, hidden)
    assert (found - hidden).abs().max() < distance


def test_a_tiny_attention_hears_other_real_tokens_of_its_note_and_no_other_note():
    module = trained(TinyAttentionHead())
    hidden, mask = batch()
    changed = hidden.clone()
    changed[0, 6] *= -1.0  # adding a constant would vanish in the LayerNorm

    difference = (module(changed, mask) - module(hidden, mask)).abs().amax(dim=2)

    assert (difference[0] > 0).all()
    assert (difference[1:] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (AdapterHead(activation="tanh"), "one of \\['gelu', 'relu'\\]; got .*='tanh'"),
        (AdapterHead(init="ones"), "houlsby or zero; got init='ones'"),
        (LightweightHead(variant="outer"), "one of \\['inner', 'residual'\\]; got .*='outer'"),
    ],
    ids=repr,
)
def test_an_unknown_choice_is_refused_with_the_known_ones(settings, message):
    with pytest.raises(ValueError, match=message):
        structure(settings, WIDTH)


def test_settings_without_a_file_are_refused_with_the_next_step():
    class NewHead:
        kind = "new"

    with pytest.raises(ValueError, match=r"decorated with @registers\(NewHead\)"):
        structure(NewHead(), WIDTH)  # pyright: ignore[reportArgumentType]


def test_a_second_structure_for_the_same_settings_is_refused(monkeypatch):
    structure(LinearHead(), WIDTH)  # the real one is registered

    with pytest.raises(ValueError, match="one structure per settings class; LinearHead has"):
        registers(LinearHead)(type("Other", (nn.Module,), {}))

    assert isinstance(structure(LinearHead(), WIDTH), Linear)


# --- the whole model -------------------------------------------------------------------------


def whole(settings, pooling):
    """A model away from its initialisation."""
    model = HeadModel(WIDTH, 3, HeadConfig(backbone="none", head=settings, pooling=pooling))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.mark.parametrize("pooling", Pooling)
def test_a_model_is_structure_pooling_and_classifier_however_it_is_computed(settings, pooling):
    model = whole(settings, pooling)
    hidden, mask = batch()

    output = model(hidden, mask)
    expected = model.classifier(model.pool(model.structure(hidden, mask), mask))

    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-5)
    assert output.logits.shape == (3, 3)
    assert output.balance_loss is None
    parameters = list(model.parameters())
    found = torch.autograd.grad(output.logits.square().sum(), parameters)
    wanted = torch.autograd.grad(expected.square().sum(), parameters)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_head_that_reads_one_vector_a_note_says_of_it_what_it_says_of_all_states(
    settings, pooling
):
    config = HeadConfig(backbone="none", head=settings, pooling=pooling)
    hidden, mask = batch()
    offsets = np.concatenate([[0], mask.sum(1).cumsum(0).numpy()])
    stored = Ragged(hidden[mask], offsets)

    read = as_read(config, stored)

    model = whole(settings, pooling)
    notes = np.arange(len(mask))
    torch.testing.assert_close(
        model(*read.batch(notes, torch.device("cpu"))).logits,
        model(*stored.batch(notes, torch.device("cpu"))).logits,
    )
    alone = settings.kind != "tiny_attention" and pooling is Pooling.FIRST
    linear = settings.kind == "linear" and pooling is not Pooling.ATTENTION
    assert (read.lengths.max() == 1) == (alone or linear)


def test_a_backbone_that_trains_is_never_pooled_beforehand():
    config = HeadConfig(backbone="none", head=LinearHead(), mode=Mode.FULL)

    assert fixed_pooling(config) is None
    assert fixed_pooling(replace(config, mode=Mode.FROZEN)) is config.pooling


def test_features_stored_in_half_precision_are_classified_in_single_precision():
    model = HeadModel(WIDTH, 3, HeadConfig(backbone="none", head=TinyAttentionHead())).eval()
    hidden, mask = batch()

    logits = model(hidden.half(), mask).logits

    assert logits.dtype == torch.float32
    assert torch.equal(logits, model(hidden.half().float(), mask).logits)


def test_a_models_dropout_stands_before_the_classifier_and_acts_in_training_alone():
    model = HeadModel(WIDTH, 3, HeadConfig(backbone="none", head=LinearHead(), dropout=0.5))
    hidden, mask = batch()

    assert not torch.equal(model(hidden, mask).logits, model(hidden, mask).logits)
    model.eval()
    assert torch.equal(model(hidden, mask).logits, model(hidden, mask).logits)
