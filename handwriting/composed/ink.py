"""Composed ink, from 0 to 1: digits as by a marker or a pen, and marks that are no digits."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from handwriting.composed.paper import ramp, smooth_noise
from handwriting.data import PenDigit, Written

INK = 0.2  # of 1: what has less ink than this is the margin of a digit's image
FINE = 4  # what a pen draws is so many times as large first, so that its edges are soft
# What no digit looks like, in the typefaces that come with matplotlib.
LETTERS = list("AaCcdEeFfGHhJjKkLMmNnPpRrTtUuVvWwXxYy%&#?!")
TYPEFACES = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))


# Digits -------------------------------------------------------------------------------------------


def draw_pen_digit(digit: PenDigit | Written, size: float, pen: float) -> np.ndarray:
    """Return its ink, from 0 to 1, ``size`` pixels at the longer side, by a pen as many wide."""
    points = np.concatenate(digit.strokes)
    corner = points.min(axis=0)
    extent = np.maximum(np.ptp(points, axis=0), 1)
    scale = FINE * max(0, size - pen) / extent.max()  # a full stop is as large as the pen is wide
    radius = max(1, FINE * pen / 2)
    width, height = np.ceil((extent * scale + 2 * radius) / FINE).astype(int) + 1
    picture = Image.new("L", (int(width) * FINE, int(height) * FINE), 0)
    drawing = ImageDraw.Draw(picture)
    for stroke in digit.strokes:
        draw_round_ended(drawing, (stroke - corner) * scale + radius, round(2 * radius), radius)
    return np.asarray(picture.resize((int(width), int(height)), Image.Resampling.BOX)) / 255


def draw_round_ended(drawing, points: np.ndarray, width: int, radius: float) -> None:
    """Draw a line through points, (N, 2), with a dot of this radius at either end."""
    path = [tuple(point) for point in points]
    drawing.line(path, fill=255, width=width, joint="curve")
    for x, y in (path[0], path[-1]):
        drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def trimmed(image: np.ndarray, size: float) -> np.ndarray:
    """Scale an image of MNIST so that its digit is about ``size`` high, and take off the margin."""
    side = round(size * 28 / 20)
    return without_margin(np.asarray(Image.fromarray(image).resize((side, side))) / 255)


def without_margin(ink: np.ndarray) -> np.ndarray:
    """Cut ink out along its box; one so faint that there is no box stays as it is."""
    rows, columns = np.nonzero(ink > INK)
    if len(rows) == 0:
        return ink
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def any_digit(size, pen, hands, hand, rng):
    """Return a label and the ink of a digit, ``size`` pixels at the longer side, leaning a bit.

    By a person's hand, or by a marker if that is None. Many a zero is smaller than that, as the
    letter o is smaller than others.
    """
    matrix = leaning(rng)
    of_zeros = rng.uniform(0.5, 1) if rng.random() < 0.5 else 1
    if hand is None:
        index = rng.integers(len(hands.images))
        label = int(hands.labels[index])
        size *= of_zeros if label == 0 else 1
        return label, marker_digit(hands.images[index], size, matrix, rng)
    digit = hand.digits[rng.integers(len(hand.digits))]
    if digit.label == 0:
        pen, size = pen / of_zeros, size * of_zeros  # the pen is as wide as for the others
    strokes = wavy([stroke @ matrix.T for stroke in digit.strokes], rng)
    if rng.random() < 0.4:
        strokes += added_in_europe(digit.label, strokes, rng)
    return digit.label, draw_pen_digit(digit._replace(strokes=strokes), size, pen * size)


def leaning(rng, most: float = 1) -> np.ndarray:
    """Return a matrix that turns by up to 10 degrees, stretches and shears, or a share of that."""
    turn = most * np.radians(rng.uniform(-10, 10))
    cos, sin = np.cos(turn), np.sin(turn)
    stretch, lean = np.exp(most * rng.uniform(-0.2, 0.2)), most * rng.uniform(-0.25, 0.25)
    return np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, lean], [0, 1]])


def marker_digit(image, size, matrix, rng) -> np.ndarray:
    """Return the ink of an image of MNIST, moved by a matrix, and thicker or thinner than it is."""
    side = round(1.8 * size)
    look = np.linalg.inv(matrix) * 20 / size  # from a place in the new image to one in the old
    start = 14 - look @ np.array([side / 2, side / 2])
    places = (*look[0], start[0], *look[1], start[1])
    picture = Image.fromarray(image)
    bicubic = Image.Resampling.BICUBIC
    ink = np.asarray(picture.transform((side, side), Image.Transform.AFFINE, places, bicubic)) / 255
    edge = rng.uniform(0.25, 0.65)  # the lower, the thicker
    sharpness = np.clip(size / 20, 1, 4) * rng.uniform(1, 2)
    return without_margin((0.5 + sharpness * (ink - edge)).clip(0, 1))


def wavy(strokes: list[np.ndarray], rng) -> list[np.ndarray]:
    """Move the points of a digit by a slow wave, as no hand writes the same twice."""
    size = np.ptp(np.concatenate(strokes), axis=0).max()
    height = rng.uniform(0, 0.06) * size
    waves = rng.uniform(0.5, 1.5, 2) * 2 * np.pi / max(size, 1)
    starts = rng.uniform(0, 2 * np.pi, 2)
    # Each coordinate is moved by what the other one is.
    return [stroke + height * np.sin(waves * stroke[:, ::-1] + starts) for stroke in strokes]


def added_in_europe(label, strokes, rng) -> list[np.ndarray]:
    """Return what many people there add: a long stroke that leads up to a 1, a bar through a 7."""
    points = np.concatenate(strokes)
    top, bottom = points[points[:, 1].argmin()], points[points[:, 1].argmax()]
    width, height = np.ptp(points, axis=0)
    if label == 1 and width < 0.4 * height:
        start = top + height * np.array([-rng.uniform(0.15, 0.55), rng.uniform(0.2, 0.75)])
        return [np.array([start, top])]
    if label == 7 and len(strokes) == 1:
        middle = top + rng.uniform(0.45, 0.6) * (bottom - top)
        bar = width * np.array([rng.uniform(0.2, 0.45), rng.uniform(-0.1, 0.1)])
        return [np.array([middle - bar, middle + bar])]
    return []


def pressure_of_hand(shape, least, height, rng):
    """The share of its full depth that ink has: it fades along the page, and within digits."""
    within = (0.5 + 0.5 * smooth_noise(shape, height / 3, rng)).clip(0, 1)
    share = rng.uniform()
    fading = share * ramp(shape, rng) + (1 - share) * within
    return 1 - (1 - least) * rng.uniform(0.5, 1) * fading


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


# Marks --------------------------------------------------------------------------------------------

# Of each kind of mark its lines, from 0 to 1 to the right and downwards.
MARKS = {
    "dash": [[(0, 0.5), (1, 0.5)]],
    "slope": [[(0, 0.8), (1, 0.2)]],
    "plus": [[(0, 0.5), (1, 0.5)], [(0.5, 0), (0.5, 1)]],
    "cross": [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
    "equals": [[(0, 0.35), (1, 0.35)], [(0, 0.7), (1, 0.7)]],
    "tick": [[(0, 0.6), (0.35, 1), (1, 0)]],
}


def draw_mark(size, pen, words, rng) -> np.ndarray:
    """Return the ink of a mark that is no digit, up to ``size`` pixels large."""
    kind = rng.choice([*MARKS, "dot", "curve", "scribble", *["letters"] * 7])
    if kind == "letters":
        return draw_letters(size, words, rng)
    if kind == "dot":
        pen = max(pen, 0.12 * size) * rng.uniform(0.8, 2)
        lines = [np.full((2, 2), 0.5)]
        size = pen
    elif kind == "curve":
        lines = [smooth_path(rng.uniform(0, 1, (rng.integers(3, 8), 2)))]
    elif kind == "scribble":
        lines = [rng.uniform(0.1, 0.9, (rng.integers(15, 40), 2))]
    else:
        lines = [np.array(line) + rng.uniform(-0.1, 0.1, (len(line), 2)) for line in MARKS[kind]]
    side = int(1.2 * size + 2 * pen) + 2
    picture = Image.new("L", (FINE * side, FINE * side), 0)
    drawing = ImageDraw.Draw(picture)
    for line in lines:
        points = FINE * (pen + 1 + size * (line + 0.1))
        draw_round_ended(drawing, points, max(2, round(FINE * pen)), FINE * pen / 2)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX)) / 255


def add_frames(ink: np.ndarray, boxes: list, height: float, rng) -> None:
    """Draw a frame around each of these boxes, or around some."""
    share = rng.choice([0.3, 1])
    gap = height * rng.uniform(0.1, 0.6)
    thickness = max(1, height * rng.uniform(0.02, 0.1))
    depth = rng.uniform(0.3, 1)
    for top, left, bottom, right in boxes:
        if rng.random() < share:
            frame = np.zeros(ink.shape)
            for far, value in ((gap + thickness, depth), (gap, 0)):
                view_of_box(frame, (top - far, left - far, bottom + far, right + far))[:] = value
            np.maximum(ink, frame, out=ink)


def smooth_path(points: np.ndarray) -> np.ndarray:
    """Return 40 points of a curve that passes near a few, (N, 2)."""
    along = np.linspace(0, len(points) - 1, 40)
    path = np.stack([np.interp(along, range(len(points)), axis) for axis in points.T], axis=1)
    return ndimage.gaussian_filter1d(path, 3, axis=0)


def draw_letters(size, words, rng) -> np.ndarray:
    """Return the ink of a printed word, or of a letter."""
    font = typeface(TYPEFACES[rng.integers(len(TYPEFACES))], max(6, round(size)))
    word = words[rng.integers(len(words))].label
    if len(word) < 3 or rng.random() < 0.5:
        word = "".join(rng.choice(LETTERS, rng.integers(1, 7)))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(word))
    picture = Image.new("L", (right - left + 2, bottom - top + 2), 0)
    ImageDraw.Draw(picture).text((1 - left, 1 - top), word, 255, font)
    return np.asarray(picture.rotate(rng.uniform(-5, 5), Image.Resampling.BILINEAR)) / 255


@cache
def typeface(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
