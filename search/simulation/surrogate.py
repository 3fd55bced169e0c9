"""Guesses the curve and the cost of a config that was never trained, from those that were.

Forests of randomised trees (Geurts et al. 2006) over a config's own fields: one for the F1 of the
first epoch, one for that of the next epoch given the one before, one for the seconds of an epoch,
one for the footprint. Of seconds and bytes the guess is the forest's mean. A curve is that of one
of its trees, drawn by the config's hash: means alone would have none of the spread that samplers
and rungs meet. No guess is a better F1 than the best one recorded. How far all this is off is
measured on trials that it was not fitted on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor

from ...spaces.configs import Config, HeadConfig, Mode, config_hash
from ...spaces.record import EpochReport, Footprint, State
from ..study import Trial
from .encoder import Encoder
from .recorded import Recorded, SimulationError

NAME = "extra-trees"
TREES = 24
LEAST_TRIALS = 20  # with a score
LEAST_COMPLETE = 10  # for a rank correlation
FOLDS = 5
ASKED = 4096  # configs whose rows are kept: those that run are asked of epoch after epoch
LEAST_SECONDS = 1e-6  # of an epoch: its logarithm is learned

Floats = NDArray[np.floating[Any]]


class Forest:
    """A forest that is asked for one row at a time, in hundredths of a millisecond."""

    def __init__(self, rows: Sequence[Sequence[float]], targets: Sequence[Any]) -> None:
        """Fit.

        Args:
            rows: [configs, columns]
            targets: [configs], or [configs, targets]
        """
        forest = ExtraTreesRegressor(TREES, random_state=0, n_jobs=1)
        forest.fit(np.array(rows, dtype=np.float32), np.array(targets))
        trees = [estimator.tree_ for estimator in forest.estimators_]
        self._trees = [
            (
                tree.children_left.tolist(),
                tree.children_right.tolist(),
                tree.feature.tolist(),
                tree.threshold.tolist(),
                tree.value[:, :, 0],
            )
            for tree in trees
        ]

    def guess(self, row: Sequence[float]) -> Floats:
        """The mean at a row [columns]: [targets]."""
        return np.mean([self.draw(row, tree) for tree in range(TREES)], axis=0)

    def draw(self, row: Sequence[float], tree: int) -> Floats:
        """What one of the trees says there: [targets]."""
        left, right, column, threshold, values = self._trees[tree]
        node = 0
        while left[node] >= 0:
            goes_left = row[column[node]] <= threshold[node]
            node = left[node] if goes_left else right[node]
        return values[node]


@dataclass(frozen=True, slots=True)
class Quality:
    """How far the surrogate is off, on trials that it was not fitted on."""

    trials: int  # that it was tried on
    complete: int  # of them
    first_rank_correlation: float  # Spearman's, of the F1 after one epoch, over all
    final_rank_correlation: float | None  # of the score, over the complete ones; None: too few
    f1_error: float  # median, absolute, of the score at the last epoch that was trained
    seconds_error: float  # median, relative, of an epoch


class Surrogate:
    """Of one study."""

    def __init__(self, scored: Sequence[Trial], known: Sequence[Trial]) -> None:
        """Fit.

        Args:
            scored: trials whose curves and seconds are learned.
            known: trials whose footprints are; none without a card.
        """
        self._encoder = Encoder([t.config for t in (*scored, *known)])
        self._asked = lru_cache(ASKED)(self._ask)
        rows = [self._encoder.row(t.config) for t in scored]
        self._first = Forest(rows, [t.reports[0].f1 for t in scored])
        steps = [
            ([*row, *_standing(t.reports[:epoch])], t.reports[epoch].f1)
            for row, t in zip(rows, scored, strict=True)
            for epoch in range(1, len(t.reports))
        ]
        self._next = Forest(*zip(*steps, strict=True)) if steps else None
        self._seconds = Forest(rows, [math.log(epoch_seconds(t.reports)) for t in scored])
        needs = [(t.config, t.footprint) for t in known if t.footprint]
        self._need = (
            Forest(
                [self._encoder.row(config) for config, _ in needs],
                [(math.log(need.peak_bytes), math.log(need.epoch_seconds)) for _, need in needs],
            )
            if needs
            else None
        )
        self._limit_bytes = needs[0][1].limit_bytes if needs else 0
        self._encoding_seconds = {_encoded(config): need.encoding_seconds for config, need in needs}

    @classmethod
    def of(cls, recorded: Recorded) -> tuple[Self, Quality]:
        """The surrogate of a study, and how far it is off.

        Raises:
            SimulationError: too few trials have a score.
        """
        scored = recorded.scored
        if len(scored) < LEAST_TRIALS:
            raise SimulationError(
                f"the study {recorded.name!r} has {len(scored)} trials with a score, baselines "
                f"left out, and the surrogate needs {LEAST_TRIALS}: let it search on, or replay "
                "what there is with --sampler recorded"
            )
        known = [t for t in recorded.trials if t.footprint]
        return cls(scored, known), quality(scored)

    def seconds(self, config: Config) -> float:
        """Of an epoch, by the clock."""
        return math.exp(self._seconds.guess(self._asked(config)[0]).item())

    def next_f1(self, config: Config, reports: Sequence[EpochReport]) -> float:
        """Of the epoch after these."""
        row, tree = self._asked(config)
        if not reports:
            return self._first.draw(row, tree).item()
        if self._next is None:  # no trial was recorded that far
            return reports[-1].f1
        return self._next.draw([*row, *_standing(reports)], tree).item()

    def footprint(self, config: Config) -> Footprint | None:
        """Peak and seconds on the study's card; None without one. Sizes and FLOPs are left out."""
        if self._need is None:
            return None
        peak, seconds = np.exp(self._need.guess(self._asked(config)[0]))
        return Footprint(
            peak_bytes=round(peak),
            limit_bytes=self._limit_bytes,
            trainable_parameters=0,
            total_parameters=0,
            step_flops=0,
            step_bytes=0,
            epoch_seconds=float(seconds),
            encoding_seconds=self._encoding_seconds.get(_encoded(config), 0.0),
        )

    def _ask(self, config: Config) -> tuple[list[float], int]:
        """The config's row, and the tree that its curve is of."""
        return self._encoder.row(config), int(config_hash(config), 16) % TREES


