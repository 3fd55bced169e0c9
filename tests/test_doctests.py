import doctest
import importlib
import pkgutil

import pytest

import headhunt.analysis
import headhunt.search
import headhunt.spaces
import headhunt.trainables

PACKAGES = (headhunt.spaces, headhunt.trainables, headhunt.search, headhunt.analysis)
MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_hold(name):
    failed, _ = doctest.testmod(importlib.import_module(name))

    assert failed == 0


def test_there_are_examples_to_test():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name))]

    assert sum(bool(test.examples) for test in found) >= 5
