"""How right a reader was on a composed page."""

from typing import NamedTuple

import torch

from handwriting.composed.pages import ComposedPage
from handwriting.page import SURE, Reading, shares

AT_ITS_PLACE = 0.3  # of what a reading and a digit cover together, they share as much


class Score(NamedTuple):
    """How a reader did on one composed page; ``add_scores`` adds up several."""

    digits: int
    right: int
    lost: int  # nothing was read where they are
    invented: int  # read where there is no digit
    sure: int  # read with a probability of 90 % or more, right or wrong
    wrong_and_sure: int  # of these, invented or another digit
    whole: int  # 1 if all digits are right and in their rows, and none is invented


def score_page(page: ComposedPage, rows: list[list[Reading]]) -> Score:
    """Compare what was read with what is written."""
    readings = [reading for row in rows for reading in row]
    is_right, num_lost, num_invented = compare(page, readings)
    is_sure = [reading.probability >= SURE for reading in readings]
    wrong_and_sure = sum(sure and not right for sure, right in zip(is_sure, is_right, strict=True))
    digits = [[reading.digit for reading in row] for row in rows]
    whole = num_lost == num_invented == 0 and digits == page.rows
    return Score(
        digits=sum(map(len, page.rows)),
        right=sum(is_right),
        lost=num_lost,
        invented=num_invented,
        sure=sum(is_sure),
        wrong_and_sure=wrong_and_sure,
        whole=int(whole),
    )


def compare(page: ComposedPage, readings: list[Reading]) -> tuple[list[bool], int, int]:
    """Tell which readings are right, how many digits are lost, and how many readings invented.

    Each digit takes the reading that shares most of its box, if it shares enough.
    """
    labels = [label for row in page.rows for label in row]
    places = torch.tensor([box for row in page.boxes for box in row]).view(-1, 4).float()
    boxes = torch.tensor([reading.box for reading in readings]).view(-1, 4)
    _, shared = shares(places, boxes)  # a row for each digit, a column for each reading
    is_free = torch.ones(len(readings), dtype=torch.bool)
    is_right = [False] * len(readings)
    num_lost = 0
    for label, with_readings in zip(labels, shared, strict=True):
        with_free = with_readings * is_free
        if len(readings) == 0 or with_free.max() < AT_ITS_PLACE:
            num_lost += 1
            continue
        best = with_free.argmax().item()
        is_free[best] = False
        is_right[best] = readings[best].digit == label
    return is_right, num_lost, int(is_free.sum())


def add_scores(scores: list[Score]) -> dict[str, int]:
    return {
        name: sum(counts)
        for name, counts in zip(Score._fields, zip(*scores, strict=True), strict=True)
    }
