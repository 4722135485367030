"""Composed pieces of pages, to train the network with, and what it has to say at each place."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from handwriting.composed.ink import any_digit, draw_mark, pressure_of_hand
from handwriting.composed.paper import (
    as_grey,
    from_jpeg,
    light_on_page,
    line_at,
    paper_of_page,
    smooth_noise,
)
from handwriting.data import Hands
from handwriting.page import LARGEST, NONE, SMALLEST, STRIDE, TOLERANCE

PIECE = 128  # pixels: the sides of a piece


class Piece(NamedTuple):
    """A piece of a composed page, and the digits on it."""

    photo: np.ndarray  # uint8, (PIECE, PIECE)
    labels: list[int]
    boxes: list[tuple[int, int, int, int]]  # top, left, bottom, right: some end outside of it


def compose_piece(hands: Hands, rng: np.random.Generator) -> Piece:
    """Compose a piece of a page: digits of any size or none, and much that is no digit."""
    shape = (PIECE, PIECE)
    height = height_of_piece(rng)
    pen = log_uniform(0.02, 0.16, rng)  # its width, as a share of the digits' height
    slope = np.tan(np.radians(rng.uniform(-6, 6)))
    cloth = side_with_cloth(rng) if rng.random() < 0.2 else np.zeros(shape, bool)
    outside = np.zeros(shape, bool)
    if rng.random() < 0.2:  # the picture ends here, and perhaps shows a strip of the table
        outside = outside_of_picture(rng)
        strip = np.roll(outside, rng.integers(-10, 11), axis=rng.integers(2))
        cloth = cloth | strip

    ink = np.zeros(shape)
    labels, boxes = [], []
    if rng.random() < 0.88:
        writer = None if rng.random() < 0.4 else rng.choice(list(hands.writers))
        for label, top, left, digit in lay_digits(height, pen, hands, writer, slope, rng):
            box = (top, left, top + digit.shape[0], left + digit.shape[1])
            is_hidden = view_of_box(cloth | outside, box).any()
            if not is_hidden and lay_down(ink, digit, top, left):
                labels.append(label)
                boxes.append(box)
    if rng.random() < 0.6:
        add_marks(ink, boxes, height, pen, slope, rng)

    depth = rng.uniform(0.3, 1)
    if rng.random() < 0.12:  # a drawing
        photo = 1 - depth * ink
    else:
        photo = photo_of_piece(depth * ink, height, cloth, slope, rng)
    photo = np.where(outside, np.median(photo[~outside]), photo)
    return Piece(as_picture(photo, rng), labels, boxes)


def lay_digits(height, pen, hands, writer, slope, rng):
    """Yield label, top, left and ink of digits in rows across a piece."""
    distance = height * rng.uniform(1.1, 2.3)  # from one row to the next
    gaps = (-0.06, 0.2) if rng.random() < 0.3 else (0.1, 0.8)  # some people leave none
    spread = rng.uniform(0, 0.3)  # of their sizes
    filled = rng.uniform(0.3, 1)
    num_digits = rng.integers(1, 60)
    base = rng.uniform(0, distance if filled > 0.6 else PIECE)
    while base < PIECE + height and num_digits > 0:
        left = rng.uniform(-1, 1) * height
        while left < PIECE and num_digits > 0:
            size = height * np.exp(rng.uniform(-spread, spread))
            if rng.random() > filled:
                left += size
                continue
            label, ink = any_digit(size, pen, hands, writer, rng)
            bottom = base + slope * left + height * rng.uniform(-0.1, 0.1)
            yield label, int(bottom) - ink.shape[0], int(left), ink
            left += ink.shape[1] + height * rng.uniform(*gaps)
            num_digits -= 1
        base += distance


def lay_down(page, ink, top, left) -> bool:
    """Add ink to a page, which may end before the ink does; tell whether any of it is on it."""
    area = view_of_box(page, (top, left, top + ink.shape[0], left + ink.shape[1]))
    if area.size == 0:
        return False
    first, begin = max(0, -top), max(0, -left)
    ink = ink[first : first + area.shape[0], begin : begin + area.shape[1]]
    np.maximum(area, ink, out=area)
    return True


def view_of_box(picture: np.ndarray, box) -> np.ndarray:
    """Return the part of a picture in a box, which may reach beyond it: a view, not a copy."""
    top, left, bottom, right = (max(0, int(edge)) for edge in box)
    return picture[top:bottom, left:right]


def add_marks(ink, boxes, height, pen, slope, rng):
    """Add what is no digit: marks beside the digits, and now and then lines that may cross them."""
    taken = np.zeros(ink.shape, bool)
    for top, left, bottom, right in boxes:
        view_of_box(taken, (top - 1, left - 1, bottom + 1, right + 1))[:] = True
    if rng.random() < 0.4:
        height = log_uniform(8, 80, rng)
    for _ in range(rng.integers(8, 40) if rng.random() < 0.3 else rng.integers(1, 7)):
        size = height * rng.uniform(0.4, 1.3)
        mark = draw_mark(size, max(0.8, pen * height), rng)
        top, left = (int(rng.integers(-side // 2, PIECE - side // 2)) for side in mark.shape)
        place = view_of_box(taken, (top, left, top + mark.shape[0], left + mark.shape[1]))
        if not place.any():
            lay_down(ink, mark, top, left)
            place[:] = True
    if rng.random() < 0.15:  # a frame, a fraction bar, a margin
        down, right = np.mgrid[:PIECE, :PIECE]
        place = down - slope * right if rng.random() < 0.6 else right + slope * down
        line = line_at(place, rng.uniform(30, 200), max(0.5, pen * height / 2))
        np.maximum(ink, rng.uniform(0.3, 1) * line, out=ink)


def height_of_piece(rng) -> float:
    """A digit's height in pixels: mostly one of those to find, and else a smaller or larger one."""
    low, high = [(13, 42), (2.5, 14), (40, 200)][rng.choice(3, p=[0.67, 0.14, 0.19])]
    return log_uniform(low, high, rng)


