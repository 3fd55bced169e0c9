import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import approx_fprime

from headhunt.search import fits
from headhunt.search.fits import LEAST_KNOWN, Fits, surprise

from .toys import MIB, footprint

SPACE = {
    "width": IntDistribution(16, 1024, log=True),
    "batch": CategoricalDistribution([1, 2, 4, 8]),
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "kind": CategoricalDistribution(["only"]),
}


def draw(count, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(SPACE).params for _ in range(count)]


def needed(params):
    """A product of two choices, and no matter what the others are; half of them fit."""
    return with_peak(params["width"] * params["batch"] / 333)


def with_peak(ratio):
    return replace(footprint(), peak_bytes=int(ratio * 1748 * MIB))


def learned(params, need=needed):
    found = Fits()
    for each in params:
        found.learn(each, SPACE, need(each))
    return found


def test_a_product_of_choices_is_guessed_from_forty_footprints():
    found = learned(draw(40))

    others = draw(200, seed=1)

    right = [(found.margin(p)[0] <= 0) == (needed(p).excess_bytes <= 0) for p in others]
    assert np.mean(right) >= 0.95


def test_a_guess_is_as_far_off_as_it_says():
    found = learned(draw(40))

    off = []
    for params in draw(200, seed=1):
        mean, deviation = found.margin(params)
        truth = needed(params).peak_bytes / needed(params).limit_bytes
        off.append((mean - math.log(truth)) / deviation)
    assert 0.3 <= np.std(off) <= 3


def test_nothing_is_known_while_all_fits_or_little_was_seen():
    fit = learned(draw(30), lambda _: footprint())
    few = learned(draw(LEAST_KNOWN - 1))

    assert not fit.knows
    assert not few.knows
    assert learned(draw(LEAST_KNOWN)).knows


def test_what_is_learned_again_replaces_what_was_thought():
    drawn = draw(30)
    found = learned(drawn)
    fitting = min(drawn, key=lambda p: needed(p).peak_bytes)
    before = found.log_chance(fitting)

    found.learn(fitting, SPACE, with_peak(3.0))

    assert found.log_chance(fitting) < before
    assert found.margin(fitting)[0] > learned(drawn).margin(fitting)[0] + 0.5


@given(asked=st.sets(st.integers(10, 33)), again=st.integers(0, 33))
def test_a_guess_does_not_depend_on_what_was_asked_meanwhile(asked, again):
    drawn = draw(34)
    interrupted = Fits()
    for place, params in enumerate(drawn):
        interrupted.learn(params, SPACE, needed(params))
        if place in asked:
            interrupted.margin(drawn[0])
    interrupted.learn(drawn[again], SPACE, with_peak(2.0))

    whole = learned(drawn[:again])
    whole.learn(drawn[again], SPACE, with_peak(2.0))
    for params in drawn[again + 1 :]:
        whole.learn(params, SPACE, needed(params))

    assert interrupted.margin(drawn[0]) == whole.margin(drawn[0])


@pytest.mark.parametrize("count", [33, 100, 102])
def test_what_was_worked_out_for_one_range_is_not_used_for_another(count):
    drawn, wider = draw(count + 1), {**SPACE, "width": IntDistribution(16, 4096, log=True)}
    first, last = drawn[:count], drawn[count]
    asked, never_asked = learned(first), learned(first)
    asked.margin(first[0])
    for found in (asked, never_asked):
        found.learn(last, wider, with_peak(2.0))

    assert asked.margin(first[0]) == never_asked.margin(first[0])


def test_parameters_that_a_config_does_not_have_are_left_open():
    found = learned(draw(40))

    mean, deviation = found.margin({"width": 1024})
    _, surer = found.margin({"width": 1024, "batch": 8, "rate": 1e-3, "kind": "only"})

    assert math.isfinite(mean)
    assert deviation > surer


def test_equal_footprints_are_guessed_to_be_what_they_are():
    found = learned(draw(LEAST_KNOWN), lambda _: with_peak(2.0))

    assert found.margin(draw(1, seed=1)[0])[0] == pytest.approx(math.log(2))


def test_only_the_latest_footprints_are_learned_from(monkeypatch):
    monkeypatch.setattr(fits, "MOST_KNOWN", 20)
    drawn = draw(45)

    assert learned(drawn).margin(drawn[0]) == learned(drawn[-20:]).margin(drawn[0])


@given(seed=st.integers(0, 99), noise=st.floats(-8, -1))
def test_the_gradient_is_that_of_the_surprise(seed, noise):
    random = np.random.default_rng(seed)
    rows, logs = random.uniform(-1, 1, (12, 3)), random.normal(size=12)
    logs -= logs.mean()
    scales = np.append(random.uniform(-2, 1, 3), noise)

    numeric = approx_fprime(scales, lambda s: surprise(s, rows, logs)[0], 1e-6)

    assert surprise(scales, rows, logs)[1] == pytest.approx(numeric, rel=1e-2, abs=1e-2)
