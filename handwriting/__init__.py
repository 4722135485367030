"""Digits that people write themselves: from a picture of one, or of a whole page, to the answer."""

from handwriting.digit import prepare
from handwriting.page import plot_reading, read_digits

__all__ = ["plot_reading", "prepare", "read_digits"]
