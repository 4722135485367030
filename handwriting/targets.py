"""What the network of ``page.py`` is to say at each place of a composed piece: notebook 09."""

import numpy as np
import torch
from torch import Tensor

from handwriting.composed import PIECE, Piece, inside
from handwriting.page import LARGEST, NONE, OPEN, SMALLEST, STRIDE

LEFT_OUT = -1  # where either answer is fair
LEAST_NEAR = 2.9  # pixels: then at least one place is near the centre


def targets_of(piece: Piece) -> tuple[Tensor, Tensor]:
    """Return what to say at each place, int64 (32, 32), and the distances, float32 (4, 32, 32).

    Near the centre of a digit it is the label, elsewhere ``NONE``, and between them ``LEFT_OUT``.
    The distances, in pixels, lead from a place near a centre to the upper, left, lower and right
    edge of the digit.
    """
    side = PIECE // STRIDE
    y, x = np.mgrid[:side, :side] * STRIDE + 0.5  # the middle of a pixel at each place
    target = np.full((side, side), NONE)
    distances = np.zeros((4, side, side), np.float32)
    nearest = np.full((side, side), np.inf)  # of the digits so far, to each place
    for label, (top, left, bottom, right) in zip(piece.labels, piece.boxes, strict=True):
        size = max(bottom - top, right - left)
        if not SMALLEST / OPEN < size < LARGEST * OPEN:
            continue  # none
        from_centre = np.hypot(y - (top + bottom) / 2, x - (left + right) / 2)
        on_piece = inside(piece.photo, (top, left, bottom, right)).size
        is_whole = on_piece >= 0.9 * (bottom - top) * (right - left)
        if is_whole and SMALLEST <= size <= LARGEST:
            near = max(LEAST_NEAR, 0.15 * size)
            either = 2 * near
        else:
            near = 0
            either = 0.6 * size
        is_nearest = from_centre < nearest  # where digits touch, a place is the nearer one's
        target[is_nearest & (from_centre < either)] = LEFT_OUT
        is_digit = is_nearest & (from_centre < near)
        target[is_digit] = label
        edges = np.stack([y - top, x - left, bottom - y, right - x])
        distances[:, is_digit] = edges[:, is_digit]
        nearest = np.where(from_centre < either, np.minimum(from_centre, nearest), nearest)
    return torch.from_numpy(target), torch.from_numpy(distances)
