"""From a photo of a whole page to its digits, row by row: what notebook 05 explains last.

``read_digits`` reads a page, and ``plot_reading`` shows what it read. Both go these steps:
``trace_ink`` follows each stroke where it fades, ``join_strokes`` says which strokes are one digit,
``sort_into_rows`` orders the digits, and ``find_missed`` looks for ink that nobody has read.
"""

from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import ndimage
from skimage import filters, measure
from torch import Tensor

from handwriting.digit import MIN_SIDE, as_in_mnist, load_grey, odd, rescale, resize
from mnist_helpers import AUGMENTED_PATH, BLUE, ORANGE, Network, load_checkpoint

# Pixels of the longer side of a picture.
FIRST_SIDE = 1000  # of a page, when the size of its digits is not known yet
PAGE_SIDE = 2000  # of a page, at most

DIGIT_HEIGHT = 80  # pixels that a page's digits have when their ink is looked for
UNSURE = 0.9  # a digit of a lower probability is shown in orange


class Box(NamedTuple):
    """Where something lies on a picture, in pixels; ``bottom`` and ``right`` are just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


class Part(NamedTuple):
    """Some ink of a picture: a stroke, or a digit."""

    box: Box
    ink: np.ndarray  # bool, of the box's height and width


class Page(NamedTuple):
    """What was found on a picture of digits."""

    grey: np.ndarray  # float32 (H, W): the picture at the size at which its ink was looked for
    rows: list[list[Part]]  # its digits, from top to bottom and from left to right
    unread: list[tuple[Box, str]]  # ink that could be digits too, and why it can't be read


def read_digits(picture) -> list[list[tuple[int, float]]]:
    """Read a page of digits, with the weights that notebook 06 trained.

    Args:
        picture: a path, a PIL image, or an array as ``load_grey`` takes it.

    Returns:
        The rows from top to bottom, each a list of its digits from left to right, each with its
        probability. A single line is a page of one row.

    Raises:
        FileNotFoundError: there is no file of this path.
        ValueError: the picture can't be read, shows no digit, or shows ink that could be a digit
            and can't be read. It says where.
    """
    return name_digits(find_all_digits(picture))


def find_all_digits(picture) -> list[list[Part]]:
    """Return the digits of a page, row by row. Takes and raises what ``read_digits`` does."""
    page = find_digits(picture)
    if page.unread:
        box, fault = page.unread[0]
        height, width = page.grey.shape
        across = (box.left + box.right) / 2 / width
        down = (box.top + box.bottom) / 2 / height
        raise ValueError(
            f"{fault}, {across:.0%} of the way from the left edge of the picture and {down:.0%} "
            "from its top (plot_reading shows it). Take a sharper or lighter photo, write it anew "
            "with more space around it, or cut it out of the picture"
        )
    return page.rows


@torch.inference_mode()
def name_digits(rows: list[list[Part]]) -> list[list[tuple[int, float]]]:
    """Return for each digit what the network reads, and its probability."""
    log_probs = load_network()(images_of(rows))  # (N, 10)
    probabilities, names = log_probs.exp().max(dim=1)
    answers = iter(zip(names.tolist(), probabilities.tolist(), strict=True))
    return [[next(answers) for _ in row] for row in rows]


def images_of(rows: list[list[Part]]) -> Tensor:
    """Return an image as in MNIST of each digit, float32 of shape (N, 1, 28, 28), row by row."""
    return torch.stack([as_in_mnist(thicken(digit.ink)) for row in rows for digit in row])


@cache
def load_network() -> Network:
    model = Network().eval()
    load_checkpoint(model, AUGMENTED_PATH)
    return model


def plot_reading(picture) -> plt.Axes:
    """Show a page with a box around each digit, and above it what was read.

    What the network is less sure of than 90 % is orange, with a question mark, and so is ink that
    can't be read. Takes and raises what ``read_digits`` does, but for such ink.
    """
    page = find_digits(picture)
    height, width = page.grey.shape
    _, ax = plt.subplots(figsize=(9, min(9, 0.5 + 9 * height / width)), layout="constrained")
    ax.imshow(page.grey, cmap="gray")
    ax.set(title="blue: read; orange: unsure, or not read", xticks=[], yticks=[])
    names = name_digits(page.rows) if page.rows else []
    for row, answers in zip(page.rows, names, strict=True):
        for digit, (name, probability) in zip(row, answers, strict=True):
            if probability >= UNSURE:
                draw_box(ax, digit.box, f"{name}", BLUE)
            else:
                draw_box(ax, digit.box, f"{name}?", ORANGE)
    for box, _ in page.unread:
        draw_box(ax, box, "?", ORANGE, style="--")
    return ax


def draw_box(ax: plt.Axes, box: Box, text: str, color: str, style: str = "-") -> None:
    corner = (box.left, box.top)
    frame = plt.Rectangle(corner, box.width, box.height, fill=False, color=color, linestyle=style)
    ax.add_patch(frame)
    ax.text(*corner, text, color=color, fontsize=11, fontweight="bold", va="bottom")


# From grey values to ink --------------------------------------------------------------------------

SMOOTHING = 1.5  # pixels, the σ of a bell curve: takes off the grain, and leaves a thin stroke
PAPER_WINDOW = 0.75  # of a digit's height; strokes are narrower, and most shadows wider
# Under darker paper than this share of the lightest, depths are not made larger any more: there
# lies no paper but a table, or there is too little light.
DARKEST_PAPER = 0.5
TILE = 1.5  # of a digit's height: the grain is measured in squares of this side
# Depths that ink must have. (These values, and those of traces below, were chosen on composed
# pages; notebook 05 measures on others.) In units of the grain, so that no noise is taken for ink,
SURE_GRAINS = 5
FAINT_GRAINS = 2.5
# ... and as shares of the depth of the full ink, so that no stain on clean paper is.
SURE_SHARE = 0.22
FAINT_SHARE = 0.1
# What is fainter is not read, but it is a hint that something was written there.
HINT_GRAINS = 3
HINT_SHARE = 0.07
MIN_DEPTH = 0.06  # of the paper's grey value, for the full ink: paper itself is that uneven
# Of the paper's grey value: what is so much darker at the picture's edge is no paper.
EDGE_STEP = 0.25


def with_dark_ink(grey: np.ndarray) -> np.ndarray:
    """Return grey values of at least 0 in which paper is light: the negative, if the ink is light.

    Ink covers little of a page, but differs from it a lot. So the cubes of the differences from the
    surroundings add up to a sum of the ink's sign.
    """
    step = max(1, max(grey.shape) // 500)
    some = grey[::step, ::step]  # enough to see it
    difference = some - ndimage.uniform_filter(some, odd(max(some.shape) / 4))
    is_light_ink = np.mean(difference * difference * difference) > 0
    if is_light_ink:
        return grey.max() - grey
    return grey - min(0, grey.min())


def trace_ink(grey: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where ink is, where there may be some, both bool (H, W), and ``find_traces``.

    Ink is what is clearly deeper than the paper, and what is a bit deeper and connected to it. A
    ValueError says that no ink stands out.

    Args:
        grey: float32 of shape (H, W), dark ink on light paper.
        height: that of a digit, in pixels.
    """
    smooth = ndimage.gaussian_filter(grey, SMOOTHING)
    window = min(odd(PAPER_WINDOW * height), odd(min(grey.shape) // 2))
    paper = paper_without_ink(smooth, window)
    depth = depth_below(paper, smooth)
    level, grain = measure_grain(depth, height)
    full = depth_of_full_ink(depth, level, grain)

    free = depth - ruled_lines(depth, 2 * height)
    sure = level + np.maximum(SURE_GRAINS * grain, SURE_SHARE * full)
    faint = level + np.maximum(FAINT_GRAINS * grain, FAINT_SHARE * full)
    # At the picture's edge a table may be seen, and its pattern is no ink.
    table = beside_the_page(smooth, paper, window)
    sure[table] = faint[table] = level[table] + full / 2
    ink = filters.apply_hysteresis_threshold(free, faint, sure)
    ink = cut_webs(ink, depth > level + full / 2, height)

    hints = free > level + np.maximum(HINT_GRAINS * grain, HINT_SHARE * full)
    return ink, hints & ~table, find_traces(free, full, table, height)


def paper_without_ink(grey: np.ndarray, window: int, beyond: float | None = None) -> np.ndarray:
    """Return the grey value that the paper has at each pixel, under the ink too.

    A closing paints over whatever is narrower than its window, as strokes are, and leaves shadows.
    Beyond the picture's edge it goes on as at the edge, or has the grey value ``beyond``.
    """
    if beyond is None:
        larger = np.pad(grey, window, mode="edge")
    else:
        larger = np.pad(grey, window, constant_values=beyond)
    return ndimage.grey_closing(larger, (window, window))[window:-window, window:-window]


def depth_below(paper: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return how much darker than the paper each pixel is, as a share of the paper's grey value.

    A share is the same in light and in shadow.
    """
    lightest = np.quantile(paper, 0.95)
    darkest = DARKEST_PAPER * lightest
    return (paper - grey) / np.maximum(paper, max(darkest, 1e-6))  # a black picture has depth 0


def measure_grain(depth: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth that the paper has itself, and its standard deviation, each (H, W).

    Both are measured in tiles. Only the lower depths count, since ink and lines are deeper: in a
    normal distribution a tenth lies 1.28 standard deviations below the middle, and four tenths
    lie 0.25 below.
    """
    side = round(TILE * height)
    rows = max(1, depth.shape[0] // side)
    columns = max(1, depth.shape[1] // side)
    quantiles = np.empty((2, rows, columns), np.float32)
    for row, strip in enumerate(np.array_split(depth[::2, ::2], rows, axis=0)):
        for column, tile in enumerate(np.array_split(strip, columns, axis=1)):
            quantiles[:, row, column] = np.quantile(tile, (0.1, 0.4))
    # A tile may hold a shadow's edge or half a table: of nine neighbours the quieter count.
    low, level = quantiles
    grain = ndimage.percentile_filter((level - low) / (1.28 - 0.25), 25, size=3, mode="nearest")
    level = ndimage.median_filter(level, size=3, mode="nearest")
    return resize(level, *depth.shape), resize(grain, *depth.shape).clip(1e-4)


def depth_of_full_ink(depth: np.ndarray, level: np.ndarray, grain: np.ndarray) -> float:
    """Return how much deeper than the paper nearly the darkest ink is."""
    clear = depth > level + np.maximum((SURE_GRAINS + 1) * grain, 0.05)
    full = np.quantile((depth - level)[clear], 0.97) if clear.any() else 0
    if full < MIN_DEPTH:
        raise ValueError("no ink stands out from the paper: the page is blank, or all noise")
    return full


def ruled_lines(depth: np.ndarray, length: int) -> np.ndarray:
    """Return the depth that each pixel has as a part of a straight line, (H, W).

    A pixel's line is the segment of this length through it that is deep all along: no digit has so
    long a straight stroke. Lines may slope by a tenth, along the rows and along the columns.
    """
    half = depth[::2, ::2]  # enough for lines, and four times as fast
    lines = np.maximum(lines_along_rows(half, length // 2), lines_along_rows(half.T, length // 2).T)
    lines = lines.repeat(2, axis=0).repeat(2, axis=1)
    return lines[: depth.shape[0], : depth.shape[1]]


def lines_along_rows(depth: np.ndarray, length: int) -> np.ndarray:
    height, width = depth.shape
    lines = np.zeros_like(depth)
    if width < length:
        return lines
    thick = ndimage.maximum_filter1d(depth, 3, axis=0)  # so that a line may be a bit off
    steepest = length // 10
    for rise in range(-steepest, steepest + 1, 2):
        shifts = np.round(np.arange(width) * rise / length).astype(int)  # of each column
        margin = np.abs(shifts).max()
        rows = np.arange(height)[:, None] + shifts + margin  # (H, W): a sloping line in each row
        larger = np.pad(thick, ((margin, margin), (0, 0)))
        sloping = np.take_along_axis(larger, rows, axis=0)
        # An opening: the least depth of each segment, and then the best of all through a pixel.
        least = ndimage.minimum_filter1d(sloping, length, axis=1, mode="constant")
        best = ndimage.maximum_filter1d(least, length, axis=1, mode="constant")
        upright = np.zeros_like(larger)
        np.put_along_axis(upright, rows, best, axis=0)
        np.maximum(lines, upright[margin : margin + height], out=lines)
    return ndimage.maximum_filter1d(lines, 3, axis=0)


def beside_the_page(grey: np.ndarray, paper: np.ndarray, window: int) -> np.ndarray:
    """Return where the picture's edge shows something dark beside the page, bool (H, W).

    If there were white paper all around, a closing would paint over it, as it is narrow.
    """
    inside = paper_without_ink(grey, window, beyond=grey.max())
    dark = inside - paper > EDGE_STEP * inside
    return ndimage.binary_dilation(dark, iterations=3)


def cut_webs(ink: np.ndarray, deep: np.ndarray, height: int) -> np.ndarray:
    """Keep only the deep ink of what hangs together over several digits, as on squared paper."""
    numbered, _ = ndimage.label(ink)
    webs = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        is_web = (
            rows.stop - rows.start > MAX_HEIGHT * height
            or columns.stop - columns.start > MAX_WIDTH * height
        )
        if is_web:
            webs.append(number)
    return ink & (deep | ~np.isin(numbered, webs))


# Of a digit's height, the σ of a bell curve: so blurred, a stroke that hardly differs from the
# grain stands out as a whole.
BLUR = 1 / 20
STAIN = 1 / 4  # of a digit's height: what is that soft is a stain or a shadow
BLURRED_GRAINS = 5  # how far a blurred stroke must stand out of the blurred grain
BLURRED_SHARE = 0.05  # of the full ink's depth; a thin stroke loses most of its depth


def find_traces(depth: np.ndarray, full: float, table: np.ndarray, height: int) -> np.ndarray:
    """Return how clearly each pixel shows something of a stroke's size, float (H, W).

    1 is as clear as BLURRED_GRAINS and BLURRED_SHARE ask. What is too faint or too broken to be
    read comes near that.
    """
    blurred = ndimage.gaussian_filter(depth, BLUR * height)
    blurred -= ndimage.gaussian_filter(depth, STAIN * height)
    level, grain = measure_grain(blurred, height)
    enough = np.maximum(BLURRED_GRAINS * grain, BLURRED_SHARE * full)
    return np.where(table, 0, (blurred - level) / enough)


# From ink to digits -------------------------------------------------------------------------------

# Lengths as shares of the digits' height.
MAX_SPECK = 1 / 8  # dust, and what remains of ruled lines; the shortest stroke of a digit is longer
MAX_GAP_DOWN = 1 / 3  # between strokes of one digit, one above the other, as in a 5 or a broken 8
MAX_GAP_SIDEWAYS = 1 / 16  # here the next digit may begin, so that only a crack is closed
MAX_GAP_TO_PIECE = 1 / 8  # ... unless one of the two is too low for a digit
MIN_HEIGHT = 0.4  # of a digit; a hyphen is lower
TALL = 0.55  # a stroke of at least this height may be a digit by itself
MAX_JOINED = 1.5  # strokes that would be higher or wider together are two digits
MAX_HEIGHT = 3  # what is taller is a line or an edge
MAX_WIDTH = 4  # ... and so is what is wider, if it is thin
MIN_SHARED = 0.4  # of the lower digit's height: two digits of a row share so many rows of pixels

# As a share of the height of the digit itself.
WIDE = 1.4  # a digit that is wider may be two that touch, unless it is read with confidence
SURE_CUT = 0.95  # the least probability of the digits that a cut may bring
TOO_WIDE = 3  # wider parts are not cut: there are too many ways
VERY_WIDE = 2  # a digit that is wider is two or more


def typical_height(ink: np.ndarray) -> int:
    """Return the height of the digits, in pixels.

    Strokes of at least this height make up half of the sum of the squares of all heights, so that
    specks hardly count, however many there are.
    """
    strokes = strokes_of(ink)
    # Lines don't count, unless there is nothing else.
    not_wide = [stroke for stroke in strokes if stroke.box.width < 3 * stroke.box.height]
    heights = sorted((stroke.box.height for stroke in not_wide or strokes), reverse=True)
    tallest = max(heights, default=0)
    if tallest < MIN_SIDE:
        raise ValueError(f"no digit found: the tallest stroke of ink has {tallest} pixels")
    sums = np.cumsum(np.square(heights))
    return heights[np.searchsorted(sums, sums[-1] / 2)]


def strokes_of(ink: np.ndarray) -> list[Part]:
    """Return the parts of the ink that hang together."""
    regions = measure.regionprops(measure.label(ink))
    return [Part(Box(*region.bbox), region.image) for region in regions]


def join_strokes(ink: np.ndarray, height: int) -> tuple[list[Part], list[Part]]:
    """Join strokes that are near each other to digits.

    Returns:
        The digits, and what is too large for one and no line. Specks, hyphens, lines across the
        page and its edges are in neither.
    """
    digits_strokes, too_large = [], []
    for stroke in strokes_of(ink):
        box = stroke.box
        if max(box.height, box.width) <= MAX_SPECK * height:
            continue
        if touches_edge(box, ink.shape) and is_edge(stroke, height):
            continue
        if box.height > MAX_HEIGHT * height or box.width > MAX_WIDTH * height:
            if not is_line(stroke, height) and not touches_edge(box, ink.shape):
                too_large.append(stroke)
            continue
        digits_strokes.append(stroke)
    groups = group_strokes(digits_strokes, height)
    parts = [merge(group) for group in groups]
    digits = [part for part in parts if part.box.height > MIN_HEIGHT * height]
    if not digits and not too_large:
        raise ValueError("no digit found: all ink is lines, specks or at the edge of the picture")
    return digits, too_large


def touches_edge(box: Box, shape: tuple[int, int]) -> bool:
    return box.top == 0 or box.left == 0 or box.bottom == shape[0] or box.right == shape[1]


def is_edge(stroke: Part, height: int) -> bool:
    """Tell whether a stroke at the picture's edge is the page's edge, or a bit of a table."""
    return not TALL * height < stroke.box.height < MAX_JOINED * height


def is_line(stroke: Part, height: int) -> bool:
    """Tell whether a long stroke is thin: few pixels of each row, or of each column, are ink."""
    length = max(stroke.box.height, stroke.box.width)
    return stroke.ink.sum() / length < MAX_SPECK * height


def group_strokes(strokes: list[Part], height: int) -> list[list[Part]]:
    """Sort strokes into groups, one for each digit; the nearest strokes are joined first."""
    groups = {index: [stroke] for index, stroke in enumerate(strokes)}
    group_of = list(range(len(strokes)))
    boxes = [stroke.box for stroke in strokes]  # of the group, at the index that names it
    for one, other in near_pairs(boxes, height):
        a, b = group_of[one], group_of[other]
        if a != b and may_join(boxes[a], boxes[b], strokes[one].box, strokes[other].box, height):
            for index, group in enumerate(group_of):
                if group == b:
                    group_of[index] = a
            groups[a] += groups.pop(b)
            boxes[a] = surround([boxes[a], boxes[b]])
    return list(groups.values())


def near_pairs(boxes: list[Box], height: int) -> list[tuple[int, int]]:
    """Return the pairs of boxes that are not far apart, the nearest first."""
    pairs = []
    for one, box in enumerate(boxes):
        for other in range(one + 1, len(boxes)):
            distance = max(0, gap_down(box, boxes[other])) + max(0, gap_sideways(box, boxes[other]))
            if distance <= MAX_GAP_DOWN * height:
                pairs.append((distance, one, other))
    return [(one, other) for _, one, other in sorted(pairs)]


def gap_down(a: Box, b: Box) -> int:
    """Return the rows between two boxes; if they share rows, minus the number of those."""
    return max(a.top, b.top) - min(a.bottom, b.bottom)


def gap_sideways(a: Box, b: Box) -> int:
    return max(a.left, b.left) - min(a.right, b.right)


def surround(boxes: list[Box]) -> Box:
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def may_join(a: Box, b: Box, stroke_a: Box, stroke_b: Box, height: int) -> bool:
    """Tell whether two groups of strokes, near each other by these strokes, can be one digit."""
    together = surround([a, b])
    largest = MAX_JOINED * max(height, a.height, b.height)
    if max(together.height, together.width) > largest:
        return False
    both_tall = min(a.height, b.height) > TALL * height
    if both_tall:  # two digits, unless they share most of their columns and are no taller than one
        shared = -gap_sideways(a, b)
        narrower = min(a.width, b.width)
        return shared > narrower / 2 and together.height <= MAX_JOINED * height
    one_is_piece = min(a.height, b.height) < MIN_HEIGHT * height
    sideways = MAX_GAP_TO_PIECE if one_is_piece else MAX_GAP_SIDEWAYS
    return gap_sideways(stroke_a, stroke_b) <= sideways * height


def merge(strokes: list[Part]) -> Part:
    box = surround([stroke.box for stroke in strokes])
    ink = np.zeros((box.height, box.width), bool)
    for stroke in strokes:
        top, left = stroke.box.top - box.top, stroke.box.left - box.left
        ink[top : top + stroke.box.height, left : left + stroke.box.width] |= stroke.ink
    return Part(box, ink)


def sort_into_rows(digits: list[Part]) -> list[list[Part]]:
    """Go from left to right, and add each digit to the row whose last digit is beside it."""
    rows: list[list[Part]] = []
    for digit in sorted(digits, key=lambda digit: digit.box.left + digit.box.right):
        best_row, best_share = None, MIN_SHARED
        for row in rows:
            last = row[-1].box
            lower = min(last.height, digit.box.height)
            share = -gap_down(last, digit.box) / lower
            if share > best_share:
                best_row, best_share = row, share
        if best_row is None:
            rows.append([digit])
        else:
            best_row.append(digit)
    return sorted(rows, key=middle_of_row)


def middle_of_row(row: list[Part]) -> float:
    return float(np.mean([digit.box.top + digit.box.bottom for digit in row]))


# The whole page -----------------------------------------------------------------------------------


def find_digits(picture) -> Page:
    """Find a page's digits, and the ink that could be digits too.

    Args:
        picture: a path, a PIL image, or an array as ``load_grey`` takes it.
    """
    whole = with_dark_ink(load_grey(picture, PAGE_SIDE))
    height = height_at_first_look(whole)
    for _ in range(3):  # looks; the second mostly is the last
        factor = min(DIGIT_HEIGHT / height, PAGE_SIDE / max(whole.shape))
        grey = rescale(whole, factor)
        expected = round(factor * height)
        ink, hints, traces = trace_ink(grey, expected)
        found = typical_height(ink)
        if 0.7 < found / expected < 1.4:
            break
        height = found / factor
    digits, too_large = join_strokes(ink, found)
    unread = [(part.box, "digits hang together") for part in too_large]
    separate = []
    for digit in digits:
        pieces = cut_apart(digit)
        separate += pieces
        if not pieces:
            unread.append(
                (digit.box, "something is too wide for one digit and can't be cut into digits")
            )
    missed = find_missed(traces, ink, hints, digits + too_large, found)
    unread += [(box, "something faint or broken could be a digit") for box in missed]
    return Page(grey, sort_into_rows(separate), unread)


def height_at_first_look(whole: np.ndarray) -> float:
    """Return the height of the digits, from the ink that is deeper than half of the full ink."""
    factor = min(1, FIRST_SIDE / max(whole.shape))
    grey = ndimage.gaussian_filter(rescale(whole, factor), SMOOTHING)
    height = DIGIT_HEIGHT  # a first guess
    window = min(odd(PAPER_WINDOW * height), odd(min(grey.shape) // 2))
    paper = paper_without_ink(grey, window)
    depth = depth_below(paper, grey)
    level, grain = measure_grain(depth, height)
    full = depth_of_full_ink(depth, level, grain)
    table = beside_the_page(grey, paper, window)
    return typical_height((depth > level + full / 2) & ~table) / factor


# In the units of find_traces: from the first on a faint digit's trace holds together, and beyond
# the second no stain or shadow's edge was seen.
MIN_TRACE = 0.4
CLEAR_TRACE = 1.5
MANY_HINTS = 0.5  # of a trace: a stroke has them all along its middle, and a stain in no place
MAX_MISSED = 2  # of a digit's height: what is larger is a shadow, a fold or a line
MIN_MISSED = 0.3  # of a digit's height, for a trace with ink in it: its ends are lost in the grain
MISSED_MARGIN = 1 / 10  # of a digit's height: the blur makes digits that much larger on each side


def find_missed(
    traces: np.ndarray, ink: np.ndarray, hints: np.ndarray, digits: list[Part], height: int
) -> list[Box]:
    """Return where there is something of a digit's size that belongs to no digit found.

    It is a trace with some ink in it, or with many hints of ink, or a very clear one.
    """
    own = np.zeros(ink.shape, bool)
    for box, digit_ink in digits:
        own[box.top : box.bottom, box.left : box.right] |= digit_ink
    margin = round(MISSED_MARGIN * height)
    near = ndimage.distance_transform_edt(~own) <= margin
    lost_ink = ink & ~near

    missed = []
    for box, trace in strokes_of((traces > MIN_TRACE) & ~near):
        place = np.s_[box.top : box.bottom, box.left : box.right]
        has_ink = lost_ink[place][trace].any()
        has_hints = hints[place][trace].mean() > MANY_HINTS
        is_clear = traces[place][trace].max() > CLEAR_TRACE
        lowest = (MIN_MISSED if has_ink else MIN_HEIGHT) * height + margin
        is_tall = box.height > lowest
        is_large = max(box.height, box.width) > MAX_MISSED * height
        is_digit_sized = is_tall and not is_large and not touches_edge(box, ink.shape)
        if is_digit_sized and (has_ink or has_hints or is_clear):
            missed.append(box)
    return missed


# Digits that touch --------------------------------------------------------------------------------


def cut_apart(part: Part) -> list[Part]:
    """Return a part as it is if it is as wide as one digit, else the digits that it is made of.

    Returns:
        No part at all where there is no cut after which all pieces are read with confidence.
    """
    if part.box.width <= WIDE * part.box.height:
        return [part]
    if part.box.width <= VERY_WIDE * part.box.height and confidence([part]) >= UNSURE:
        return [part]
    if part.box.width > TOO_WIDE * part.box.height:
        return []
    best, best_confidence = [], SURE_CUT
    for column in places_to_cut(part.ink):
        if not (part.ink[:, :column].any() and part.ink[:, column:].any()):
            continue
        halves = crop(part, 0, column), crop(part, column, part.box.width)
        if min(half.box.height for half in halves) < TALL * part.box.height:
            continue  # a stroke of one digit
        pieces = [piece for half in halves for piece in cut_apart(half)]
        if len(pieces) > 1 and confidence(pieces) > best_confidence:
            best, best_confidence = pieces, confidence(pieces)
    return best


def confidence(digits: list[Part]) -> float:
    """Return the probability of the digit that the network is least sure of."""
    (row,) = name_digits([digits])
    return min(probability for _, probability in row)


def places_to_cut(ink: np.ndarray) -> list[int]:
    """Return some columns that cross little ink, not too near the sides."""
    width = ink.shape[1]
    strip = max(1, width // 20)
    crossed = ink.sum(axis=0)
    places = []
    for start in range(width // 5, width - width // 5, strip):
        places.append(start + int(crossed[start : start + strip].argmin()))
    return sorted(places, key=lambda column: crossed[column])[:8]


def crop(part: Part, first: int, last: int) -> Part:
    """Return the columns of a part from the first to the one before the last, without a margin."""
    ink = part.ink[:, first:last]
    ((rows, columns),) = ndimage.find_objects(ink.astype(int))
    top, left = part.box.top, part.box.left + first
    box = Box(top + rows.start, left + columns.start, top + rows.stop, left + columns.stop)
    return Part(box, ink[rows, columns])


# A digit's image ---------------------------------------------------------------------------------

THIN = 0.09  # of the longer side: strokes of a thinner pen are made as wide, as MNIST's are


def thicken(ink: np.ndarray) -> np.ndarray:
    """Make thin strokes wider, on all sides by as much as they lack."""
    outline = ink & ~ndimage.binary_erosion(ink)
    stroke = 2 * ink.sum() / outline.sum()  # a stroke has an outline on both sides
    missing = round((THIN * max(ink.shape) - stroke) / 2)
    if missing < 1:
        return ink
    distance = ndimage.distance_transform_edt(~np.pad(ink, missing))
    return distance <= missing
