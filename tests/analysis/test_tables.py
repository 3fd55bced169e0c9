import doctest

from headhunt.analysis import tables


def test_the_roundings_are_as_their_examples_say():
    examined = doctest.testmod(tables)

    assert examined.attempted == 4  # one in each of `score`, `amount`, `signed` and `decimals`
    assert examined.failed == 0
