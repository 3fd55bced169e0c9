"""The promise that a head trained with others has the numbers that it has alone."""

import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from headhunt.spaces.configs import HeadConfig, Optimisation, Optimiser, Pooling
from headhunt.spaces.heads import (
    AdapterHead,
    GrnHead,
    LightweightHead,
    LinearHead,
    TinyAttentionHead,
)
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.card.gauge import Gauge, HostGauge, Reading
from headhunt.trainables.card.memory import WORKSPACE_BYTES
from headhunt.trainables.models.classifier import HeadModel, as_read
from headhunt.trainables.models.kernels import Dropout, draw_kept, dropout, dropping_by
from headhunt.trainables.models.output import Output
from headhunt.trainables.training.batches import Gathered, Ragged, training_batches
from headhunt.trainables.training.checkpoints import load_checkpoint, save_checkpoint
from headhunt.trainables.training.drawing import Drawing
from headhunt.trainables.training.loop import DivergedError, Epoch, Task, train
from headhunt.trainables.training.states import StateFolder
from headhunt.trainables.training.together import Member, train_together

CPU = torch.device("cpu")
NOTES, WIDTH, CLASSES, MAX_TOKENS, TRAINING = 40, 12, 3, 9, 26  # the last batch has 2 notes
SETTINGS = TrainingSettings(max_epochs=2, patience=0, batch_limit=8, max_tokens=MAX_TOKENS)
SEEDS = (7, 8, 9)
# Batched products add in another order. Found: 3e-7 of a loss, 1e-6 of a parameter.
LOSS_TOLERANCE, PARAMETER_TOLERANCE = 1e-5, 1e-4

HEADS = [
    LinearHead(),
    AdapterHead(bottleneck=4, layer_norm=True, structure_dropout=0.3),
    LightweightHead(bottleneck=4),
    LightweightHead(bottleneck=4, variant="inner"),
    TinyAttentionHead(attention_width=3, structure_dropout=0.3),
    GrnHead(bottleneck=5, structure_dropout=0.3),
]
ADAPTER = HeadConfig(
    backbone="tiny",
    head=HEADS[1],
    dropout=0.3,
    optimisation=Optimisation(learning_rate=1e-2, batch_size=4),
)
LINEAR = replace(ADAPTER, head=LinearHead())


def toy_task(config):
    """Notes of 1 to 9 tokens whose states lean towards their class."""
    generator = np.random.default_rng(0)
    labels = np.arange(NOTES) % CLASSES
    offsets = np.concatenate([[0], np.cumsum(generator.integers(1, MAX_TOKENS + 1, NOTES))])
    classes = np.repeat(labels, np.diff(offsets))
    centres = generator.normal(size=(CLASSES, WIDTH))
    states = centres[classes] + generator.normal(size=(len(classes), WIDTH))
    inputs = as_read(config, Ragged(torch.tensor(states).half(), offsets))
    places = generator.permutation(NOTES)
    return Task(inputs, labels, CLASSES, places[:TRAINING], places[TRAINING:])


def varied(config):
    """Three that differ in all that may differ, dropout that only some have among it."""
    chosen = config.optimisation
    head = config.head
    if hasattr(head, "structure_dropout"):
        head = replace(head, structure_dropout=0.0)
    return [
        config,
        replace(
            config,
            dropout=0.0,
            optimisation=replace(chosen, learning_rate=3e-3, weight_decay=0.3, class_weights=True),
        ),
        replace(config, dropout=0.1, head=head, optimisation=replace(chosen, warmup_share=0.6)),
    ]


def builder(config):
    return lambda: HeadModel(WIDTH, CLASSES, config)


def alone(config, seed, *, settings=SETTINGS, checkpoint=None):
    return train(
        builder(config),
        toy_task(config),
        config.optimisation,
        settings,
        seed=seed,
        device=CPU,
        checkpoint=checkpoint,
    )


def grouped(configs, seeds=SEEDS, *, settings=SETTINGS, checkpoints=None, **options):
    checkpoints = checkpoints or [None] * len(configs)
    members = [
        Member(builder(config), config.optimisation, seed, checkpoint)
        for config, seed, checkpoint in zip(configs, seeds, checkpoints, strict=True)
    ]
    return train_together(members, toy_task(configs[0]), settings, device=CPU, **options)


def epoch_of(found, place) -> Epoch:
    assert not isinstance(found[place], DivergedError)
    return found[place]


def assert_same_epoch(one, other):
    (a, b) = one.report, other.report
    assert (a.epoch, a.f1, one.is_best, one.ended) == (b.epoch, b.f1, other.is_best, other.ended)
    assert a.train_loss == pytest.approx(b.train_loss, rel=LOSS_TOLERANCE)
    assert a.validation_loss == pytest.approx(b.validation_loss, rel=LOSS_TOLERANCE)


def assert_same_state(state, other):
    assert state.keys() == other.keys()
    for name in state:
        torch.testing.assert_close(
            told(name, state[name]),
            told(name, other[name]),
            rtol=PARAMETER_TOLERANCE,
            atol=PARAMETER_TOLERANCE,
        )


