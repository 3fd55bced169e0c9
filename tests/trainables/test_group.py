"""Assignments that are run as one: each is its own trial, whatever becomes of the group."""

import traceback
import warnings
from dataclasses import replace

import pytest
import torch

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, config_hash
from headhunt.spaces.heads import AdapterHead, LinearHead
from headhunt.spaces.record import State
from headhunt.trainables import group, runner
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.card.cap import ShortOfMemoryError
from headhunt.trainables.group import run_group
from headhunt.trainables.runner import TRAINED_BEFORE, run_trial
from headhunt.trainables.training.checkpoints import load_checkpoint
from headhunt.trainables.training.states import Kind, StateFolder

from .conftest import EPOCHS

CPU = torch.device("cpu")
CANARY = "zyrtexaquine"  # what stands for a note's text in an error's message
TOLERANCE = 1e-5
HEAD = HeadConfig(
    backbone="tiny",
    head=AdapterHead(bottleneck=4, structure_dropout=0.2),
    optimisation=Optimisation(learning_rate=1e-2),
)
CONFIGS = {
    5: HEAD,
    6: replace(HEAD, dropout=0.4),
    8: replace(HEAD, optimisation=Optimisation(learning_rate=3e-3, class_weights=True)),
}
WILD = replace(HEAD, optimisation=Optimisation(learning_rate=3e37, warmup_share=0.0))


@pytest.fixture
def elsewhere(materials, tmp_path):
    return replace(materials, states=StateFolder(tmp_path / "elsewhere"))


def assigned(number, config=None, *, known_epochs=0):
    return Assignment(
        number=number,
        config=config or CONFIGS[number],
        seed=100 + number,
        known_epochs=known_epochs,
    )


def start(corpus, materials, assignments=None):
    return run_group(
        assignments or [assigned(number) for number in CONFIGS],
        corpus,
        materials,
        device=CPU,
        device_fraction=0.5,
    )


def alone(assignment, corpus, materials):
    return list(run_trial(assignment, corpus, materials, device=CPU, device_fraction=0.5))


def of(number, rounds):
    return [told[number] for told in rounds if number in told]


def assert_as_alone(number, rounds, corpus, materials, config=None):
    """Steps, ends and what is on the disk; `materials` are of another place."""
    expected = alone(assigned(number, config), corpus, materials)
    steps = of(number, rounds)
    assert [step.outcome for step in steps] == [step.outcome for step in expected]
    for step, other in zip(steps, expected, strict=True):
        assert (step.report is None) == (other.report is None)
        if step.report and other.report:
            assert (step.report.epoch, step.report.f1) == (other.report.epoch, other.report.f1)
            loss = other.report.validation_loss
            assert step.report.validation_loss == pytest.approx(loss, rel=TOLERANCE)


def stored(materials, number, config=None):
    identity = config_hash(config or CONFIGS[number])
    checkpoint = load_checkpoint(materials.states, number, identity)
    assert checkpoint is not None
    return checkpoint


# --- each its own trial ----------------------------------------------------------------------


def test_each_member_tells_what_it_tells_alone(small_corpus, materials, elsewhere):
    rounds = list(start(small_corpus, materials))

    assert [sorted(told) for told in rounds] == [[5, 6, 8]] * EPOCHS
    for number in CONFIGS:
        assert_as_alone(number, rounds, small_corpus, elsewhere)


def test_each_member_leaves_on_the_disk_what_it_leaves_alone(small_corpus, materials, elsewhere):
    list(start(small_corpus, materials))
    alone(assigned(6), small_corpus, elsewhere)

    mine, its = (next(iter(place.states.find(6, Kind.BEST))) for place in (materials, elsewhere))
    assert (mine.epoch, mine.metadata) == (its.epoch, its.metadata)
    one, other = stored(materials, 6), stored(elsewhere, 6)
    assert one.optimiser.keys() == other.optimiser.keys()
    torch.testing.assert_close(mine.tensors, its.tensors)


