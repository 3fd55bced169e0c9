"""The promise "same seed, same trial" of every head kind and both scratch models, and the rest."""

import math
from dataclasses import asdict, replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from torch import nn

from headhunt.spaces.configs import HeadConfig, Optimisation, Pooling, ScratchConfig
from headhunt.spaces.heads import HEADS, LinearHead
from headhunt.spaces.record import EpochReport, best_report
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.models.output import Output
from headhunt.trainables.models.scratch import ScratchModel
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.checkpoints import load_checkpoint, save_checkpoint
from headhunt.trainables.training.loop import (
    DivergedError,
    Task,
    predict,
    rate_share,
    train,
)
from headhunt.trainables.training.states import StateFolder

CPU = torch.device("cpu")
NOTES, WIDTH, VOCABULARY, CLASSES, MAX_TOKENS = 45, 16, 30, 3, 12
SETTINGS = TrainingSettings(max_epochs=4, patience=0, batch_limit=8, max_tokens=MAX_TOKENS)
TIMES = ("wall_seconds", "cpu_seconds")

HEAD_CONFIGS = [
    HeadConfig(
        backbone="tiny",
        head=HEADS[kind].suggest(FixedTrial({**HEADS[kind].reference, **dropout})),
        pooling=Pooling.ATTENTION,
        dropout=0.3,
    )
    for kind, dropout in {
        "linear": {},
        "adapter": {"adapter_dropout": 0.3},
        "lightweight": {},
        "tiny_attention": {"tiny_attention_dropout": 0.3},
        "grn": {"grn_dropout": 0.3},
    }.items()
]
SCRATCH_CONFIGS = [
    ScratchConfig(width=8, feed_forward=8, blocks=2, dropout=0.3, classifier_dropout=0.3),
    ScratchConfig(model="moe", width=8, feed_forward=8, experts=3, dropout=0.3, router_noise=0.3),
]
LINEAR = HeadConfig(backbone="tiny", head=LinearHead(), dropout=0.0)


@pytest.fixture(params=[*HEAD_CONFIGS, *SCRATCH_CONFIGS], ids=lambda c: c.model)
def config(request):
    return request.param


def toy_task(config, *, noise=1.0, seed=0):
    """Notes of 1 to 12 tokens whose states, or ids, lean towards their class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(NOTES) % CLASSES
    offsets = np.concatenate([[0], np.cumsum(generator.integers(1, MAX_TOKENS + 1, NOTES))])
    classes = np.repeat(labels, np.diff(offsets))
    if isinstance(config, HeadConfig):
        centres = generator.normal(size=(CLASSES, WIDTH))
        states = centres[classes] + noise * generator.normal(size=(len(classes), WIDTH))
        rows = torch.tensor(states).half()
    else:
        ids = 3 + 9 * classes + generator.integers(0, 9, len(classes))
        rows = torch.tensor(ids, dtype=torch.int32)
    places = generator.permutation(NOTES)
    return Task(Ragged(rows, offsets), labels, CLASSES, places[:30], places[30:])


def builder(config):
    if isinstance(config, HeadConfig):
        return lambda: HeadModel(WIDTH, CLASSES, config)
    return lambda: ScratchModel(config, VOCABULARY, CLASSES, MAX_TOKENS)


def start(config, *, task=None, settings=SETTINGS, seed=7, checkpoint=None, **optimisation):
    return train(
        builder(config),
        task or toy_task(config),
        replace(config.optimisation, learning_rate=1e-2, **optimisation),
        settings,
        seed=seed,
        device=CPU,
        checkpoint=checkpoint,
    )


def numbers(report):
    """A report without its times."""
    return {name: value for name, value in asdict(report).items() if name not in TIMES}


def run(config, **options):
    """All epochs' numbers, and the last weights."""
    epochs = list(start(config, **options))
    return [numbers(epoch.report) for epoch in epochs], epochs[-1].weights()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- same seed, same trial -------------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_trial_ends_to_the_bit_where_one_that_never_stopped_does(
    config, stop_after, tmp_path
):
    whole, weights = run(config)
    *_, epoch = islice(start(config), stop_after)
    save_checkpoint(StateFolder(tmp_path), 1, epoch.checkpoint("hash"))
    torch.manual_seed(99)  # another process has another generator

    resumed, resumed_weights = run(
        config, checkpoint=load_checkpoint(StateFolder(tmp_path), 1, "hash")
    )

    assert resumed == whole[stop_after:]
    assert same(resumed_weights, weights)


