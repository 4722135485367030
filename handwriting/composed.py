"""Photos of handwritten digits that are composed, so that the right answer is known.

``write_line`` lays MNIST's digits side by side, and ``photograph`` makes a photo of what it gives.
``compose_page`` makes photos of whole pages that are harder to read, by a marker or a pen.
"""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch.utils.data import Dataset

from handwriting.data import Hands, PenDigit

HEIGHT = 72  # of a digit's image, in pixels, before it gets a size of its own
INK = 0.2  # of 1: columns with less ink than this are the margin of a digit's image
RULE_DISTANCE = 40  # pixels from one ruled line to the next
RULE_DEPTH = 0.3  # of 1: how much darker than the paper a ruled line is
INK_DEPTH = 0.85  # ... and the ink
NOISE = 0.03  # standard deviation of the grey values, of 1


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


def photograph(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add what a camera sees: ruled lines, a page that lies askew, light from one side, and noise.

    Returns:
        Grey values, uint8, of the shape of the ink.
    """
    height, width = ink.shape
    rules = np.zeros_like(ink)
    for row in range(rng.integers(RULE_DISTANCE), height, RULE_DISTANCE):
        rules[row : row + 2] = 1
    page = (1 - RULE_DEPTH * rules) * (1 - INK_DEPTH * ink)
    picture = Image.fromarray(page.astype(np.float32))
    askew = picture.rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC, fillcolor=1)
    light = 0.75 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, width)
    light = light + rng.uniform(-0.1, 0.1) * np.linspace(-1, 1, height)[:, None]
    noise = NOISE * rng.standard_normal(ink.shape)
    return (255 * (light * askew + noise)).clip(0, 255).astype(np.uint8)


# Pages --------------------------------------------------------------------------------------------


def draw_pen_digit(digit: PenDigit, size: float, pen: float) -> np.ndarray:
    """Return its ink, from 0 to 1, ``size`` pixels at the longer side, by a pen as many wide."""
    fine = 4  # drawn so many times as large first, so that its edges are soft in the end
    points = np.concatenate(digit.strokes)
    corner = points.min(axis=0)
    extent = np.maximum(np.ptp(points, axis=0), 1)
    scale = fine * (size - pen) / extent.max()
    radius = max(1, fine * pen / 2)
    width, height = np.ceil((extent * scale + 2 * radius) / fine).astype(int) + 1
    picture = Image.new("L", (int(width) * fine, int(height) * fine), 0)
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
SAME_PLACE = 0.3  # what overlaps by as much is the same digit (see overlap)
SURE = 0.9
READABLE = 3  # a page is readable if all ink stands out by so many standard deviations (see Page)


class Page(NamedTuple):
    """A composed photo, and what is written on it."""

    photo: np.ndarray  # uint8, (H, W)
    rows: list[list[int]]  # the labels, from top to bottom and from left to right
    boxes: list[list[tuple[int, int, int, int]]]  # top, left, bottom, right of each, in pixels
    contrast: float  # the faintest tenth of a digit's ink, in standard deviations of its paper


def compose_page(difficulty: Difficulty, hands: Hands, rng: np.random.Generator) -> Page:
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
    return Page(np.asarray(from_jpeg(as_grey(photo), quality=60)), rows, boxes, contrast)


def as_grey(photo: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * photo).clip(0, 255).astype(np.uint8))


def from_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Return what is left of a picture that was stored as a JPEG."""
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return Image.open(file)


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
                own = hands.writers[writer]
                digit = own[rng.integers(len(own))]
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


def smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return values of mean 0 and standard deviation 1 that are alike within ``sigma`` pixels."""
    step = max(1, int(sigma / 2))  # made small, and then enlarged
    small = [side // step + 4 for side in shape]
    noise = ndimage.gaussian_filter(rng.standard_normal(small), sigma / step)
    noise = (noise / noise.std()).astype(np.float32)
    large = Image.fromarray(noise).resize(
        (small[1] * step, small[0] * step), Image.Resampling.BICUBIC
    )
    return np.asarray(large)[: shape[0], : shape[1]]


def ramp(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Values that grow from 0 to 1 across the page, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    down, right = np.linspace(0, 1, shape[0])[:, None], np.linspace(0, 1, shape[1])
    values = np.sin(angle) * down + np.cos(angle) * right
    return (values - values.min()) / np.ptp(values)


def pressure_of_hand(shape, least, height, rng):
    """The share of its full depth that ink has: it fades along the page, and within digits."""
    within = (0.5 + 0.5 * smooth_noise(shape, height / 3, rng)).clip(0, 1)
    share = rng.uniform()
    fading = share * ramp(shape, rng) + (1 - share) * within
    return 1 - (1 - least) * rng.uniform(0.5, 1) * fading


def paper_of_page(shape, deepest_rule, height, slope, rng):
    """Grain of three sizes, and no lines, or lines, or squares."""
    paper = np.ones(shape)
    for strength, sigma in ((0.012, 1.5), (0.012, 6), (0.015, 40)):
        paper += strength * smooth_noise(shape, sigma, rng)
    kind = rng.choice(["plain", "ruled", "squared"], p=[0.4, 0.35, 0.25])
    distance = height * (rng.uniform(0.4, 1) if kind == "squared" else rng.uniform(1, 1.6))
    thickness = max(1, 0.02 * height)
    down, right = np.mgrid[: shape[0], : shape[1]]
    start = rng.uniform(0, distance)
    lines = np.zeros(shape)
    if kind != "plain":
        lines = line_at(down - slope * right + start, distance, thickness)
    if kind == "squared":
        lines = np.maximum(lines, line_at(right + slope * down + start, distance, thickness))
    return paper * (1 - rng.uniform(0.08, deepest_rule) * lines)


def line_at(place: np.ndarray, distance: float, thickness: float) -> np.ndarray:
    """1 on lines at multiples of a distance, and 0 between them."""
    from_line = np.abs(place % distance - distance / 2)
    return (thickness - from_line + 0.5).clip(0, 1)


def beside_a_table(paper, written, height, rng):
    """Show at one side of the photo the table on which the page lies."""
    wood = rng.uniform(0.15, 0.6) * (1 + 0.1 * smooth_noise(paper.shape, 4, rng))
    width = int(height * rng.uniform(0.15, 0.35))
    turns = rng.integers(4)
    table = np.zeros(paper.shape, bool)
    np.rot90(table, turns)[:width] = True
    return np.where(table, wood, paper), np.where(table, wood, written)


def light_on_page(shape, brightness, slope, rng):
    """Light from one side; on some pages the shadow of a hand, or a fold."""
    light = rng.uniform(*brightness) * (1 + rng.uniform(0, 0.5) * (ramp(shape, rng) - 0.5))
    down, right = np.mgrid[: shape[0], : shape[1]]
    if rng.random() < 0.35:
        distance = (ramp(shape, rng) - rng.uniform(0.2, 0.8)) * max(shape)
        softness = rng.uniform(2, 30)
        in_shadow = 1 / (1 + np.exp(-(distance / softness).clip(-30, 30)))
        light *= 1 - rng.uniform(0.2, 0.45) * in_shadow
    if rng.random() < 0.2:
        across = down - slope * right - shape[0] * rng.uniform(0.1, 0.9)
        upright = right - shape[1] * rng.uniform(0.1, 0.9)
        distance = np.abs(across if rng.random() < 0.5 else upright)
        light *= 1 - rng.uniform(0.05, 0.15) * np.exp(-distance / rng.uniform(3, 10))
    return light


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
        own = ink[top:bottom, left:right] > 0.5 * ink[top:bottom, left:right].max()
        faintest = np.quantile(depth[top:bottom, left:right][own], 0.1)
        around = paper[
            max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin
        ]
        contrasts.append(faintest / around.std())
    return float(min(contrasts))


class Score(NamedTuple):
    """How a reader did on one composed page; ``add_scores`` adds up several."""

    digits: int
    right: int
    lost: int  # nothing was read where they are
    invented: int  # read where there is no digit
    wrong_and_sure: int  # invented, or another digit, with a probability of 90 % or more
    refused: int  # digits of a page that the reader refused; this one refuses none
    whole: int  # 1 if all digits are right and in their rows, and none is invented


def score_page(page: Page, rows: list[list]) -> Score:
    """Compare what was read, rows of digit, probability and box, with what is written."""
    free = [reading for row in rows for reading in row]
    right = lost = wrong_and_sure = 0
    labels = [label for row in page.rows for label in row]
    for label, place in zip(labels, [box for row in page.boxes for box in row], strict=True):
        best = max(free, key=lambda reading: overlap(reading[2], place), default=None)
        if best is None or overlap(best[2], place) < SAME_PLACE:
            lost += 1
            continue
        free.remove(best)
        digit, probability, _ = best
        right += digit == label
        wrong_and_sure += digit != label and probability >= SURE
    wrong_and_sure += sum(probability >= SURE for _, probability, _ in free)
    is_all_found = lost == 0 and not free
    digits = [[digit for digit, _, _ in row] for row in rows]
    whole = int(is_all_found and digits == page.rows)
    return Score(len(labels), right, lost, len(free), wrong_and_sure, 0, whole)


def add_scores(scores: list[Score]) -> dict[str, int]:
    return {
        name: sum(counts)
        for name, counts in zip(Score._fields, zip(*scores, strict=True), strict=True)
    }


def overlap(a: tuple, b: tuple) -> float:
    """Return what two boxes share, as a share of what they cover together."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


# Pieces of pages ----------------------------------------------------------------------------------

PIECE = 128  # pixels: the sides of a piece
FINE = 4  # marks are drawn so many times as large first, so that their edges are soft
# What no digit looks like, in the typefaces that come with matplotlib.
LETTERS = list("AaCcdEeFfGHhJjKkLMmNnPpRrTtUuVvWwXxYy%&#?!")
TYPEFACES = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf"))


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
            is_hidden = inside(cloth | outside, box).any()
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


def log_uniform(low, high, rng) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def height_of_piece(rng) -> float:
    """A digit's height in pixels: mostly one of those to find, and else a smaller or larger one."""
    low, high = [(13, 42), (2.5, 14), (40, 200)][rng.choice(3, p=[0.67, 0.14, 0.19])]
    return log_uniform(low, high, rng)


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


def any_digit(size, pen, hands, writer, rng):
    """Return a label and the ink of a digit, ``size`` pixels at the longer side, leaning a bit."""
    turn = np.radians(rng.uniform(-10, 10))
    cos, sin = np.cos(turn), np.sin(turn)
    stretch, lean = np.exp(rng.uniform(-0.2, 0.2)), rng.uniform(-0.25, 0.25)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, lean], [0, 1]])
    if writer is None:
        index = rng.integers(len(hands.images))
        return int(hands.labels[index]), marker_digit(hands.images[index], size, matrix, rng)
    own = hands.writers[writer]
    digit = own[rng.integers(len(own))]
    strokes = wavy([stroke @ matrix.T for stroke in digit.strokes], rng)
    if rng.random() < 0.4:
        strokes += added_in_europe(digit.label, strokes, rng)
    return digit.label, draw_pen_digit(digit._replace(strokes=strokes), size, pen * size)


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


