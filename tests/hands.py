"""The hands of composed pages, loaded once in a process, and only where they are needed."""

from functools import cache

from handwriting.data import Hands, load_hands


@cache
def everybody() -> tuple[Hands, Hands, Hands]:
    return load_hands()


def to_learn() -> Hands:
    return everybody()[0]


def to_choose() -> Hands:
    return everybody()[1]


def to_measure() -> Hands:
    return everybody()[2]