def test_the_same_seed_gives_the_same_numbers(config):
    (one, weights), (other, other_weights) = run(config), run(config)

    assert one == other
    assert same(weights, other_weights)


def test_another_seed_gives_other_numbers(config):
    assert run(config, seed=7)[0] != run(config, seed=8)[0]


def test_trials_that_take_turns_in_a_process_do_not_disturb_each_other(config):
    alone = run(config, seed=7)[0]

    together = [
        numbers(epoch.report)
        for epoch, _ in zip(start(config, seed=7), start(config, seed=8), strict=True)
    ]

    assert together == alone


def test_dropout_differs_from_epoch_to_epoch(config):
    seen = []

    class Listening(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)
            self.classifier = nn.Linear(1, CLASSES)

        def forward(self, hidden, mask):
            del hidden
            if self.training:
                seen.append(self.dropout(torch.ones(50)).tolist())
            return Output(self.classifier(torch.ones(len(mask), 1)))

    list(
        train(
            Listening,
            toy_task(LINEAR),
            Optimisation(batch_size=30),
            SETTINGS,
            seed=0,
            device=CPU,
        )
    )

    assert len({tuple(mask) for mask in seen}) == SETTINGS.max_epochs


# --- learning --------------------------------------------------------------------------------


def test_a_learnable_task_is_learned(config):
    settings = replace(SETTINGS, max_epochs=20)
    reports, _ = run(config, task=toy_task(config, noise=0.3), settings=settings)

    assert reports[-1]["train_loss"] < 0.5 * reports[0]["train_loss"]
    assert best_f1(reports) > 0.9


def best_f1(reports):
    return max(report["f1"] for report in reports)


@pytest.mark.parametrize(("class_weights", "expected"), [(False, 0.1), (True, 0.5)])
def test_class_weights_make_up_for_a_rare_class(class_weights, expected):
    states = Ragged(torch.zeros(40, WIDTH).half(), np.arange(41))  # nothing to learn but counts
    labels = np.array([0] * 9 + [1] + [0, 1] * 15)
    task = Task(states, labels, 2, np.arange(10), np.arange(10, 40))
    epochs = train(
        lambda: HeadModel(WIDTH, 2, LINEAR),
        task,
        Optimisation(
            learning_rate=0.1, weight_decay=0.0, batch_size=10, class_weights=class_weights
        ),
        replace(SETTINGS, max_epochs=100),
        seed=0,
        device=CPU,
    )

    *_, last = epochs

    shares = last.weights()["classifier.bias"].softmax(0)
    assert shares[1].item() == pytest.approx(expected, abs=0.02)


def test_a_class_that_training_has_no_note_of_has_a_finite_weight():
    task = replace(toy_task(LINEAR), labels=np.array([0, 1] * 22 + [2]), training=np.arange(44))

    reports, _ = run(LINEAR, task=task, class_weights=True)

    assert all(math.isfinite(report["train_loss"]) for report in reports)


def test_validation_probabilities_stand_in_the_order_of_the_notes_whatever_the_batch(config):
    task = toy_task(config)
    torch.manual_seed(0)
    model = builder(config)()

    together = predict(model, task, 8, CPU)

    alone = [
        predict(model, replace(task, validation=np.array([n])), 1, CPU)[0] for n in task.validation
    ]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1.0)


# --- how a trial ends ------------------------------------------------------------------------


