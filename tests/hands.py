"""The hands of composed pages, loaded once in a process, and only where they are needed."""

from functools import cache

from handwriting.data import Hands, load_hands


@cache
def both() -> tuple[Hands, Hands]:
    return load_hands()


def to_learn() -> Hands:
    return both()[0]


def to_measure() -> Hands:
    return both()[1]
