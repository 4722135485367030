"""Composed pages of digits, hard to read, to measure a reader with; and a plain line of digits."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.composed.ink import INK, draw_pen_digit, pressure_of_hand, trimmed
from handwriting.composed.paper import (
    INK_DEPTH,
    as_grey,
    beside_a_table,
    from_jpeg,
    light_on_page,
    paper_of_page,
    smooth_noise,
)
from handwriting.data import Hands

HEIGHT = 72  # of a digit's image, in pixels, before it gets a size of its own
READABLE = 3  # a page is readable if its contrast is as much (see ComposedPage)
MAX_TRIES = 20  # pages to compose for one that is readable; nearly all are


def write_line(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay digits side by side, each with a size, a height on the line and a gap of its own.

    Args:
        images: uint8 of shape (N, 28, 28), ink is 255.

    Returns:
        The ink of the page, from 0 to 1, of shape (H, W), with a margin on all sides.
    """
    page_height = 2 * HEIGHT
    margin = np.zeros((page_height, HEIGHT))
    parts = [margin]
    for image in images:
        size = round(HEIGHT * rng.uniform(0.85, 1.15))
        digit = np.asarray(Image.fromarray(image).resize((size, size))) / 255
        digit = digit[:, digit.max(axis=0) > INK]
        top = round(HEIGHT * rng.uniform(0.3, 0.5))
        gap = round(HEIGHT * rng.uniform(0.1, 0.4))
        bottom = page_height - top - size
        parts.append(np.pad(digit, ((top, bottom), (0, gap))))
    return np.hstack([*parts, margin])


class Difficulty(NamedTuple):
    """How hard a page is to read; of each range a page gets a value at random."""

    pressure: float  # the least, where 1 gives the full depth of the ink
    pen: tuple[float, float]  # width, as a share of the digits' height
    light: tuple[float, float]  # of 1
    noise: float  # the largest standard deviation of the camera's noise, of 1
    slope: float  # of the rows, in degrees, to either side
    blur: float  # the largest, in pixels
    rule: float  # the largest depth of ruled lines, of the paper


DIFFICULTIES = {
    "easy": Difficulty(0.7, (0.05, 0.08), (0.7, 1), 0.015, 2, 0.8, 0.3),
    "medium": Difficulty(0.45, (0.03, 0.08), (0.45, 1), 0.025, 4, 1.2, 0.25),
    "hard": Difficulty(0.25, (0.02, 0.08), (0.25, 1), 0.035, 5, 1.6, 0.2),
}


class ComposedPage(NamedTuple):
    """A composed photo, and what is written on it."""

    photo: np.ndarray  # uint8, (H, W)
    rows: list[list[int]]  # the labels, from top to bottom and from left to right
    boxes: list[list[tuple[int, int, int, int]]]  # top, left, bottom, right of each, in pixels
    contrast: float  # the faintest tenth of a digit's ink, in standard deviations of its paper


def compose_page(difficulty: Difficulty, hands: Hands, rng: np.random.Generator) -> ComposedPage:
    """Compose the photo of a page of one to five rows, or of a column of digits.

    Half of the pages are written with MNIST's digits, thick as by a marker, and half by one of the
    pen digits' writers with a pen.
    """
    height = int(rng.integers(50, 141))  # of a digit, in pixels
    pen = 0.1  # of its height, about as MNIST's strokes
    writer = None
    if rng.random() < 0.5:
        pen = rng.uniform(*difficulty.pen)
        writer = rng.choice(list(hands.writers))
    slope = np.tan(np.radians(rng.uniform(-difficulty.slope, difficulty.slope)))

    ink, rows, boxes = write_page(height, pen, hands, writer, slope, rng)
    ink = ink * pressure_of_hand(ink.shape, difficulty.pressure, height, rng)
    paper = paper_of_page(ink.shape, difficulty.rule, height, slope, rng)
    written = paper * (1 - INK_DEPTH * ink)
    if rng.random() < 0.25:
        paper, written = beside_a_table(paper, written, height, rng)
    light = light_on_page(ink.shape, difficulty.light, slope, rng)
    grain = rng.standard_normal(ink.shape) + 0.7 * smooth_noise(ink.shape, 1, rng)
    grain *= difficulty.noise * rng.uniform(0.3, 1)
    blur = rng.uniform(0.4, difficulty.blur)
    blank = ndimage.gaussian_filter(light * paper, blur) + grain  # the same photo, without ink
    photo = ndimage.gaussian_filter(light * written, blur) + grain

    contrast = least_contrast(blank, photo, ink, boxes, pen * height, height)
    return ComposedPage(np.asarray(from_jpeg(as_grey(photo), quality=60)), rows, boxes, contrast)


