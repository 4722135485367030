"""Photos of handwritten digits that are composed, so that the right answer is known.

``write_line`` lays MNIST's digits side by side, and ``photograph`` makes a photo of what it gives.
``compose_page`` makes photos of whole pages that are harder to read, by a marker or a pen.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from handwriting.data import PenDigit

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
        path = [tuple(point) for point in (stroke - corner) * scale + radius]
        drawing.line(path, fill=255, width=round(2 * radius), joint="curve")
        for x, y in (path[0], path[-1]):  # round ends
            drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(picture.resize((int(width), int(height)), Image.Resampling.BOX)) / 255


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
READABLE = 3  # a page is readable if all ink stands out by so many standard deviations (see Page)


class Page(NamedTuple):
    """A composed photo, and what is written on it."""

    photo: np.ndarray  # uint8, (H, W)
    rows: list[list[int]]  # the labels, from top to bottom and from left to right
    boxes: list[list[tuple[int, int, int, int]]]  # top, left, bottom, right of each, in pixels
    contrast: float  # the faintest tenth of a digit's ink, in standard deviations of its paper


def compose_page(difficulty: Difficulty, mnist, pen_digits, rng: np.random.Generator) -> Page:
    """Compose the photo of a page of one to five rows, or of a column of digits.

    Half of the pages are written with MNIST's digits, thick as by a marker, and half by one of the
    pen digits' writers with a pen.

    Args:
        mnist: a dataset, as ``load_mnist`` gives it.
        pen_digits: as ``load_pen_digits`` gives them.
    """
    height = int(rng.integers(50, 141))  # of a digit, in pixels
    pen = 0.1  # of its height, about as MNIST's strokes
    hand = None
    if rng.random() < 0.5:
        pen = rng.uniform(*difficulty.pen)
        writer = rng.choice(sorted({digit.writer for digit in pen_digits}))
        hand = [digit for digit in pen_digits if digit.writer == writer]
    slope = np.tan(np.radians(rng.uniform(-difficulty.slope, difficulty.slope)))

    ink, rows, boxes = write_page(height, pen, hand, mnist, slope, rng)
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
    file = io.BytesIO()
    Image.fromarray((255 * photo).clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=60)
    return Page(np.asarray(Image.open(file)), rows, boxes, contrast)


def write_page(height, pen, hand, mnist, slope, rng):
    """Return the ink of a page (H, W), and of its rows the labels and the boxes of the digits."""
    is_column = rng.random() < 0.15
    num_rows = rng.integers(3, 8) if is_column else rng.integers(1, 6)
    distance = height * rng.uniform(1.65, 2.3)  # from one row to the next
    placed = []  # row, label, top, left, ink
    for row in range(num_rows):
        left = height * rng.uniform(0, 0.8)
        for _ in range(1 if is_column else rng.integers(1, 11)):
            size = height * rng.uniform(0.7, 1.35)
            if hand is None:
                index = rng.integers(len(mnist))
                label, ink = int(mnist.targets[index]), trimmed(mnist.data[index].numpy(), size)
            else:
                digit = hand[rng.integers(len(hand))]
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
    ink = np.asarray(Image.fromarray(image).resize((side, side))) / 255
    rows, columns = np.nonzero(ink > INK)
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
    """How a reader did on one composed page; of a page that it refused, all digits are refused."""

    digits: int
    refused: int
    found: int
    right: int
    lost: int  # in silence
    extra: int  # read where there is no digit
    in_rows: bool  # each row has as many digits as it should


def score_page(page: Page, rows: list, boxes: list[list[tuple]] | None) -> Score:
    """Compare what was read with what is written.

    Args:
        rows: of each row the digits read.
        boxes: where they lie, in pixels of the photo; None if the page was refused.
    """
    labels = [label for row in page.rows for label in row]
    if boxes is None:
        return Score(len(labels), len(labels), 0, 0, 0, 0, False)
    free = [(digit, box) for row, places in zip(rows, boxes, strict=True)
            for digit, box in zip(row, places, strict=True)]  # fmt: skip
    found = right = 0
    for label, place in zip(labels, [box for row in page.boxes for box in row], strict=True):
        best = max(free, key=lambda answer: overlap(answer[1], place), default=None)
        if best is not None and overlap(best[1], place) > 0.3:
            free.remove(best)
            found += 1
            right += best[0] == label
    in_rows = [len(row) for row in rows] == [len(row) for row in page.rows]
    return Score(len(labels), 0, found, right, len(labels) - found, len(free), in_rows)


def overlap(a: tuple, b: tuple) -> float:
    """Return what two boxes share, as a share of what they cover together."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
