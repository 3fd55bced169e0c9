"""The largest batch and the longest notes that a card holds, for one config.

Memory grows with both, nearly in a line or a parabola, so a few traces find the border, and the
border itself is traced: the answer is exact, not extrapolated.
"""

from collections.abc import Callable

MOST_NOTES = 4096  # of a batch that anybody would want
MOST_TOKENS = 8192  # of a scratch model's notes; an encoder's positions allow fewer


def largest(excess: Callable[[int], int], start: int, most: int) -> int:
    """The largest size from 1 to `most` that fits; 0 where none does.

    Args:
        excess: bytes over the limit at a size; positive does not fit. It must not fall.
        start: a size to look at first.
        most: sizes above it are not looked at.

    >>> largest(lambda notes: 100 * notes - 1234, start=8, most=4096)
    12
    """
    known: dict[int, int] = {}

    def over(size: int) -> int:
        if size not in known:
            known[size] = excess(size)
        return known[size]

    fits, too_large = 0, most + 1
    size = min(max(start, 1), most)
    halve = False
    while too_large - fits > 1:
        before = too_large - fits
        if over(size) > 0:
            too_large = size
        else:
            fits = size
        # A line is nearly exact; where it is not, halving ends it in a few steps all the same.
        halve = not halve and too_large - fits > before // 2
        size = _next(known, fits, too_large, most, halve=halve)
    return fits


def _next(known: dict[int, int], fits: int, too_large: int, most: int, *, halve: bool) -> int:
    """A size inside the bracket: where the line through its ends crosses zero, or the middle."""
    if too_large > most:  # nothing is too large yet
        return min(_ahead(known, fits), most)
    low, high = known.get(fits), known[too_large]
    if halve or low is None:
        return (fits + too_large) // 2
    share = -low / (high - low)
    guess = fits + int(share * (too_large - fits))
    return min(max(guess, fits + 1), too_large - 1)


def _ahead(known: dict[int, int], fits: int) -> int:
    """Beyond all that fits: along the line through the two largest, or twice as far."""
    below = [size for size in sorted(known) if size < fits]
    if below and known[fits] > known[below[-1]]:
        slope = (known[fits] - known[below[-1]]) / (fits - below[-1])
        return max(fits + 1, min(int(fits - known[fits] / slope) + 1, 64 * fits))
    return 2 * fits