def log_uniform(low, high, rng) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# Its photo ----------------------------------------------------------------------------------------


def photo_of_piece(ink, height, cloth, slope, rng) -> np.ndarray:
    """Return grey values, about 0 to 1, of ink on paper beside cloth, as a camera sees them."""
    shape = ink.shape
    size = np.clip(height, 12, 60)  # what lines, stains and folds are measured in
    if rng.random() < 0.25:
        ink = ink * streaks(rng)
    ink = ink * pressure_of_hand(shape, rng.choice([0.25, 0.45, 0.7, 1]), size, rng)
    paper = paper_of_page(shape, rng.choice([0.2, 0.3, 0.45]), size, slope, rng)
    written = paper * (1 - ink)
    if cloth.any():
        written = np.where(cloth, cloth_beside(rng), written)
    light = light_on_page(shape, (0.3, 1), slope, rng)
    blur = 0.2 + 0.06 * size * rng.random() ** 2
    photo = ndimage.gaussian_filter(light * written, blur)
    if rng.random() < 0.1:
        photo = coarser(photo, rng.uniform(1.3, 2.2))
    grain = rng.standard_normal(shape) + 0.7 * smooth_noise(shape, 1, rng)
    return photo + rng.uniform(0, 0.035) * rng.random() * grain


def streaks(rng) -> np.ndarray:
    """The share of its depth that the ink of a marker has which runs dry: with light streaks."""
    stretch = 6
    noise = smooth_noise((PIECE, PIECE // stretch + 1), rng.uniform(0.6, 1.5), rng)
    noise = np.repeat(noise, stretch, axis=1)[:, :PIECE]
    if rng.random() < 0.5:
        noise = noise.T
    noise = ndimage.rotate(noise, rng.uniform(-30, 30), reshape=False, order=1, mode="reflect")
    return (rng.uniform(0.5, 1) + 0.5 * noise).clip(rng.uniform(0, 0.5), 1)


def side_with_cloth(rng) -> np.ndarray:
    """Tell where a piece shows what its page lies on: at one side, beyond any line."""
    down, right = np.mgrid[:PIECE, :PIECE] - PIECE / 2
    angle = rng.uniform(0, 2 * np.pi)
    return np.cos(angle) * down + np.sin(angle) * right > rng.uniform(0.1, 0.6) * PIECE


def outside_of_picture(rng) -> np.ndarray:
    """Tell where a piece shows no picture: around a part of any height and width."""
    height, width = (int(log_uniform(20, PIECE, rng)) for _ in range(2))
    top, left = rng.integers(PIECE - height), rng.integers(PIECE - width)
    outside = np.ones((PIECE, PIECE), bool)
    outside[top : top + height, left : left + width] = False
    return outside


def cloth_beside(rng) -> np.ndarray:
    """Grey values of a table, or of cloth with stripes."""
    stains = rng.uniform(0, 0.3) * smooth_noise((PIECE, PIECE), rng.uniform(1, 6), rng)
    cloth = rng.uniform(0.1, 0.9) * (1 + stains)
    if rng.random() < 0.4:
        down, right = np.mgrid[:PIECE, :PIECE]
        place = down + rng.uniform(-1, 1) * right
        stripes = line_at(place, rng.uniform(6, 30), rng.uniform(1, 4))
        cloth = cloth * (1 - rng.uniform(0, 0.5) * stripes)
    return cloth


def coarser(photo: np.ndarray, factor: float) -> np.ndarray:
    """Show a photo in fewer pixels, enlarged again."""
    picture = Image.fromarray(photo.astype(np.float32))
    side = round(PIECE / factor)
    few = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(few.resize(picture.size, Image.Resampling.BILINEAR))


def as_picture(photo: np.ndarray, rng) -> np.ndarray:
    """Return grey values, uint8: some light on dark, as on a blackboard, and half from a JPEG."""
    if rng.random() < 0.3:
        photo = 1 - photo
    picture = as_grey(photo)
    if rng.random() < 0.5:
        picture = from_jpeg(picture, int(rng.integers(30, 95)))
    return np.asarray(picture)


class Pieces(Dataset):
    """Pieces for a data loader: each is composed when it is asked for, from its number alone."""

    def __init__(self, hands: Hands, number: int, seed: int):
        self.hands = hands
        self.number = number
        self.seed = seed

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Piece:
        return compose_piece(self.hands, np.random.default_rng((self.seed, index)))


# What the network of page.py is to say ------------------------------------------------------------

LEFT_OUT = -1  # where either answer is fair
LEAST_RADIUS = 2.9  # pixels: then at least one place is near the centre


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
        if not SMALLEST / TOLERANCE < size < LARGEST * TOLERANCE:
            continue  # none
        from_centre = np.hypot(y - (top + bottom) / 2, x - (left + right) / 2)
        on_piece = view_of_box(piece.photo, (top, left, bottom, right)).size
        is_whole = on_piece >= 0.9 * (bottom - top) * (right - left)
        if is_whole and SMALLEST <= size <= LARGEST:
            digit_radius = max(LEAST_RADIUS, 0.15 * size)
            left_out_radius = 2 * digit_radius
        else:
            digit_radius = 0
            left_out_radius = 0.6 * size
        is_nearest = from_centre < nearest  # where digits touch, a place is the nearer one's
        target[is_nearest & (from_centre < left_out_radius)] = LEFT_OUT
        is_digit = is_nearest & (from_centre < digit_radius)
        target[is_digit] = label
        edges = np.stack([y - top, x - left, bottom - y, right - x])
        distances[:, is_digit] = edges[:, is_digit]
        is_near = from_centre < left_out_radius
        nearest = np.where(is_near, np.minimum(from_centre, nearest), nearest)
    return torch.from_numpy(target), torch.from_numpy(distances)