def test_a_dropped_member_is_heard_of_no_more_and_can_go_on_alone(
    small_corpus, materials, elsewhere
):
    running = start(small_corpus, materials)

    rounds = [next(running), running.send([6]), *running]
    steps = alone(assigned(6, known_epochs=1), small_corpus, materials)

    assert [sorted(told) for told in rounds] == [[5, 6, 8], [5, 8], [5, 8]]
    assert_as_alone(6, [rounds[0], *({6: step} for step in steps)], small_corpus, elsewhere)
    assert_as_alone(8, rounds, small_corpus, elsewhere)


def test_a_member_that_diverges_fails_as_alone_and_the_others_go_on(
    small_corpus, materials, elsewhere
):
    rounds = list(start(small_corpus, materials, [assigned(5), assigned(7, WILD), assigned(8)]))

    assert [sorted(told) for told in rounds] == [[5, 7, 8], [5, 8], [5, 8]]
    assert of(7, rounds)[0].outcome.state is State.FAILED
    assert_as_alone(7, rounds, small_corpus, elsewhere, WILD)
    assert_as_alone(8, rounds, small_corpus, elsewhere)


@pytest.mark.parametrize(
    "configs",
    [
        {5: HEAD, 6: replace(HEAD, head=LinearHead())},
        {5: HEAD, 6: replace(HEAD, mode=Mode.FULL)},
    ],
    ids=["two shapes", "a backbone that trains"],
)
def test_configs_of_several_shapes_are_refused(configs, small_corpus, materials):
    mixed = [assigned(number, config) for number, config in configs.items()]

    with pytest.raises(ValueError, match="got 2 of 2 trials: form the groups by shared_shape"):
        next(start(small_corpus, materials, mixed))


# --- killed and started again ----------------------------------------------------------------


def test_what_only_the_checkpoints_know_is_told_first(small_corpus, materials, elsewhere):
    killed = start(small_corpus, materials)
    before = [next(killed), next(killed)]
    del killed

    known = {5: 0, 6: 1, 8: 2}
    again = [assigned(number, known_epochs=epochs) for number, epochs in known.items()]
    rounds = list(start(small_corpus, materials, again))

    assert [sorted(told) for told in rounds] == [[5, 6], [5], [5, 6, 8]]
    for number, epochs in known.items():
        heard = [{number: step} for step in of(number, before)[:epochs]]
        assert_as_alone(number, [*heard, *rounds], small_corpus, elsewhere)


def test_members_that_were_killed_after_their_last_epoch_end_without_training(
    small_corpus, materials, monkeypatch
):
    whole = list(start(small_corpus, materials))
    monkeypatch.setattr(runner, "save_checkpoint", pytest.fail)

    rounds = list(
        start(small_corpus, materials, [assigned(n, known_epochs=EPOCHS) for n in CONFIGS])
    )

    (told,) = rounds
    assert {n: step.report for n, step in told.items()} == {
        n: step.report for n, step in whole[-1].items()
    }
    assert {step.outcome.reason for step in told.values()} == {TRAINED_BEFORE}


def test_a_member_that_comes_from_training_alone_goes_on_in_a_group(
    small_corpus, materials, elsewhere
):
    steps = run_trial(assigned(5), small_corpus, materials, device=CPU, device_fraction=0.5)
    first = next(steps)
    del steps

    again = [assigned(5, known_epochs=1), assigned(6), assigned(8)]
    rounds = list(start(small_corpus, materials, again))

    assert_as_alone(5, [{5: first}, *rounds], small_corpus, elsewhere)
    assert_as_alone(6, rounds, small_corpus, elsewhere)


# --- a group that cannot go on as one --------------------------------------------------------


def test_a_group_that_is_too_large_trains_its_members_one_after_the_other(
    small_corpus, materials, elsewhere, tmp_path
):
    third = replace(materials, states=StateFolder(tmp_path / "third"))
    peaks = [
        step.report.peak_bytes or 0
        for number in CONFIGS
        for step in alone(assigned(number), small_corpus, third)
        if step.report
    ]
    limited = replace(materials, limit_bytes=max(peaks) + 1000)

    with pytest.warns(RuntimeWarning, match="3 heads go on one after the other.*needs"):
        rounds = list(start(small_corpus, limited))

    assert [sorted(told) for told in rounds] == [[5]] * EPOCHS + [[6]] * EPOCHS + [[8]] * EPOCHS
    for number in CONFIGS:
        assert_as_alone(number, rounds, small_corpus, elsewhere)


