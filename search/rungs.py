"""Where the weaker trials of a family stop: asynchronous successive halving in whole numbers.

A rung is an epoch at which a trial is judged against what its family has recorded there (Li et al.
2020, the stopping variant). Pure arithmetic: no clock, no Ray, no randomness.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict

ETA = 3  # one trial in three goes on at a rung
SPACING = 2  # a rung at twice the epochs of the one before (decision 31)


def rung_epochs(*, first: int, last: int, spacing: int) -> tuple[int, ...]:
    """Epochs at which a trial is judged: `first`, `first * spacing`, ... below `last`.

    At the last epoch there is nothing left to save, so it is no rung.

    >>> rung_epochs(first=1, last=10, spacing=2), rung_epochs(first=1, last=1, spacing=2)
    ((1, 2, 4, 8), ())
    """
    if spacing < 2:
        raise ValueError(f"a rung is at twice the epochs of the last at least; got {spacing=}")
    if not 1 <= first <= last:
        raise ValueError(f"rungs need 1 <= first <= last, in epochs; got {first=} and {last=}")
    rungs: list[int] = []
    epoch = first
    while epoch < last:
        rungs.append(epoch)
        epoch *= spacing
    return tuple(rungs)


def study_rungs(max_epochs: int, *, wanted: bool) -> "Rungs":
    """The rungs of a study, empty; none where none are wanted."""
    epochs = rung_epochs(first=1, last=max_epochs, spacing=SPACING) if wanted else ()
    return Rungs(epochs, ETA)


class Rungs:
    """What each family has recorded at each rung, and who goes on."""

    def __init__(self, epochs: tuple[int, ...], eta: int) -> None:
        """Begin without scores.

        Raises:
            ValueError: eta is below 2, which would stop nobody.
        """
        if eta < 2:
            raise ValueError(
                f"a rung keeps one trial in eta, so eta must be at least 2; got {eta=}"
            )
        self.epochs, self.eta = epochs, eta
        self._scores: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        self._sorted: dict[tuple[str, int], list[float]] = defaultdict(list)  # the same scores

    def record(self, family: str, trial: int, epoch: int, score: float) -> None:
        """Note the trial's best score up to this rung."""
        if epoch in self.epochs:
            self._set(family, epoch, trial, score)

    def record_end(self, family: str, trial: int, epoch: int, score: float) -> None:
        """A trial that completed at `epoch` stands at every later rung with its final score."""
        for rung in self.epochs:
            if rung > epoch:
                self._set(family, rung, trial, score)

    def forget(self, family: str, trial: int) -> None:
        """Judge nobody any more by a trial whose score does not count."""
        for rung in self.epochs:
            self._drop(family, rung, trial)

    def goes_on(self, family: str, trial: int, epoch: int) -> bool:
        """Whether the trial is in the best one in `eta` of its family at this rung, ties included.

        The best recorded so far always goes on, so a family's first trial does.
        """
        scores = self._scores.get((family, epoch))
        if scores is None or trial not in scores:
            return True
        places = -(-len(scores) // self.eta)  # rounded up: two may go on from the fourth trial
        order = self._sorted[family, epoch]
        better = len(order) - bisect_right(order, scores[trial])
        return better < places

    def _set(self, family: str, rung: int, trial: int, score: float) -> None:
        self._drop(family, rung, trial)
        self._scores[family, rung][trial] = score
        insort(self._sorted[family, rung], score)

    def _drop(self, family: str, rung: int, trial: int) -> None:
        score = self._scores[family, rung].pop(trial, None)
        if score is not None:
            order = self._sorted[family, rung]
            del order[bisect_left(order, score)]
