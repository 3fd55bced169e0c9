import doctest

from headhunt.analysis import tables


def test_the_roundings_are_as_their_examples_say():
    examined = doctest.testmod(tables)

    assert examined.attempted >= 2  # one example in each of `score` and `amount` at least
    assert examined.failed == 0
