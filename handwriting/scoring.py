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
    wrong_and_sure: int  # invented, or another digit, with a probability of 90 % or more
    refused: int  # digits of a page that the reader refused; this one refuses none
    whole: int  # 1 if all digits are right and in their rows, and none is invented


def score_page(page: ComposedPage, rows: list[list[Reading]]) -> Score:
    """Compare what was read with what is written."""
    labels = [label for row in page.rows for label in row]
    places = torch.tensor([box for row in page.boxes for box in row], dtype=torch.float32)
    readings = [reading for row in rows for reading in row]
    boxes = torch.tensor([reading.box for reading in readings]).view(-1, 4)
    _, shared = shares(places, boxes)  # a row for each digit, a column for each reading
    is_free = torch.ones(len(readings), dtype=torch.bool)
    right = lost = wrong_and_sure = 0
    for label, with_readings in zip(labels, shared, strict=True):
        with_free = with_readings * is_free
        if len(readings) == 0 or with_free.max() < AT_ITS_PLACE:
            lost += 1
            continue
        best = with_free.argmax().item()
        is_free[best] = False
        right += readings[best].digit == label
        wrong_and_sure += readings[best].digit != label and readings[best].probability >= SURE
    invented = [reading for reading, free in zip(readings, is_free, strict=True) if free]
    wrong_and_sure += sum(reading.probability >= SURE for reading in invented)
    is_all_found = lost == 0 and not invented
    digits = [[reading.digit for reading in row] for row in rows]
    whole = int(is_all_found and digits == page.rows)
    return Score(len(labels), right, lost, len(invented), wrong_and_sure, 0, whole)


def add_scores(scores: list[Score]) -> dict[str, int]:
    return {
        name: sum(counts)
        for name, counts in zip(Score._fields, zip(*scores, strict=True), strict=True)
    }
