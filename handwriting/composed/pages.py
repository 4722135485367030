"""Composed pages of digits, hard to read, to measure a reader with; and a plain line of digits."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from handwriting.composed.ink import (
    INK,
    add_frames,
    draw_pen_digit,
    lay_down,
    pressure_of_hand,
    trimmed,
)
from handwriting.composed.paper import (
    INK_DEPTH,
    as_grey,
    beside_a_table,
    from_jpeg,
    light_on_page,
    paper_of_page,
    smooth_noise,
)
from handwriting.composed.writing import (
    KINDS,
    Pen,
    Sign,
    alphabet_beside,
    some_text,
    write_joined,
    write_text,
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
    rows: list[list[int]]  # the digits, from top to bottom and from left to right
    boxes: list[list[tuple[int, int, int, int]]]  # top, left, bottom, right of each, in pixels
    contrast: float  # the faintest tenth of a digit's ink, in standard deviations of its paper
    num_others: int = 0  # letters, signs and whole words beside the digits


def compose_page(difficulty: Difficulty, hands: Hands, rng: np.random.Generator) -> ComposedPage:
    """Compose the photo of a page of one to five rows, or of a column of digits.

    Half of the pages are written with MNIST's digits, thick as by a marker, and half by one person
    with a pen.
    """
    height = int(rng.integers(50, 141))  # of a digit, in pixels
    hand, pen = hand_of_page(difficulty, hands, rng)
    slope = np.tan(np.radians(rng.uniform(-difficulty.slope, difficulty.slope)))
    written = write_page(height, pen, hands, hand, slope, rng)
    return photo_of_page(*written, height, pen, slope, difficulty, rng)


def hand_of_page(difficulty, hands, rng):
    """Return who writes a page, or None for a marker, and the width of the pen."""
    if rng.random() < 0.5:
        pen = rng.uniform(*difficulty.pen)
        return hands.writers[rng.integers(len(hands.writers))], pen
    return None, 0.1  # of the digits' height, about as MNIST's strokes


def photo_of_page(ink, rows, boxes, height, pen, slope, difficulty, rng) -> ComposedPage:
    """Compose the photo of a page from its ink, with paper, light and a camera."""
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
    difficulty: str, hands: Hands, number: int, first_seed: int, compose=compose_page
) -> Iterator[ComposedPage]:
    """Compose pages with one seed after the other; yield so many that are readable.

    Args:
        compose: ``compose_page``, or another function of this module that takes the same.

    Raises:
        RuntimeError: hardly any page is.
    """
    num_found = 0
    for seed in range(first_seed, first_seed + MAX_TRIES * number):
        page = compose(DIFFICULTIES[difficulty], hands, np.random.default_rng(seed))
        if page.contrast >= READABLE:
            yield page
            num_found += 1
        if num_found == number:
            return
    raise RuntimeError(f"of {MAX_TRIES * number} pages {num_found} are readable, not {number}")


def write_page(height, pen, hands, hand, slope, rng):
    """Return the ink of a page (H, W), and of its rows the labels and the boxes of the digits."""
    is_column = rng.random() < 0.15
    num_rows = rng.integers(3, 8) if is_column else rng.integers(1, 6)
    distance = height * rng.uniform(1.65, 2.3)  # from one row to the next
    rows = []
    for row in range(num_rows):
        left = height * rng.uniform(0, 0.8)
        rows.append([])
        for _ in range(1 if is_column else rng.integers(1, 11)):
            size = height * rng.uniform(0.7, 1.35)
            label, ink = plain_digit(size, pen, hands, hand, rng)
            base = distance * row + slope * left + height * rng.uniform(-0.1, 0.1)
            rows[-1].append(Sign(label, base - ink.shape[0], left, ink))
            left += ink.shape[1] + height * rng.uniform(0.15, 0.6)
    return lay_rows(rows, height, rng)


def plain_digit(size, pen, hands, hand, rng):
    """Return a label and the ink of a digit as it was written, ``size`` pixels large."""
    if hand is None:
        index = rng.integers(len(hands.images))
        return int(hands.labels[index]), trimmed(hands.images[index], size)
    digit = hand.digits[rng.integers(len(hand.digits))]
    return digit.label, draw_pen_digit(digit, size, pen * size)


def lay_rows(rows: list[list[Sign]], height, rng):
    """Lay rows of signs on a page with a margin.

    Args:
        rows: signs with their places on the page in place of those in the line.

    Returns:
        The ink of the page (H, W), and of the rows that have digits their labels and boxes.
    """
    signs = [sign for row in rows for sign in row]
    above, below, before, behind = (int(height * rng.uniform(0.4, 1.8)) for _ in range(4))
    first = min(sign.top for sign in signs)
    before -= int(min(sign.left for sign in signs))
    bottom = max(sign.top + sign.ink.shape[0] for sign in signs)
    right = max(sign.left + sign.ink.shape[1] for sign in signs)
    page = np.zeros((int(bottom - first) + above + below + 2, int(right) + before + behind + 2))
    labels, boxes = [], []
    for row in rows:
        of_row = []
        for sign in row:
            top, left = int(sign.top - first) + above, int(sign.left) + before
            lay_down(page, sign.ink, top, left)
            if sign.label is not None and 0 <= sign.label <= 9:
                box = (top, left, top + sign.ink.shape[0], left + sign.ink.shape[1])
                of_row.append((sign.label, box))
        if of_row:
            labels.append([label for label, _ in of_row])
            boxes.append([box for _, box in of_row])
    return page, labels, boxes


def least_contrast(blank, photo, ink, boxes, stroke, height) -> float:
    """Compare, for each digit, the depth of its faintest tenth with the unevenness of its paper.

    Both are smoothed at the scale of a stroke, as an eye does.
    """
    sigma = max(0.7, stroke / 2)
    depth = ndimage.gaussian_filter(blank - photo, sigma)
    paper = ndimage.gaussian_filter(blank, sigma)
    paper -= ndimage.gaussian_filter(paper, height / 3)
    margin = height // 3
    contrasts = [np.inf]  # of a page without digits
    for top, left, bottom, right in (box for row in boxes for box in row):
        inked = ink[top:bottom, left:right] > 0.5 * ink[top:bottom, left:right].max()
        faintest = np.quantile(depth[top:bottom, left:right][inked], 0.1)
        around = paper[
            max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin
        ]
        contrasts.append(faintest / around.std())
    return float(min(contrasts))


# Pages with words ---------------------------------------------------------------------------------

LONGEST = 22  # heights of a digit: no sign of a line begins beyond that


def compose_page_with_words(difficulty, hands, rng) -> ComposedPage:
    """Compose a page of words, sums, bills and entries, no more digits than other signs.

    Every fifth page, by chance, has no digit. Letters and words are by the people of ``hands``.
    """
    height = int(rng.integers(36, 91))
    hand, pen = hand_of_page(difficulty, hands, rng)
    slope = np.tan(np.radians(rng.uniform(-difficulty.slope, difficulty.slope)))
    kinds = ["words"] if rng.random() < 0.2 else list(KINDS)
    alphabet = alphabet_beside(hand, hands, rng)
    with_pen = Pen(
        digit=lambda size: plain_digit(size, pen, hands, hand, rng),
        stroke=lambda item, size: draw_pen_digit(item, size, pen * height),
    )
    distance = height * rng.uniform(1.65, 2.3)
    num_lines = rng.integers(3, 8)
    rows: list[list[Sign]] = []
    num_digits = num_others = 0
    while len(rows) < num_lines or num_others < num_digits:
        kind = rng.choice(kinds) if len(rows) < num_lines else "words"
        text = some_text(kind, hands.words, rng)
        start = height * rng.uniform(0, 2)
        base = distance * len(rows)
        row = []
        for sign in write_text(text, height, alphabet, hands, with_pen, rng):
            left = start + sign.left
            if left > LONGEST * height:
                break
            row.append(sign._replace(top=base + slope * left + sign.top, left=left))
            is_digit = 0 <= sign.label <= 9
            num_digits += is_digit
            num_others += not is_digit
        rows.append(row)
    ink, labels, boxes = lay_rows(rows, height, rng)
    if rng.random() < 0.25:
        add_frames(ink, [box for row in boxes for box in row], height, rng)
    page = photo_of_page(ink, labels, boxes, height, pen, slope, difficulty, rng)
    return page._replace(num_others=num_others)


# What is hard in a way of its own -----------------------------------------------------------------


def compose_crop(difficulty, hands, rng) -> ComposedPage:
    """Compose a picture that a 1 or a 7, by a thin pen, fills from the top to the bottom."""
    tall = [digit for hand in hands.writers for digit in hand.digits if digit.label in (1, 7)]
    digit = tall[rng.integers(len(tall))]
    height = int(rng.integers(20, 101))
    pen = rng.uniform(0.02, 0.04)
    ink = draw_pen_digit(digit, height, max(1, pen * height))
    sign = Sign(digit.label, -ink.shape[0], 0, ink)
    page = photo_of_page(*lay_rows([[sign]], height, rng), height, pen, 0, difficulty, rng)
    ((top, left, bottom, right),) = page.boxes[0]
    room, at_side = rng.integers(0, 3), rng.integers(0, height // 2)  # pixels
    first, begin = max(0, top - room), max(0, left - at_side)
    photo = page.photo[first : bottom + room, begin : right + at_side]
    box = (top - first, left - begin, bottom - first, right - begin)
    return page._replace(photo=photo, boxes=[[box]])


def compose_joined(difficulty, hands, rng) -> ComposedPage:
    """Compose a page of numbers of three to five digits, each written in one go."""
    hand, pen = None, 0.0
    while hand is None:
        hand, pen = hand_of_page(difficulty, hands, rng)
    height = int(rng.integers(50, 141))
    rows = []
    for row in range(rng.integers(1, 4)):
        chosen = rng.integers(len(hand.digits), size=rng.integers(3, 6))
        digits = [hand.digits[index] for index in chosen]
        signs = write_joined(digits, height, max(1, pen * height), rng)
        rows.append([sign._replace(top=sign.top + 2 * height * row) for sign in signs])
    return photo_of_page(*lay_rows(rows, height, rng), height, pen, 0, difficulty, rng)


def compose_heading(difficulty, hands, rng) -> ComposedPage:
    """Compose a page whose first number is two and a half to four times as large as the others."""
    height = int(rng.integers(30, 61))
    hand, pen = hand_of_page(difficulty, hands, rng)
    rows = []
    base = 0.0
    for row in range(rng.integers(3, 6)):
        size = height * (rng.uniform(2.5, 4) if row == 0 else rng.uniform(0.9, 1.1))
        base += 1.6 * max(size, height)
        left = 0.0
        rows.append([])
        for _ in range(rng.integers(2, 4 if row == 0 else 8)):
            label, ink = plain_digit(size, pen, hands, hand, rng)
            rows[-1].append(Sign(label, base - ink.shape[0], left, ink))
            left += ink.shape[1] + size * rng.uniform(0.15, 0.6)
    return photo_of_page(*lay_rows(rows, height, rng), height, pen, 0, difficulty, rng)