def test_a_trial_reports_each_epoch_once_and_says_at_the_last_why_it_ended():
    epochs = list(start(LINEAR))

    assert [epoch.report.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert [epoch.ended for epoch in epochs] == ["", "", "", "all 4 epochs trained"]


def test_is_best_marks_the_epochs_with_a_higher_f1_than_all_before():
    epochs = list(start(LINEAR, settings=replace(SETTINGS, max_epochs=10)))

    f1 = [epoch.report.f1 for epoch in epochs]
    assert [epoch.is_best for epoch in epochs] == [
        place == 0 or value > max(f1[:place]) for place, value in enumerate(f1)
    ]
    assert best_report([e.report for e in epochs]) == [e.report for e in epochs if e.is_best][-1]


@pytest.mark.parametrize("patience", [1, 2])
def test_a_trial_stops_when_its_f1_has_not_risen_for_the_patience(patience):
    still = replace(SETTINGS, max_epochs=9, patience=patience)
    task = toy_task(LINEAR)

    epochs = list(
        train(builder(LINEAR), task, Optimisation(learning_rate=0.0), still, seed=0, device=CPU)
    )

    assert len(epochs) == 1 + patience
    assert epochs[-1].ended == f"no better F1 for {patience} epochs"


def test_a_checkpoint_after_the_last_epoch_has_nothing_to_go_on_with():
    *_, last = start(LINEAR)

    assert list(start(LINEAR, checkpoint=last.checkpoint("hash"))) == []


def test_a_checkpoint_out_of_patience_has_nothing_to_go_on_with():
    settings = replace(SETTINGS, patience=1)
    still = {"settings": settings, "weight_decay": 0.0}
    *_, last = train(
        builder(LINEAR),
        toy_task(LINEAR),
        Optimisation(learning_rate=0.0),
        settings,
        seed=0,
        device=CPU,
    )

    assert list(start(LINEAR, checkpoint=last.checkpoint("hash"), **still)) == []


def diverging(learning_rate, *, batch_size):
    return train(
        builder(LINEAR),
        toy_task(LINEAR),
        Optimisation(learning_rate=learning_rate, batch_size=batch_size, warmup_share=0.0),
        replace(SETTINGS, max_epochs=1),
        seed=0,
        device=CPU,
    )


def test_a_training_loss_that_is_not_finite_ends_the_trial_as_diverged():
    with pytest.raises(DivergedError, match="diverged: the training loss of epoch 1 is not finite"):
        list(diverging(3e37, batch_size=10))


def test_a_last_step_that_makes_the_loss_not_finite_ends_the_trial_as_diverged():
    with pytest.raises(DivergedError, match="the validation loss of epoch 1 is not finite"):
        list(diverging(3e37, batch_size=30))


# --- the learning rate -----------------------------------------------------------------------


@given(steps=st.integers(1, 400), warmup_share=st.floats(0, 0.99))
@example(steps=1, warmup_share=0.99)
def test_the_rate_rises_to_its_peak_and_falls_and_is_never_zero(steps, warmup_share):
    shares = [rate_share(s, steps=steps, warmup_share=warmup_share) for s in range(steps)]

    peak = shares.index(max(shares))
    assert max(shares) == 1.0
    assert all(0 < share <= 1 for share in shares)
    assert all(one < other for one, other in pairwise(shares[: peak + 1]))
    assert peak <= warmup_share * steps
    falling = shares[math.floor(warmup_share * steps) :]
    assert all(one > other for one, other in pairwise(falling))


def test_without_warm_up_the_first_step_has_the_whole_rate():
    assert rate_share(0, steps=10, warmup_share=0.0) == 1.0


# --- the score -------------------------------------------------------------------------------


def report(epoch, f1):
    return EpochReport(
        epoch=epoch,
        f1=f1,
        accuracy=0.5,
        precision=0.5,
        recall=0.5,
        validation_loss=1.0,
        train_loss=1.0,
        wall_seconds=0.0,
        cpu_seconds=0.0,
    )


def test_the_score_is_the_highest_f1_and_of_equals_the_earliest():
    reports = [report(1, 0.5), report(2, 0.8), report(3, 0.8), report(4, 0.7)]

    assert best_report(reports) == reports[1]
    assert best_report([]) is None
