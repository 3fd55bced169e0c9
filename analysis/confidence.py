"""What of a test score may be chance: intervals over patients and seeds, and paired tests.

Two chances are in a score: which patients the test part has, and which seeds a model was trained
with. Notes of one patient are no independent notes, so patients are drawn again, with replacement,
the same ones for all models (the paired cluster bootstrap: Field and Welsh 2007). What the seeds
add is known in closed form: the variance of their mean, which drawing one less than there are of
them would give (Rao and Wu 1988), less the part of it that the patients hold already (crossed
chances: Owen 2007). Few seeds tell their variance badly, and Student's t says how badly
(Satterthwaite 1946). Plain numbers: no study, no frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t as student

FIGURES = ("f1", "accuracy", "precision", "recall")
LEVEL = 0.05
DRAWS = 2_000  # of patients
Array = NDArray[np.float64]
Integers = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Counted:
    """A model's predictions in counts: whatever patients are drawn, all figures follow from them.

    `right` and `said` have the axes [seeds, groups, classes], `there` [groups, classes].
    """

    right: Array  # notes of the class that were said to be of it
    said: Array  # notes that were said to be of the class
    there: Array  # notes of the class

    @classmethod
    def of(
        cls, predicted: Integers, truth: Integers, groups: Integers, *, classes: int
    ) -> "Counted":
        """Count.

        Args:
            predicted: class codes, [seeds, notes].
            truth: class codes, [notes].
            groups: of each note, from 0, [notes]: its patient.
            classes: labels of the corpus.
        """
        seeds, cells = len(predicted), (int(groups.max()) + 1) * classes
        shape = (int(groups.max()) + 1, classes)

        def counts(codes: Integers, which: NDArray[np.bool_] | slice) -> Array:
            found = np.bincount((groups * classes + codes)[which], minlength=cells)
            return found.reshape(shape).astype(np.float64)

        everything = slice(None)
        hits = (counts(truth, predicted[s] == truth) for s in range(seeds))
        said = (counts(predicted[s], everything) for s in range(seeds))
        return cls(np.stack(list(hits)), np.stack(list(said)), counts(truth, everything))

    def figures(self, weights: Array) -> dict[str, Array]:
        """Each figure under weights of the groups [draws, groups], as [seeds, draws].

        As in validation: a class without a note is left out of the means.
        """
        right, said = weights @ self.right, weights @ self.said  # [seeds, draws, classes]
        there = weights @ self.there
        present = there > 0
        return {
            "f1": _mean(2 * right, said + there, present),
            "accuracy": right.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1),
            "precision": _mean(right, said, present),
            "recall": _mean(right, np.broadcast_to(there, right.shape), present),
        }


def _mean(part: Array, whole: Array, present: NDArray[np.bool_]) -> Array:
    """The mean over the present classes of part / whole; 0 where there is no whole."""
    ratios = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return (ratios * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One figure of a model: as it is, and under each drawing of patients."""

    seeds: Array  # [seeds]
    draws: Array  # [seeds, draws]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.seeds.mean())

    @property
    def from_seeds(self) -> tuple[float, float]:
        """Variance that other seeds add to the mean: beyond the patients', and with their part."""
        seeds = len(self.seeds)
        if seeds == 1:
            return 0.0, 0.0
        whole = float(self.seeds.var(ddof=1)) / seeds
        own = self.draws - self.draws.mean(axis=0)
        patients = float(own.var(axis=1, ddof=1).sum()) / (seeds - 1) / seeds
        return max(whole - patients, 0.0), whole


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, or a difference of two, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the first model's F1 from the second's, paired by patients."""

    estimate: Estimate
    p_value: float  # two-sided


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The notes that models are compared on."""

    truth: Integers  # class codes, [notes]
    groups: Integers  # patients, from 0, [notes]
    classes: int

    @property
    def sizes(self) -> Integers:
        """Notes of each group, [groups]."""
        return np.bincount(self.groups)

    @property
    def certainty(self) -> float:
        """Degrees of freedom that the groups give: fewer where some have most of the notes."""
        sizes = self.sizes.astype(np.float64)
        return max(float(sizes.sum() ** 2 / (sizes**2).sum()) - 1, 1e-3)

    def draw(self, seed: int, draws: int = DRAWS) -> Array:
        """How often each group is drawn, [draws, groups]; as often as there are groups in all."""
        groups = len(self.sizes)
        generator = np.random.default_rng(seed)
        return generator.multinomial(groups, np.full(groups, 1 / groups), draws).astype(np.float64)


