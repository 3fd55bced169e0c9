"""A confirming trial: what it learns from, and its one look at the test part."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from headhunt.spaces.configs import BaselineConfig, HeadConfig, Optimisation, ScratchConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.spaces.record import Outcome, Replicate, State
from headhunt.trainables import runner
from headhunt.trainables.assignment import Assignment
from headhunt.trainables.group import run_group
from headhunt.trainables.notes.cache import MADE_OF
from headhunt.trainables.notes.corpus import Part
from headhunt.trainables.notes.portion import least_portion, portion
from headhunt.trainables.runner import run_trial
from headhunt.trainables.trainable import steps_from_json, steps_to_json
from headhunt.trainables.training.loop import predict
from headhunt.trainables.training.metrics import score
from headhunt.trainables.training.states import Kind, StateFolder

from .conftest import EPOCHS

CPU = torch.device("cpu")
FAST = Optimisation(learning_rate=1e-2)
HEAD = HeadConfig(
    backbone="tiny", head=AdapterHead(bottleneck=4, structure_dropout=0.2), optimisation=FAST
)
SCRATCH = ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=FAST)
BASELINE = BaselineConfig()
AGAIN = Replicate(trial=3, number=1)
ON_BOTH = replace(AGAIN, with_validation=True, epochs=2)


def assigned(config, again=AGAIN, number=5, seed=11, known_epochs=0):
    return Assignment(
        number=number, config=config, seed=seed, known_epochs=known_epochs, replicate=again
    )


def steps_of(config, corpus, materials, **changes):
    given = assigned(config, **changes)
    return list(run_trial(given, corpus, materials, device=CPU, device_fraction=0.0))


def scoring_of(steps):
    assert [s.outcome.test for s in steps[:-1]] == [None] * (len(steps) - 1)
    assert steps[-1].outcome.state is State.COMPLETE
    found = steps[-1].outcome.test
    assert found
    return found


@pytest.mark.parametrize("config", [HEAD, SCRATCH, BASELINE], ids=["head", "scratch", "baseline"])
@pytest.mark.parametrize("again", [AGAIN, ON_BOTH], ids=["train", "both"])
def test_its_end_tells_how_it_did_on_the_whole_test_part(config, again, small_corpus, materials):
    found = scoring_of(steps_of(config, small_corpus, materials, again=again))

    labels = small_corpus.labels[small_corpus.indices(Part.TEST)]
    classes = len(small_corpus.label_names)
    scores = score(np.eye(classes)[list(found.predicted)], labels)
    assert (found.f1, found.precision) == (scores.f1, scores.precision)
    assert found.scored_at.endswith("+00:00")


def test_a_searched_trial_never_looks_at_the_test_part(small_corpus, materials):
    for config in (HEAD, BASELINE):
        steps = steps_of(config, small_corpus, materials, again=None)

        assert all(step.outcome.test is None for step in steps)


@pytest.mark.parametrize(("again", "kind"), [(AGAIN, Kind.BEST), (ON_BOTH, Kind.CHECKPOINT)])
def test_it_is_examined_with_the_weights_of_its_best_epoch_or_of_the_last_that_was_fixed(
    again, kind, small_corpus, materials, monkeypatch
):
    def train_to_a_worse_end(*words, original=runner.train, **named):
        for epoch in original(*words, **named):
            yield epoch if epoch.report.epoch < EPOCHS else replace(epoch, is_best=False)

    used = []

    def examine(build, weights, *words, original=runner.examine, **named):
        used.append(weights)
        return original(build, weights, *words, **named)

    monkeypatch.setattr(runner, "train", train_to_a_worse_end)
    monkeypatch.setattr(runner, "examine", examine)

    found = scoring_of(steps_of(HEAD, small_corpus, materials, again=again))

    (kept,) = materials.states.find(5, kind)
    assert kept.epoch < EPOCHS
    (weights,) = used
    wanted = {name.removeprefix("model:"): t for name, t in kept.tensors.items()}
    assert all(torch.equal(wanted[name], tensor) for name, tensor in weights.items())
    network = runner.network_of(HEAD, small_corpus, materials)
    model = network.build()
    model.load_state_dict(dict(weights))
    test = small_corpus.indices(Part.TEST)
    task = replace(network.task(small_corpus), validation=test)
    assert list(found.predicted) == predict(model, task, 8, CPU).argmax(axis=1).tolist()


def test_with_validation_it_trains_the_epochs_that_were_fixed_on_both_parts(
    small_corpus, materials
):
    steps = steps_of(SCRATCH, small_corpus, materials, again=ON_BOTH)
    learned = portion(small_corpus, share=1.0, with_validation=True, seed=0)

    assert [s.report.epoch for s in steps if s.report] == [1, 2]
    assert all(s.report and np.isnan(s.report.f1) for s in steps)
    assert scoring_of(steps)
    parts = [len(small_corpus.indices(part)) for part in Part]
    assert [len(learned.indices(part)) for part in Part] == [parts[0] + parts[1], 0, parts[2]]
    alone = list(
        runner.train(
            runner.network_of(SCRATCH, learned, materials).build,
            runner.network_of(SCRATCH, learned, materials).task(learned),
            SCRATCH.optimisation,
            replace(materials.settings, epochs=2),
            seed=11,
            device=CPU,
        )
    )
    told = [s.report.train_loss for s in steps if s.report]
    assert told == [epoch.report.train_loss for epoch in alone]


@pytest.mark.parametrize("again", [AGAIN, ON_BOTH], ids=["train", "both"])
@pytest.mark.parametrize("known", [1, 2])
def test_one_that_goes_on_ends_with_the_same_predictions(again, known, small_corpus, materials):
    whole = scoring_of(steps_of(HEAD, small_corpus, materials, again=again))
    materials.states.remove(5, Kind.CHECKPOINT)
    materials.states.remove(5, Kind.BEST)
    first = run_trial(
        assigned(HEAD, again), small_corpus, materials, device=CPU, device_fraction=0.0
    )
    for _ in range(known):  # the second may be its last: killed before its end was recorded
        next(first)
    first.close()  # type: ignore[attr-defined]

    rest = steps_of(HEAD, small_corpus, materials, again=again, known_epochs=known)

    assert scoring_of(rest).predicted == whole.predicted


def test_those_of_one_shape_are_examined_as_if_alone(small_corpus, materials, tmp_path):
    group = [assigned(HEAD, replace(ON_BOTH, number=n), number=n, seed=n) for n in (1, 2, 3)]
    alone = {
        one.number: scoring_of(
            list(run_trial(one, small_corpus, materials, device=CPU, device_fraction=0.0))
        )
        for one in group
    }
    elsewhere = replace(materials, states=StateFolder(tmp_path / "together"))

    rounds = list(run_group(group, small_corpus, elsewhere, device=CPU, device_fraction=0.0))

    ended = {number: step.outcome for number, step in rounds[-1].items()}
    assert {n: o.test.predicted for n, o in ended.items() if o.test} == {
        n: test.predicted for n, test in alone.items()
    }
    assert all(step.report and step.report.group_size == 3 for step in rounds[-1].values())


def test_those_that_learn_from_other_notes_are_no_group(small_corpus, materials):
    group = [assigned(HEAD, number=1), assigned(HEAD, replace(AGAIN, train_fraction=0.6), number=2)]

    with pytest.raises(ValueError, match="one shared_shape"):
        next(run_group(group, small_corpus, materials, device=CPU, device_fraction=0.0))


def test_a_smaller_share_has_its_own_vocabulary_from_its_own_notes(small_corpus, materials):
    least = least_portion(small_corpus, with_validation=False, seed=0)
    for share in (1.0, least):
        steps_of(SCRATCH, small_corpus, materials, again=replace(AGAIN, train_fraction=share))
        materials.states.remove(5, Kind.CHECKPOINT)
    made = [json.loads(f.read_text()) for f in materials.cache.glob(f"tokens-*/{MADE_OF}")]

    assert len(made) == 2
    assert {m["corpus"] for m in made} == {small_corpus.digest}  # by which `forget` knows it
    assert len({m.get("portion", "") for m in made}) == 2


def test_a_share_is_of_whole_patients_and_inside_each_larger_one(small_corpus):
    shares = [0.3, 0.5, 0.8, 1.0]
    kept = [
        portion(small_corpus, share=s, with_validation=False, seed=4).indices(Part.TRAIN)
        for s in shares
    ]

    for smaller, larger in pairwise(kept):
        assert set(smaller) < set(larger)
        left = set(larger) - set(smaller)
        groups = small_corpus.groups
        assert not set(groups[smaller]) & set(groups[list(left)])
    for share in shares:
        thinned = portion(small_corpus, share=share, with_validation=False, seed=4)
        for part in (Part.VALIDATION, Part.TEST):
            assert (thinned.indices(part) == small_corpus.indices(part)).all()


@pytest.mark.parametrize("with_validation", [False, True])
def test_the_least_share_is_the_smallest_that_holds_each_class(small_corpus, with_validation):
    given = {"with_validation": with_validation, "seed": 2}

    least = least_portion(small_corpus, **given)

    def notes(share):
        return portion(small_corpus, share=share, **given).indices(Part.TRAIN)

    assert set(small_corpus.labels[notes(least)]) == {0, 1}
    # Below it a class comes in out of its turn, so that what is kept stays as it was.
    assert len(notes(least - 1e-4)) == len(notes(least))


def test_what_it_is_told_and_tells_crosses_as_json(small_corpus, materials):
    given = assigned(HEAD, ON_BOTH)
    assert Assignment.from_json(given.to_json()) == given

    last = steps_of(BASELINE, small_corpus, materials)[-1]

    assert steps_from_json(steps_to_json({5: last})) == {5: last}
    assert "test" not in Outcome(state=State.COMPLETE).to_dict()