def breaking(error, after):
    """`train_together`, until so many rounds are done."""
    trained = group.train_together

    def breaks(*given, **named):
        training = trained(*given, **named)
        for done, found in enumerate(training):
            if done == after:
                raise error
            yield found

    return breaks


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_group_that_crashes_goes_on_one_by_one_from_what_was_told(
    after, small_corpus, materials, elsewhere, monkeypatch
):
    monkeypatch.setattr(group, "train_together", breaking(ValueError(CANARY), after))

    with pytest.warns(RuntimeWarning, match="crashed: ValueError") as caught:
        rounds = list(start(small_corpus, materials))

    assert [len(told) for told in rounds] == [3] * after + [1] * 3 * (EPOCHS - after)
    assert CANARY not in str(caught[0].message)
    for number in CONFIGS:
        assert_as_alone(number, rounds, small_corpus, elsewhere)


def test_an_epoch_that_was_stored_and_not_told_before_a_crash_is_told_after_it(
    small_corpus, materials, elsewhere, monkeypatch
):
    calls = []
    save = runner.save_checkpoint

    def fails_once(*given):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(CANARY)
        save(*given)

    monkeypatch.setattr(runner, "save_checkpoint", fails_once)

    with pytest.warns(RuntimeWarning):
        rounds = list(start(small_corpus, materials))

    assert [s.report.epoch for s in of(5, rounds) if s.report] == [1, 2, 3]
    for number in CONFIGS:
        assert_as_alone(number, rounds, small_corpus, elsewhere)


def test_members_can_be_dropped_where_they_go_on_alone(small_corpus, materials, monkeypatch):
    monkeypatch.setattr(group, "train_together", breaking(ValueError(), 0))
    running = start(small_corpus, materials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)

        rounds = [next(running), running.send([5, 6]), *running]

    assert [list(told) for told in rounds] == [[5], [8], [8], [8]]
    assert not list(materials.states.find(6, Kind.CHECKPOINT))


@pytest.mark.parametrize("after", [0, 2])
def test_a_machine_without_memory_is_told_of_all_that_ran_and_ends_the_process(
    after, small_corpus, materials, monkeypatch
):
    monkeypatch.setattr(group, "train_together", breaking(MemoryError(CANARY), after))
    running = start(small_corpus, materials, [assigned(5), assigned(7, WILD), assigned(8)])

    rounds = [next(running) for _ in range(after + 1)]
    with pytest.raises(ShortOfMemoryError) as caught:
        next(running)

    lost = rounds[-1]
    assert sorted(lost) == ([5, 7, 8] if after == 0 else [5, 8])
    for step in lost.values():
        assert (step.report, step.outcome.state) == (None, State.RUNNING)
        assert step.outcome.reason == str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_memory_that_runs_out_while_one_goes_on_alone_is_told_of_all_that_are_left(
    small_corpus, materials, monkeypatch
):
    def crash(*_, **__):
        raise MemoryError

    monkeypatch.setattr(group, "train_together", breaking(ValueError(), 0))
    monkeypatch.setattr(runner, "train", crash)

    running = start(small_corpus, materials)

    with pytest.warns(RuntimeWarning):
        lost = next(running)
    with pytest.raises(ShortOfMemoryError):
        next(running)

    assert sorted(lost) == [5, 6, 8]


def test_a_backbone_that_was_not_encoded_fails_each_as_alone(small_corpus, materials):
    strangers = [assigned(n, replace(config, backbone="other")) for n, config in CONFIGS.items()]

    with pytest.warns(RuntimeWarning):
        rounds = list(start(small_corpus, materials, strangers))

    reasons = [step.outcome.reason for told in rounds for step in told.values()]
    assert len(reasons) == 3
    assert all(reason.startswith("crashed: KeyError at runner.py:") for reason in reasons)