def readable_pages(
    difficulty: str, hands: Hands, number: int, first_seed: int
) -> Iterator[ComposedPage]:
    """Compose pages with one seed after the other; yield so many that are readable.

    Raises:
        RuntimeError: hardly any page is.
    """
    num_found = 0
    for seed in range(first_seed, first_seed + MAX_TRIES * number):
        page = compose_page(DIFFICULTIES[difficulty], hands, np.random.default_rng(seed))
        if page.contrast >= READABLE:
            yield page
            num_found += 1
        if num_found == number:
            return
    raise RuntimeError(f"of {MAX_TRIES * number} pages {num_found} are readable, not {number}")


def write_page(height, pen, hands, writer, slope, rng):
    """Return the ink of a page (H, W), and of its rows the labels and the boxes of the digits."""
    is_column = rng.random() < 0.15
    num_rows = rng.integers(3, 8) if is_column else rng.integers(1, 6)
    distance = height * rng.uniform(1.65, 2.3)  # from one row to the next
    placed = []  # row, label, top, left, ink
    for row in range(num_rows):
        left = height * rng.uniform(0, 0.8)
        for _ in range(1 if is_column else rng.integers(1, 11)):
            size = height * rng.uniform(0.7, 1.35)
            if writer is None:
                index = rng.integers(len(hands.images))
                label, ink = int(hands.labels[index]), trimmed(hands.images[index], size)
            else:
                digits_of_writer = hands.writers[writer]
                digit = digits_of_writer[rng.integers(len(digits_of_writer))]
                label, ink = digit.label, draw_pen_digit(digit, size, pen * size)
            base = distance * row + slope * left + height * rng.uniform(-0.1, 0.1)
            placed.append((row, label, base - ink.shape[0], left, ink))
            left += ink.shape[1] + height * rng.uniform(0.15, 0.6)
    above, below, before, behind = (int(height * rng.uniform(0.4, 1.8)) for _ in range(4))
    first = min(top for _, _, top, _, _ in placed)
    bottom = max(top + ink.shape[0] for _, _, top, _, ink in placed)
    right = max(left + ink.shape[1] for _, _, _, left, ink in placed)
    page = np.zeros((int(bottom - first) + above + below + 2, int(right) + before + behind + 2))
    rows = [[] for _ in range(num_rows)]
    boxes = [[] for _ in range(num_rows)]
    for row, label, top, left, ink in placed:
        top, left = int(top - first) + above, int(left) + before
        area = page[top : top + ink.shape[0], left : left + ink.shape[1]]
        np.maximum(area, ink, out=area)
        rows[row].append(label)
        boxes[row].append((top, left, top + ink.shape[0], left + ink.shape[1]))
    return page, rows, boxes


def least_contrast(blank, photo, ink, boxes, stroke, height) -> float:
    """Compare, for each digit, the depth of its faintest tenth with the unevenness of its paper.

    Both are smoothed at the scale of a stroke, as an eye does.
    """
    sigma = max(0.7, stroke / 2)
    depth = ndimage.gaussian_filter(blank - photo, sigma)
    paper = ndimage.gaussian_filter(blank, sigma)
    paper -= ndimage.gaussian_filter(paper, height / 3)
    margin = height // 3
    contrasts = []
    for top, left, bottom, right in (box for row in boxes for box in row):
        inked = ink[top:bottom, left:right] > 0.5 * ink[top:bottom, left:right].max()
        faintest = np.quantile(depth[top:bottom, left:right][inked], 0.1)
        around = paper[
            max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin
        ]
        contrasts.append(faintest / around.std())
    return float(min(contrasts))
