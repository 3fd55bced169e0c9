"""What intervals and tests of confirmed models promise, by simulated models of known skill."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom

from headhunt.analysis.confidence import FIGURES, LEVEL, Counted, HeldOut, Judge, holm
from headhunt.trainables.training.metrics import score

CLASSES, DRAWS = 3, 200


@dataclass(frozen=True)
class World:
    """Test parts and models: patients are easy or hard for all, seeds are lucky or not."""

    patients: int = 60
    notes: float = 2.0  # of a patient, on average
    seeds: int = 3
    skill: float = 1.2  # of a model in standard deviations: 1.2 is right on 4 of 5 notes, about
    luck: float = 0.15  # spread of the seeds
    hardness: float = 0.6  # spread of the patients

    def draw(self, chance, *advantages):
        """A test part, and predictions of one model for each advantage over the skill."""
        sizes = 1 + chance.poisson(self.notes - 1, self.patients)
        groups = np.repeat(np.arange(self.patients), sizes)
        truth = chance.choice(CLASSES, len(groups), p=[0.5, 0.3, 0.2])
        shared = chance.normal(0, self.hardness, self.patients)[groups]
        models = []
        for advantage in advantages:
            own = chance.normal(0, self.hardness / 2, self.patients)[groups]
            seeds = chance.normal(0, self.luck, (self.seeds, 1))
            noise = chance.normal(size=(self.seeds, len(groups)))
            right = self.skill + advantage + shared + own + seeds + noise > 0
            wrong = (truth + chance.integers(1, CLASSES, right.shape)) % CLASSES
            models.append(np.where(right, truth, wrong))
        return HeldOut(truth, groups, CLASSES), models

    def f1(self, advantage=0.0):
        """What a model of this skill has on ever so many notes."""
        many = World(**{**self.__dict__, "patients": 12_000, "seeds": 1, "luck": 0.0})
        reached = []
        for shift in np.random.default_rng(7).normal(0, self.luck, 8):
            test, (predicted,) = many.draw(np.random.default_rng(8), advantage + shift)
            reached.append(score(np.eye(CLASSES)[predicted[0]], test.truth).f1)
        return float(np.mean(reached))


def most_alarms(tests, level=LEVEL):
    """False alarms that a test of this level stays below, but for one time in a thousand."""
    return binom.ppf(0.999, tests, level)


# --- the counts -----------------------------------------------------------------------------------


def test_the_figures_are_those_of_training():
    chance = np.random.default_rng(0)
    test, (predicted,) = World(patients=9).draw(chance, 0.0)
    counted = Counted.of(predicted, test.truth, test.groups, classes=CLASSES + 1)  # one is absent

    found = counted.figures(np.ones((1, 9)))

    for seed, said in enumerate(predicted):
        scores = score(np.eye(CLASSES + 1)[said], test.truth)
        for figure in FIGURES:
            assert found[figure][seed, 0] == pytest.approx(getattr(scores, figure), abs=1e-12)


def test_a_patient_that_is_drawn_twice_counts_as_two():
    test, (predicted,) = World(patients=5).draw(np.random.default_rng(0), 0.0)
    counted = Counted.of(predicted, test.truth, test.groups, classes=CLASSES)
    twice = np.concatenate([np.arange(len(test.truth)), np.flatnonzero(test.groups == 3)])
    left = twice[test.groups[twice] != 0]

    found = counted.figures(np.array([[0.0, 1, 1, 2, 1]]))

    for figure in FIGURES:
        alone = score(np.eye(CLASSES)[predicted[1][left]], test.truth[left])
        assert found[figure][1, 0] == pytest.approx(getattr(alone, figure), abs=1e-12)


# --- it does not cry wolf -------------------------------------------------------------------------


@pytest.mark.parametrize("tests", [150, pytest.param(2000, marks=pytest.mark.proof)])
@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(patients=12),
        World(patients=150, seeds=1, luck=0.0),
        World(seeds=5, luck=0.3),
        World(notes=5.0, hardness=1.5),
    ],
    ids=["usual", "few patients", "one seed", "lucky seeds", "many notes a patient"],
)
def test_of_models_that_are_equally_good_none_is_called_better_too_often(world, tests):
    chance, alarms = np.random.default_rng(1), 0

    for place in range(tests):
        test, models = world.draw(chance, 0.0, 0.0, 0.0, 0.0)
        judge = Judge(test, models, seed=place, draws=DRAWS)
        corrected = holm([judge.difference(i, 3).p_value for i in range(3)])
        alarms += min(corrected) < LEVEL  # any of the three

    assert alarms <= most_alarms(tests)


def test_seeds_alone_that_differ_are_no_better_model():
    # Thousands of notes: the patients leave no doubt, and which seed is lucky is all that differs.
    world, chance = World(patients=1000, seeds=4, luck=0.3), np.random.default_rng(2)
    tests = 80

    alarms = 0
    for place in range(tests):
        test, models = world.draw(chance, 0.0, 0.0)
        alarms += Judge(test, models, seed=place, draws=50).difference(0, 1).p_value < LEVEL

    assert alarms <= most_alarms(tests)


def test_a_real_difference_is_found():
    world, chance, found = World(patients=150, seeds=5), np.random.default_rng(3), 0
    better = world.f1(0.5) - world.f1()
    assert 0.07 < better < 0.12

    for place in range(60):
        test, models = world.draw(chance, 0.5, 0.0)
        difference = Judge(test, models, seed=place, draws=DRAWS).difference(0, 1)
        found += difference.p_value < LEVEL and difference.estimate.value > 0

    assert found >= 48


@pytest.mark.parametrize(
    "world", [World(), World(seeds=1, luck=0.0), World(patients=20, notes=4.0)]
)
def test_an_interval_holds_what_would_be_found_on_ever_so_many_notes(world):
    chance, tests, missed = np.random.default_rng(4), 150, 0
    true = world.f1()

    for place in range(tests):
        test, models = world.draw(chance, 0.0)
        estimate = Judge(test, models, seed=place, draws=DRAWS).estimate(0)
        missed += not estimate.low <= true <= estimate.high

    assert missed <= most_alarms(tests, 0.08)  # few notes a class: 92 to 95 % as simulated


# --- where little can be told ---------------------------------------------------------------------


def test_models_that_say_the_same_are_not_different():
    test, (predicted,) = World().draw(np.random.default_rng(0), 0.0)

    difference = Judge(test, [predicted, predicted.copy()]).difference(0, 1)

    assert (difference.estimate.value, difference.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("patients", [2, 3, 5])
def test_of_few_patients_nothing_is_told_however_clear_it_looks(patients):
    truth = np.tile([0, 1], patients)
    test = HeldOut(truth, np.repeat(np.arange(patients), 2), 2)
    judge = Judge(test, [truth[None], 1 - truth[None]])

    difference = judge.difference(0, 1)

    assert difference.p_value == 2.0 ** (1 - patients) > LEVEL
    assert difference.estimate.low <= 0 < difference.estimate.value == 1


def test_all_right_is_not_taken_for_certain():
    truth = np.tile([0, 1], 10)
    judge = Judge(HeldOut(truth, np.arange(20), 2), [truth[None], 1 - truth[None]])

    right, wrong = judge.estimate(0), judge.estimate(1)

    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(0.025 ** (1 / 20))
    assert (wrong.value, wrong.low, wrong.high) == (0, 0, pytest.approx(1 - right.low))


def test_more_seeds_make_an_interval_narrower_and_one_seed_says_less_than_it_seems():
    widths = {}
    for seeds in (1, 3, 12):
        test, models = World(patients=400, seeds=seeds, luck=0.5).draw(
            np.random.default_rng(5), 0.0
        )
        estimate = Judge(test, models).estimate(0)
        widths[seeds] = estimate.high - estimate.low

    assert widths[12] < widths[3]
    assert widths[1] < widths[3]  # of one training, the luck of the seed is not known
