"""The hands of composed pages, loaded once in a process, and only where they are needed."""

from functools import cache

from handwriting.data import Hands, People, load_hands


@cache
def everybody() -> People:
    return load_hands()


def to_learn() -> Hands:
    return everybody().teach


def to_choose() -> Hands:
    return everybody().choose


def to_measure() -> Hands:
    return everybody().report
