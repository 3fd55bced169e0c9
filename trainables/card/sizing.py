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
    while too_large - fits > 1:
        if over(size) > 0:
            too_large = size
        else:
            fits = size
        size = _next(known, fits, too_large, most)
    return fits


def _next(known: dict[int, int], fits: int, too_large: int, most: int) -> int:
    """Where a line through what is known around the border crosses it, within the bracket."""
    sizes = sorted(known)
    near = sorted(sizes, key=lambda size: abs(known[size]))[:2]
    if len(near) < 2 or known[near[0]] == known[near[1]]:
        guess = 2 * max(fits, 1) if too_large > most else (fits + too_large) // 2
    else:
        one, other = near
        slope = (known[other] - known[one]) / (other - one)
        guess = int(one - known[one] / slope)
        if guess == fits:  # the line says that this is the last one: look at the next
            guess += 1
    return min(max(guess, fits + 1), too_large - 1)
