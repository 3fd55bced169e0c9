import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.trainables.card.sizing import largest


@given(
    linear=st.integers(1, 50),
    square=st.integers(0, 3),
    fixed=st.integers(-5000, 5000),
    start=st.integers(1, 300),
    most=st.integers(1, 300),
)
def test_it_is_the_largest_size_that_fits(linear, square, fixed, start, most):
    def excess(size):
        return linear * size + square * size * size + fixed

    sizes = [size for size in range(1, most + 1) if excess(size) <= 0]

    assert largest(excess, start, most) == max(sizes, default=0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(1, 60))
def test_steps_and_plateaus_do_not_confuse_it(values, start):
    rising = sorted(values)
    asked = []

    def excess(size):
        asked.append(size)
        return rising[size - 1]

    found = largest(excess, start, len(rising))

    assert found == sum(value <= 0 for value in rising)
    assert all(1 <= size <= len(rising) for size in asked)


@pytest.mark.parametrize("limit", [3, 40, 1000, 4000])
def test_a_few_looks_are_enough_where_memory_is_nearly_a_line(limit):
    asked = []

    def excess(size):
        asked.append(size)
        return 1000 * size + size * size // 50 - 1000 * limit

    found = largest(excess, 8, 4096)

    assert excess(found) <= 0 < excess(found + 1)
    assert len(set(asked)) <= 9