def inside(picture: np.ndarray, box) -> np.ndarray:
    """Return what a picture has in a box, of which a part may lie outside."""
    top, left, bottom, right = (max(0, int(edge)) for edge in box)
    return picture[top:bottom, left:right]


def lay_down(page, ink, top, left) -> bool:
    """Add ink to a page, which may end before the ink does; tell whether any of it is on it."""
    area = inside(page, (top, left, top + ink.shape[0], left + ink.shape[1]))
    if area.size == 0:
        return False
    first, begin = max(0, -top), max(0, -left)
    ink = ink[first : first + area.shape[0], begin : begin + area.shape[1]]
    np.maximum(area, ink, out=area)
    return True


def add_marks(ink, boxes, height, pen, slope, rng):
    """Add what is no digit: marks beside the digits, and now and then lines that may cross them."""
    taken = np.zeros(ink.shape, bool)
    for top, left, bottom, right in boxes:
        inside(taken, (top - 1, left - 1, bottom + 1, right + 1))[:] = True
    if rng.random() < 0.4:
        height = log_uniform(8, 80, rng)
    for _ in range(rng.integers(8, 40) if rng.random() < 0.3 else rng.integers(1, 7)):
        size = height * rng.uniform(0.4, 1.3)
        mark = draw_mark(size, max(0.8, pen * height), rng)
        top, left = (int(rng.integers(-side // 2, PIECE - side // 2)) for side in mark.shape)
        place = inside(taken, (top, left, top + mark.shape[0], left + mark.shape[1]))
        if not place.any():
            lay_down(ink, mark, top, left)
            place[:] = True
    if rng.random() < 0.15:  # a frame, a fraction bar, a margin
        down, right = np.mgrid[:PIECE, :PIECE]
        place = down - slope * right if rng.random() < 0.6 else right + slope * down
        line = line_at(place, rng.uniform(30, 200), max(0.5, pen * height / 2))
        np.maximum(ink, rng.uniform(0.3, 1) * line, out=ink)


# Of each kind of mark its lines, from 0 to 1 to the right and downwards.
MARKS = {
    "dash": [[(0, 0.5), (1, 0.5)]],
    "slope": [[(0, 0.8), (1, 0.2)]],
    "plus": [[(0, 0.5), (1, 0.5)], [(0.5, 0), (0.5, 1)]],
    "cross": [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
    "equals": [[(0, 0.35), (1, 0.35)], [(0, 0.7), (1, 0.7)]],
    "tick": [[(0, 0.6), (0.35, 1), (1, 0)]],
}


def draw_mark(size, pen, rng) -> np.ndarray:
    """Return the ink of a mark that is no digit, up to ``size`` pixels large."""
    kind = rng.choice([*MARKS, "dot", "curve", "scribble", *["letters"] * 7])
    if kind == "letters":
        return draw_letters(size, rng)
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


def smooth_path(points: np.ndarray) -> np.ndarray:
    """Return 40 points of a curve that passes near a few, (N, 2)."""
    along = np.linspace(0, len(points) - 1, 40)
    path = np.stack([np.interp(along, range(len(points)), axis) for axis in points.T], axis=1)
    return ndimage.gaussian_filter1d(path, 3, axis=0)


def draw_letters(size, rng) -> np.ndarray:
    """Return the ink of a printed word, or of a letter."""
    font = typeface(TYPEFACES[rng.integers(len(TYPEFACES))], max(6, round(size)))
    word = "".join(rng.choice(LETTERS, rng.integers(1, 7)))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(word))
    picture = Image.new("L", (right - left + 2, bottom - top + 2), 0)
    ImageDraw.Draw(picture).text((1 - left, 1 - top), word, 255, font)
    return np.asarray(picture.rotate(rng.uniform(-5, 5), Image.Resampling.BILINEAR)) / 255


@cache
def typeface(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


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
