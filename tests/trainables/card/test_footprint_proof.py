"""The whole table of the footprint against the allocator's own record: two minutes."""

import pytest

from benchmarks.footprint_memory import BOUND, compare, decisions


@pytest.mark.proof
def test_every_config_is_within_two_percent_and_none_that_is_said_to_fit_goes_over():
    rows = list(compare())

    assert len(rows) >= 30
    assert [row for row in rows if abs(row.error) > BOUND] == []
    told = decisions(rows)
    assert told.went_over == 0, rows
    assert told.refused <= 0.05 * told.fitted, told