def told(name, tensor):
    """Without the keys' biases, which softmax ignores: AdamW makes steps of what is rounding."""
    if name not in ("structure.project.bias", "structure.attention.in_proj_bias"):
        return tensor
    query, _, value = tensor.chunk(3)
    return torch.cat([query, value])


def assert_as_alone(rounds, configs, seeds=SEEDS, **options):
    for place, (config, seed) in enumerate(zip(configs, seeds, strict=True)):
        epochs = list(alone(config, seed, **options))
        together = [found[place] for found in rounds if place in found]
        assert len(together) == len(epochs)
        for one, other in zip(together, epochs, strict=True):
            assert_same_epoch(one, other)
        one, other = together[-1].checkpoint("hash"), epochs[-1].checkpoint("hash")
        assert_same_state(one.model, other.model)
        assert_same_state(one.optimiser, other.optimiser)


# --- the same numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("head", HEADS, ids=lambda h: f"{h.kind}-{getattr(h, 'variant', '')}")
def test_heads_that_differ_in_all_that_may_differ_have_the_numbers_of_training_alone(head, pooling):
    configs = varied(replace(ADAPTER, head=head, pooling=pooling))

    assert_as_alone(list(grouped(configs)), configs)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("optimiser", Optimiser)
def test_every_optimiser_and_accumulation_takes_the_steps_that_it_takes_alone(
    optimiser, accumulation
):
    chosen = replace(ADAPTER.optimisation, optimiser=optimiser, accumulation=accumulation)
    configs = varied(replace(ADAPTER, optimisation=chosen))

    assert_as_alone(list(grouped(configs)), configs)


def test_the_members_batches_of_these_tests_are_padded_differently():
    task = toy_task(ADAPTER)
    lengths = task.inputs.lengths
    batches = [training_batches(task.training, lengths, batch_size=4, seed=s) for s in SEEDS]

    places = zip(*batches, strict=True)
    longest = [{int(lengths[notes].max()) for notes in place} for place in places]

    assert any(len(found) > 1 for found in longest)


def test_a_group_of_one_is_that_one():
    assert_as_alone(list(grouped([ADAPTER], [7])), [ADAPTER], [7])


# --- who leaves ------------------------------------------------------------------------------


def test_members_that_are_dropped_leave_the_others_to_themselves():
    settings = replace(SETTINGS, max_epochs=4)
    configs = varied(ADAPTER)
    running = grouped(configs, settings=settings)

    rounds = [next(running), running.send([1]), *running]

    assert [sorted(found) for found in rounds] == [[0, 1, 2], [0, 2], [0, 2], [0, 2]]
    kept = [{p: e for p, e in found.items() if p != 1} for found in rounds]
    for place in (0, 2):
        epochs = alone(configs[place], SEEDS[place], settings=settings)
        for found, epoch in zip(kept, epochs, strict=True):
            assert_same_epoch(found[place], epoch)


def test_a_group_that_is_dropped_whole_ends():
    running = grouped(varied(LINEAR))
    next(running)

    with pytest.raises(StopIteration):
        running.send([0, 1, 2])


def test_patience_ends_one_member_and_the_others_go_on():
    still = replace(LINEAR, optimisation=Optimisation(learning_rate=0.0, batch_size=4))
    settings = replace(SETTINGS, max_epochs=4, patience=1)
    configs = [still, LINEAR]

    rounds = list(grouped(configs, [7, 8], settings=settings))

    assert [epoch_of(found, 0).ended for found in rounds if 0 in found] == [
        "",
        "no better F1 for 1 epochs",
    ]
    assert_as_alone(rounds, configs, [7, 8], settings=settings)


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_member_whose_loss_is_not_finite_leaves_with_the_reason_that_it_has_alone(kind):
    batch_size = {"training": 4, "validation": TRAINING}[kind]
    fine = replace(LINEAR, optimisation=replace(LINEAR.optimisation, batch_size=batch_size))
    wild = replace(
        fine,
        optimisation=replace(fine.optimisation, learning_rate=3e38, warmup_share=0.0),
    )
    settings = replace(SETTINGS, max_epochs=1)
    with pytest.raises(DivergedError) as caught:
        list(alone(wild, 8, settings=settings))

    (found,) = grouped([fine, wild, fine], settings=settings)

    assert isinstance(found[1], DivergedError)
    assert str(found[1]) == str(caught.value)
    assert kind in str(caught.value)
    for place in (0, 2):
        assert_same_epoch(found[place], *alone(fine, SEEDS[place], settings=settings))


# --- going on --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", Optimiser)
def test_a_member_goes_on_alone_from_its_groups_checkpoint_and_the_other_way_round(
    optimiser, tmp_path
):
    settings = replace(SETTINGS, max_epochs=3)
    config = replace(ADAPTER, optimisation=replace(ADAPTER.optimisation, optimiser=optimiser))
    configs = varied(config)
    whole = list(alone(config, 7, settings=settings))
    group = grouped(configs, settings=settings)
    save_checkpoint(StateFolder(tmp_path), 1, epoch_of(next(group), 0).checkpoint("hash"))
    save_checkpoint(
        StateFolder(tmp_path), 2, next(alone(config, 7, settings=settings)).checkpoint("hash")
    )

    *_, resumed = alone(
        config, 7, settings=settings, checkpoint=load_checkpoint(StateFolder(tmp_path), 1, "hash")
    )
    *_, joined = grouped(
        configs,
        settings=settings,
        checkpoints=[load_checkpoint(StateFolder(tmp_path), 2, "hash"), None, None],
    )

    assert_same_epoch(resumed, whole[-1])
    assert_same_state(resumed.weights(), whole[-1].weights())
    assert 0 not in joined  # it was an epoch ahead


