import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

from headhunt.search import densities
from headhunt.search.densities import Estimator, draw, log_density
from headhunt.search.fits import Fits
from headhunt.search.fitting_tpe import CANDIDATES, FittingTPE

SPACE = {
    "plain": FloatDistribution(-2.0, 3.0),
    "log": FloatDistribution(1e-5, 1e-1, log=True),
    "stepped": FloatDistribution(0.0, 1.0, step=0.25),
    "whole": IntDistribution(1, 12),
    "whole by log": IntDistribution(8, 256, log=True),
    "word": CategoricalDistribution(["a", "b", "c"]),
}


def drawn(count, seed):
    """Values of every parameter, uniform on its own scale."""
    rng = np.random.default_rng(seed)
    return {
        "plain": rng.uniform(-2, 3, count),
        "log": 10 ** rng.uniform(-5, -1, count),
        "stepped": rng.integers(0, 5, count) / 4,
        "whole": rng.integers(1, 13, count).astype(float),
        "whole by log": np.round(2 ** rng.uniform(3, 8, count)),
        "word": rng.integers(0, 3, count).astype(float),
    }


PARAMETERS = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)


@pytest.mark.parametrize("kernels", [0, 1, 7, 200])
def test_draws_are_optunas_own(kernels):
    given = drawn(kernels, seed=kernels), SPACE, PARAMETERS
    ours, optunas = np.random.RandomState(3), np.random.RandomState(3)

    found = Estimator(*given).sample(ours, 1000)

    for name, values in _ParzenEstimator(*given).sample(optunas, 1000).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7, err_msg=name)
    assert ours.rand() == optunas.rand()  # it was asked as often


UNIT = FloatDistribution(0, 1)


def score(trial):
    return trial.suggest_float("x", 0, 1)


def test_the_searchs_tpe_draws_so(monkeypatch):
    counts = []

    def counted(mixture, generator, count):
        counts.append(count)
        return draw(mixture, generator, count)

    monkeypatch.setattr(densities, "draw", counted)
    study = optuna.create_study(sampler=FittingTPE(score, Fits(), proposals=2, n_startup_trials=3))
    for x in (0.1, 0.5, 0.9):
        known = optuna.trial.create_trial(params={"x": x}, distributions={"x": UNIT}, value=x)
        study.add_trial(known)

    study.optimize(score, n_trials=2)

    assert counts == [2 * CANDIDATES]


def test_draws_beside_kernels_far_away_are_inside_the_bounds():
    values = {"plain": np.array([-2.0] * 60), "log": np.array([0.1] * 60)}
    estimator = Estimator(values, {name: SPACE[name] for name in values}, PARAMETERS)

    found = estimator.sample(np.random.RandomState(5), 5000)

    for name, sample in found.items():
        assert SPACE[name].low <= sample.min() <= sample.max() <= SPACE[name].high


@pytest.mark.parametrize("kernels", [0, 1, 7, 200])
def test_the_density_is_optunas_own(kernels):
    estimator = _ParzenEstimator(drawn(kernels, seed=kernels), SPACE, PARAMETERS)
    points = np.array(list(drawn(50, seed=1000).values())).T

    ours = log_density(estimator._mixture_distribution, points)

    np.testing.assert_allclose(ours, estimator._mixture_distribution.log_pdf(points), rtol=1e-8)