class Judge:
    """Compares models on one test part, under the same drawings of its patients."""

    def __init__(
        self, test: HeldOut, predicted: Sequence[Integers], *, seed: int = 0, draws: int = DRAWS
    ) -> None:
        """Count and draw.

        Args:
            test: truth and patients.
            predicted: of each model, [seeds, notes]; their numbers of seeds may differ.
            seed: of the drawings.
            draws: how many.
        """
        self._test, self._predicted = test, list(predicted)
        weights = test.draw(seed, draws)
        all_alike = np.ones((1, weights.shape[1]))
        self._drawn: list[dict[str, Drawn]] = []
        for each in self._predicted:
            counted = Counted.of(each, test.truth, test.groups, classes=test.classes)
            whole, drawn = counted.figures(all_alike), counted.figures(weights)
            self._drawn.append({n: Drawn(whole[n][:, 0], drawn[n]) for n in FIGURES})

    def estimate(self, model: int, figure: str = "f1") -> Estimate:
        """A figure's mean over the model's seeds, in [0, 1].

        The interval is Student's on the scale of the log odds, so that it stays within [0, 1].
        """
        drawn = self._drawn[model][figure]
        variance, freedom = self._spread(drawn.draws.mean(axis=0), [drawn])
        value = drawn.mean
        if not 0 < value < 1 or variance == 0:
            return self._without_spread(value)
        reach = student.ppf(1 - LEVEL / 2, freedom) * np.sqrt(variance) / (value * (1 - value))
        return Estimate(
            value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
        )

    def difference(self, first: int, second: int) -> Difference:
        """How much better the first model's F1 is than the second's."""
        one, other = self._drawn[first]["f1"], self._drawn[second]["f1"]
        value = one.mean - other.mean
        apart = one.draws.mean(axis=0) - other.draws.mean(axis=0)
        variance, freedom = self._spread(apart, [one, other])
        error = float(np.sqrt(variance))
        p_value = float(2 * student.sf(abs(value) / error, freedom)) if error else float(value == 0)
        least = self._least_p_value(first, second)
        if value and p_value < least:  # the interval says what the p value says
            p_value, sure = least, float(student.isf(least / 2, freedom))
            error = abs(value) / sure if sure > 0 else 1.0
        reach = float(student.ppf(1 - LEVEL / 2, freedom)) * error
        low, high = max(-1.0, value - reach), min(1.0, value + reach)
        return Difference(Estimate(value, low, high), p_value)

    def _spread(self, draws: Array, models: Sequence[Drawn]) -> tuple[float, float]:
        """Variance from patients and seeds together, and its degrees of freedom."""
        groups = len(self._test.sizes)
        patients = float(draws.var(ddof=1)) * groups / (groups - 1)
        seeds = [model.from_seeds for model in models]
        variance = patients + sum(beyond for beyond, _ in seeds)
        if variance == 0:
            return 0.0, self._test.certainty
        doubt = patients**2 / self._test.certainty + sum(
            whole**2 / (len(model.seeds) - 1)
            for model, (_, whole) in zip(models, seeds, strict=True)
            if whole
        )
        return variance, variance**2 / doubt

    def _least_p_value(self, first: int, second: int) -> float:
        """However clear it looks: the chance that all patients who differ differ the same way."""
        ours, theirs = self._predicted[first], self._predicted[second]
        seeds = min(len(ours), len(theirs))
        differ = (ours[:seeds] != theirs[:seeds]).any(axis=0)
        return 2.0 ** min(0, 1 - len(np.unique(self._test.groups[differ])))

    def _without_spread(self, value: float) -> Estimate:
        """Where nothing varies: all right or all wrong, as far as so many patients can tell.

        Between the two it would be a coincidence of very few patients, and says nothing.
        """
        one_sided = (LEVEL / 2) ** (1 / len(self._test.sizes))
        low = one_sided if value == 1 else 0.0
        return Estimate(value, low, 1 - one_sided if value == 0 else 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number, in their order (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    left = len(p_values) - np.arange(len(p_values))
    raised = np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * left)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(raised, 1.0)
    return corrected.tolist()