def test_members_at_different_epochs_have_each_its_own_rate_order_and_end(tmp_path):
    settings = replace(SETTINGS, max_epochs=3)
    ahead = list(islice(alone(ADAPTER, 7, settings=settings), 2))[-1].checkpoint("hash")
    configs = varied(ADAPTER)

    rounds = list(grouped(configs, settings=settings, checkpoints=[ahead, None, None]))

    assert [sorted(found) for found in rounds] == [[0, 1, 2], [1, 2], [1, 2]]
    *_, last = alone(ADAPTER, 7, settings=settings)
    assert_same_epoch(rounds[0][0], last)
    assert_same_epoch(rounds[2][1], list(alone(configs[1], 8, settings=settings))[-1])


def test_a_checkpoint_with_nothing_to_go_on_with_never_runs():
    *_, last = alone(LINEAR, 7)

    rounds = list(grouped([LINEAR] * 2, [7, 8], checkpoints=[last.checkpoint("hash"), None]))

    assert [sorted(found) for found in rounds] == [[1], [1]]


# --- what it costs ---------------------------------------------------------------------------


class Board(Gauge):
    def end_epoch(self):
        return Reading(peak_bytes=5, reserved_bytes=6, energy_joules=12.0)


def test_the_members_shares_of_a_round_add_up_to_it():
    running = grouped(varied(LINEAR), gauge=Board())
    wall, cpu = time.perf_counter(), time.process_time()
    found = next(running)
    reports = [epoch_of(found, place).report for place in found]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu

    assert len({(r.wall_seconds, r.cpu_seconds) for r in reports}) == 1
    assert {r.group_size for r in reports} == {len(reports)}
    assert 0 < sum(r.wall_seconds for r in reports) <= wall
    assert 0 < sum(r.cpu_seconds for r in reports) <= cpu
    assert sum(r.energy_joules or 0 for r in reports) == pytest.approx(12.0)
    assert {(r.peak_bytes, r.reserved_bytes) for r in reports} == {(None, None)}


def test_a_gauge_sees_the_memory_of_all_members():
    seen = []

    class Watching(HostGauge):
        def end_epoch(self):
            seen.append(super().end_epoch().peak_bytes)
            return Reading()

    for count in (1, 4):
        list(grouped([ADAPTER] * count, range(count), gauge=Watching(None)))

    one, four = (seen[epoch] - WORKSPACE_BYTES for epoch in (0, 2))
    assert 2 * one < four < 8 * one


# --- the parts -------------------------------------------------------------------------------


@pytest.mark.parametrize("resident_bytes", [0, 10**9])
def test_notes_that_are_looked_up_are_those_of_a_batch(resident_bytes):
    notes = toy_task(ADAPTER).inputs
    chosen = np.array([[3, 1], [0, 7]])

    states, mask = Gathered(notes, CPU, resident_bytes).batch(chosen)

    expected, real = notes.batch(chosen.ravel(), CPU)
    assert torch.equal(mask.flatten(0, 1), real)
    assert torch.equal(states.flatten(0, 1)[real].float(), expected[real])
    assert states.isfinite().all()


def test_a_mask_is_drawn_at_the_shape_of_a_models_own_batch():
    with torch.device("meta"):
        models = [HeadModel(WIDTH, CLASSES, replace(ADAPTER, dropout=0.5)) for _ in range(2)]
    drawing = Drawing(models, WIDTH, CPU)
    drawing.seed([1, 2])

    inside, before_classifier = drawing.draw(3, [4, 6]).kept

    torch.manual_seed(1)
    assert torch.equal(inside[0, :, :4], draw_kept((3, 4, 4), 0.3, CPU))
    assert inside[0, :, 4:].all()
    assert torch.equal(before_classifier[0], draw_kept((3, WIDTH), 0.5, CPU))


def test_what_is_dropped_along_an_unknown_axis_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = Dropout(0.1)

        def forward(self, hidden, mask):
            return Output(self.dropout(hidden.flatten(0, 1)), mask)

    with pytest.raises(ValueError, match="axes of notes, of tokens or of constant size; got one"):
        Drawing([Odd()], WIDTH, CPU)


def test_another_way_to_drop_ends_with_its_block():
    states = torch.ones(50)

    with dropping_by(lambda states, _: states * 2):
        inside, evaluated = dropout(states, 0.5, True), dropout(states, 0.5, False)

    assert torch.equal(inside, states * 2)
    assert torch.equal(evaluated, states)
    assert (dropout(states, 0.5, True) == 0).any()
