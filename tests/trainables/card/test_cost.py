from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headhunt.trainables.card.cards import CARDS
from headhunt.trainables.card.cost import Operation, Work, preparation, seconds

P620 = CARDS["p620"]
PLAIN = replace(P620, flops_share=1.0, bandwidth_share=1.0, launch_seconds=1e-6)


def operation(name="mm", flops=0, moved_bytes=0, elements=0):
    return Operation(name, flops, moved_bytes, elements)


def test_an_operation_takes_the_larger_of_its_flops_and_its_bytes_and_a_launch():
    flops = operation(flops=int(PLAIN.flops), moved_bytes=1)
    moved = operation(flops=1, moved_bytes=2 * int(PLAIN.bandwidth))

    assert seconds(flops, PLAIN) == pytest.approx(1 + 1e-6)
    assert seconds(moved, PLAIN) == pytest.approx(2 + 1e-6)


def test_shares_of_the_peaks_make_it_slower():
    half = replace(PLAIN, flops_share=0.5)

    one = operation(flops=int(PLAIN.flops))
    assert seconds(one, half) == pytest.approx(2 * seconds(one, PLAIN), rel=1e-5)


def test_an_operation_with_a_measured_rate_is_not_faster_than_that():
    measured = replace(PLAIN, element_rates={"gelu": 1e6})

    assert seconds(operation("gelu", elements=10**6), measured) == pytest.approx(1 + 1e-6)
    assert seconds(operation("add", elements=10**6), measured) == pytest.approx(1e-6)


@given(st.integers(0, 5), st.integers(0, 5))
def test_work_adds_up(one, other):
    a, b = operation(flops=3, moved_bytes=5), operation("add", moved_bytes=7)
    work = Work({a: 1}).times(one).plus(Work({b: 1}).times(other)).plus(Work({a: other}))

    assert work.flops == 3 * (one + other)
    assert work.moved_bytes == 5 * (one + other) + 7 * other
    assert work.launches == one + 2 * other
    assert work.seconds(PLAIN) == pytest.approx(
        (one + other) * seconds(a, PLAIN) + other * seconds(b, PLAIN)
    )


def test_a_batch_is_prepared_note_by_note():
    one, two = preparation(1, 100, 200), preparation(2, 100, 200)

    assert one.moved_bytes == 500
    assert two.moved_bytes == 1000
    assert two.launches > one.launches
    assert one.plus(two).moved_bytes == 1500