def epoch_report(epoch: int, f1: float, wall_seconds: float) -> EpochReport:
    """An epoch of which nothing else is guessed."""
    unknown = math.nan
    return EpochReport(
        epoch=epoch,
        f1=f1,
        accuracy=unknown,
        precision=unknown,
        recall=unknown,
        validation_loss=unknown,
        train_loss=unknown,
        wall_seconds=wall_seconds,
        cpu_seconds=unknown,
    )


def epoch_seconds(reports: Sequence[EpochReport]) -> float:
    """Of an epoch in the mean, by the clock."""
    return max(sum(r.wall_seconds for r in reports) / len(reports), LEAST_SECONDS)


def quality(scored: Sequence[Trial]) -> Quality:
    """Cross-validated over trials: each is guessed by a surrogate that did not see it."""
    order = np.random.default_rng(0).permutation(len(scored))
    guessed_first, guessed, seconds = np.empty((3, len(scored)))
    for fold in range(FOLDS):
        left_out = order[fold::FOLDS]
        rest = [scored[place] for place in np.setdiff1d(order, left_out)]
        surrogate = Surrogate(rest, ())
        for place in left_out:
            trial = scored[place]
            curve = _guessed_curve(surrogate, trial.config, len(trial.reports))
            guessed_first[place], guessed[place] = curve[0], max(curve)
            seconds[place] = surrogate.seconds(trial.config)
    scores = np.array([trial.best.f1 for trial in scored if trial.best])
    first = np.array([trial.reports[0].f1 for trial in scored])
    took = np.array([epoch_seconds(trial.reports) for trial in scored])
    complete = np.array([trial.state is State.COMPLETE for trial in scored])
    enough = complete.sum() >= LEAST_COMPLETE
    return Quality(
        trials=len(scored),
        complete=int(complete.sum()),
        first_rank_correlation=_rank_correlation(guessed_first, first),
        final_rank_correlation=(
            _rank_correlation(guessed[complete], scores[complete]) if enough else None
        ),
        f1_error=float(np.median(np.abs(guessed - scores))),
        seconds_error=float(np.median(np.abs(seconds / took - 1))),
    )


def _rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's: the correlation of the ranks, ties sharing theirs."""
    return float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])


def _guessed_curve(surrogate: Surrogate, config: Config, epochs: int) -> list[float]:
    reports: list[EpochReport] = []
    for epoch in range(1, epochs + 1):
        reports.append(epoch_report(epoch, surrogate.next_f1(config, reports), 0.0))
    return [report.f1 for report in reports]


def _standing(reports: Sequence[EpochReport]) -> list[float]:
    """How a trial stands after these epochs."""
    return [len(reports), reports[-1].f1, max(report.f1 for report in reports)]


def _encoded(config: Config) -> str:
    """The backbone that encodes the corpus for it; "" where none does."""
    if isinstance(config, HeadConfig) and config.mode is Mode.FROZEN:
        return config.backbone
    return ""
