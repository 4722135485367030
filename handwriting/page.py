"""From a picture of a page to its digits, row by row, by the network that notebook 10 trains.

``read_digits`` reads a page, and ``plot_reading`` shows what it read. The picture is looked at in
several sizes: ``look`` asks the network at one of them, ``best_of_each`` keeps one of all answers
that mean the same digit or letter, ``evidence_for`` says what speaks for it, and
``sort_into_rows`` orders the digits.
"""

import math
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from checkpoints import PAGES_PATH, load_checkpoint
from handwriting.digit import load_picture
from mnist_helpers import BLUE, ORANGE

SURE = 0.9  # what is read with a lower probability is shown in orange

# Network ------------------------------------------------------------------------------------------

STRIDE = 4  # pixels from one place that the network answers for to the next
NONE = 10  # the answer that nothing has its centre there
LETTER = 11  # the answer that a letter or another sign has
SMALLEST, LARGEST = 15, 40  # pixels of the longer side of a digit that the network finds
TOLERANCE = 1.25  # up to this factor beyond them it may find it or not


def convolution(inputs: int, outputs: int, size=3, stride=1, dilation=1) -> nn.Sequential:
    """Return a convolution, with normalization and ReLU, that divides the sides by its stride."""
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),  # what comes in isn't needed any more
    )


class PageNetwork(nn.Module):
    """Says of places four pixels apart which digit has its centre there, or a letter, or nothing.

    Maps pictures (N, 1, H, W) as ``even_out`` gives them to log-probabilities (N, 12, H/4, W/4), of
    the ten digits, of none and of a letter, and to the distances, in pixels, from each place to the
    top, left, bottom and right edge of its digit or letter, (N, 4, H/4, W/4).
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            convolution(1, 16, size=5, stride=2),
            convolution(16, 32, stride=2),
            convolution(32, 64),
        )
        self.layers = nn.ModuleList(
            convolution(64, 64, dilation=dilation) for dilation in (1, 2, 4, 8, 1, 2, 4)
        )
        self.output = nn.Conv2d(64, 12 + 4, kernel_size=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(pictures)  # (N, 64, H/4, W/4)
        for layer in self.layers:
            x = x + layer(x)
        x = self.output(x)  # (N, 16, H/4, W/4)
        log_probs = torch.log_softmax(x[:, :12], dim=1)
        distances = 10 * x[:, 12:]  # so that the numbers inside are of the size of the others
        return log_probs, distances


@cache
@torch.inference_mode(False)  # whoever calls it first: else its weights could not be trained on
def load_network() -> PageNetwork:
    """Return the network with the weights that ship, arranged to be fast at reading."""
    network = PageNetwork().eval()
    load_checkpoint(network, PAGES_PATH)
    for layer in [*network.stem, *network.layers]:
        weights, normalization, _ = layer
        # In eval mode normalization multiplies and adds fixed numbers: so may the weights before.
        layer[0], layer[1] = fuse_conv_bn_eval(weights, normalization), nn.Identity()
    return network.to(memory_format=torch.channels_last)


# Grey values that can be compared -----------------------------------------------------------------

BLOCK = 8  # pixels
LEAST_SPREAD = 1 / 3  # of the largest of a picture; bare paper has less, and must not become ink


def even_out(grey: Tensor, least: float | Tensor = LEAST_SPREAD) -> Tensor:
    """Give each pixel as its distance from the mean around it, in units of the spread there.

    Args:
        grey: float32 of shape (N, 1, H, W); H and W are multiples of 8.
        least: the least spread, as a share of the picture's largest.
    """
    mean = means_around(grey)  # (N, 1, H/8, W/8)
    spread = (means_around(grey**2) - mean**2).clamp(min=1e-6).sqrt()
    spread = torch.maximum(spread, least * spread.amax(dim=(2, 3), keepdim=True))
    size = grey.shape[-2:]
    mean = F.interpolate(mean, size, mode="bilinear")
    spread = F.interpolate(spread, size, mode="bilinear")
    return (grey - mean) / spread


def means_around(values: Tensor) -> Tensor:
    """Return means over nine by nine blocks of 8 × 8 pixels, one for each block."""
    blocks = F.avg_pool2d(values, BLOCK)
    return F.avg_pool2d(blocks, 9, stride=1, padding=4, count_include_pad=False)


# From places to digits ----------------------------------------------------------------------------

# A picture is looked at in sizes a factor of √2 apart, of 28 pixels of its longer side and more: so
# even a digit that fills it has 15 to 40 pixels in some.
SIDES = [round(28 * 2 ** (step / 2)) for step in range(13)]
FIRST_LOOK = 640  # pixels: of these sizes all, of larger ones those that are needed
MARGIN = 24  # pixels around a picture, for digits that reach to its edge
SMALL_PICTURE = 80  # pixels: one with fewer is enlarged to about as many, for small digits on it
MIN_LIKELY = 0.1  # what is less likely to be a digit or a letter is not even a candidate
SAME_PLACE = 0.5  # boxes that share as much of the smaller one are not two digits
SAME_BOX = 0.5  # ... and those that share as much of both together are one, at two sizes


class Candidates(NamedTuple):
    """Places that may be the centres of M digits or letters."""

    probabilities: Tensor  # (M, 12)
    boxes: Tensor  # (M, 4): top, left, bottom, right, in pixels

    def where(self, chosen: Tensor) -> "Candidates":
        return Candidates(self.probabilities[chosen], self.boxes[chosen])

    @property
    def sides(self) -> Tensor:
        return self.boxes[:, 2:] - self.boxes[:, :2]  # (M, 2): heights and widths

    @property
    def sizes(self) -> Tensor:
        return self.sides.amax(dim=1)  # (M,)

    @property
    def digits(self) -> Tensor:
        return self.probabilities[:, :NONE]  # (M, 10)

    @property
    def some_digit(self) -> Tensor:
        return self.digits.sum(dim=1)  # (M,): how likely it is any digit


def look(network: PageNetwork, grey: Tensor, side: int) -> Candidates:
    """Find digits and letters of 15 to 40 pixels in a picture (1, 1, H, W) scaled to ``side``."""
    picture = scaled(grey, side)
    log_probs, distances = network(even_out(with_margin(picture)))
    likely = 1 - log_probs[:, NONE].exp()  # (1, rows, columns)
    finer = -log_probs[:, NONE]  # the same in finer steps, where nearly all is likely
    is_peak = F.max_pool2d(finer, 3, stride=1, padding=1) == finer
    _, rows, columns = (is_peak & (likely > MIN_LIKELY)).nonzero(as_tuple=True)  # (M,) each
    places = STRIDE * torch.stack([rows, columns], dim=1) + 0.5 - MARGIN
    edges = distances[0, :, rows, columns].T  # (M, 4)
    starts = places - edges[:, :2]
    ends = torch.maximum(places + edges[:, 2:], starts + 1)  # no box is empty
    boxes = torch.cat([starts, ends], dim=1)
    found = Candidates(log_probs[0, :, rows, columns].T.exp(), boxes)
    found = found.where((found.sizes > SMALLEST / TOLERANCE) & (found.sizes < LARGEST * TOLERANCE))
    back = torch.tensor(grey.shape[-2:]) / torch.tensor(picture.shape[-2:])
    return found._replace(boxes=found.boxes * back.repeat(2))


def scaled(grey: Tensor, side: int) -> Tensor:
    """Scale a picture (1, 1, H, W) so that its longer side has so many pixels."""
    factor = side / max(grey.shape[-2:])
    size = [max(BLOCK, round(factor * length)) for length in grey.shape[-2:]]
    return F.interpolate(grey, size, mode="bilinear", antialias=True)


def with_margin(grey: Tensor) -> Tensor:
    """Lay a picture (1, 1, H, W) on paper of its border's grey, with sides in whole blocks."""
    border = torch.cat([grey[..., 0, :], grey[..., -1, :], grey[..., 0], grey[..., -1]], dim=-1)
    down, right = (-(length + 2 * MARGIN) % BLOCK for length in grey.shape[-2:])
    sides = (MARGIN, MARGIN + right, MARGIN, MARGIN + down)
    return F.pad(grey, sides, value=border.median().item())


def look_at_sizes(network: PageNetwork, grey: Tensor) -> tuple[Candidates, Tensor]:
    """Return the candidates of all sizes that are needed, and the factors to these sizes."""
    longest = max(grey.shape[-2:])
    found, factors = Candidates(torch.zeros(0, 12), torch.zeros(0, 4)), torch.zeros(0)
    for side in SIDES:
        if side > max(longest, SMALL_PICTURE) * math.sqrt(2):  # larger ones show nothing more
            break
        # If no candidate is sure, they may be small digits that run together, which tells nothing.
        if side > FIRST_LOOK and is_sure(found).any():
            digit = typical_size(best_of_each(found, factors))
            if digit * side / longest > LARGEST:  # here and beyond, the digits are too large
                break
        at_this_size = look(network, grey, side)
        found = Candidates(*map(torch.cat, zip(found, at_this_size, strict=True)))
        factors = torch.cat([factors, torch.tensor([side / longest])])
    return found, factors


def best_of_each(found: Candidates, factors: Tensor) -> Candidates:
    """Keep the surest of all that lie in one place, with the mean of what all sizes say of it.

    Args:
        factors: to each size that was looked at. A digit that has 15 to 40 pixels at one of them is
            to be seen there, and if it isn't, that size says: none.
    """
    found = found.where(found.probabilities[:, NONE].argsort())  # the surest first
    sizes = found.sizes[:, None] * factors  # (M, number of sizes), in pixels
    num_to_see = ((sizes > SMALLEST) & (sizes < LARGEST)).sum(dim=1)
    is_free = torch.ones(len(sizes), dtype=torch.bool)
    best, mean_probabilities = [], []
    for index in range(len(sizes)):
        if not is_free[index]:
            continue
        of_smaller, of_both = shares(found.boxes[[index]], found.boxes)  # (1, M) each
        is_free &= of_smaller[0] < SAME_PLACE  # what lies in this place goes
        is_same = of_both[0] > SAME_BOX  # this one, and it at other sizes
        seen = found.probabilities[is_same]
        num_silent = max(0, num_to_see[index] - len(seen))
        total = seen.sum(dim=0)  # (12,)
        total[NONE] += num_silent
        best.append(index)
        mean_probabilities.append(total / (len(seen) + num_silent))
    return Candidates(torch.stack(mean_probabilities), found.boxes[best]) if best else found


def shares(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much of its area each of M boxes shares with each of N others.

    Returns:
        As a share of the smaller one's area, and of what both cover together, (M, N) each.
    """
    starts = torch.maximum(boxes[:, None, :2], others[:, :2])
    ends = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (ends - starts).clamp(min=0).prod(dim=2)  # (M, N)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)[:, None]  # (M, 1)
    areas_of_others = (others[:, 2:] - others[:, :2]).prod(dim=1)  # (N,)
    smaller = torch.minimum(areas, areas_of_others)
    return shared / smaller, shared / (areas + areas_of_others - shared)


def is_sure(found: Candidates) -> Tensor:
    """Tell which candidates are some digit with 90 % or more, (M,)."""
    return found.some_digit >= SURE


def typical_size(found: Candidates) -> float:
    """Return the size that most ink votes for: each sure digit by the area of its box.

    If none is sure, all vote, each as far as it is a digit.
    """
    sure = is_sure(found)
    weights = sure.float() if sure.any() else found.some_digit
    votes = weights * found.sides.prod(dim=1)  # (M,)
    ratios = found.sizes[:, None] / found.sizes
    is_alike = (ratios < math.sqrt(2)) & (ratios > math.sqrt(1 / 2))  # (M, M)
    return found.sizes[(is_alike.float() @ votes).argmax()].item()


# How likely a candidate is right ------------------------------------------------------------------

# What each piece of evidence counts, a logistic regression: notebook 10 fits it on composed pages.
BIAS = 0.592
WEIGHTS = torch.tensor([1.901, 0.180, -0.038, -0.279, -0.371, -0.311, -0.975])


def evidence_for(found: Candidates) -> Tensor:
    """Return what speaks for and against each of M candidates being a digit, (M, 7).

    What the sizes say of its likeliest digit, up to 88 % and beyond, as a logit; how letters and
    digits compare beside it, in its row and on the whole page; and how much larger or smaller it is
    than the page's digits.
    """
    logits = torch.logit(found.digits.amax(dim=1).clamp(0.001, 0.999))
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    apart = (middles[:, None] - middles).abs() / found.sizes[:, None, None]
    down, right = apart.unbind(dim=2)  # (M, M): in sizes of the first of each two
    is_another = ~torch.eye(len(middles), dtype=torch.bool)

    def letters_against_digits(is_there):  # 0: as many
        weights = (is_there & is_another).float()
        letters = weights @ found.probabilities[:, LETTER]
        return ((letters + 0.3) / (weights @ found.some_digit + 0.3)).log()

    larger = (found.sizes / typical_size(found)).log()
    return torch.stack(
        [
            logits.clamp(max=2),
            (logits - 2).clamp(min=0),
            letters_against_digits((right < 1.6) & (down < 0.7)),
            letters_against_digits((right < 6) & (down < 0.9)),
            letters_against_digits(is_another),
            larger.clamp(min=0) ** 2,
            larger.clamp(max=0) ** 2,
        ],
        dim=1,
    )


# Reading ------------------------------------------------------------------------------------------

PICTURE_SIDE = 2000  # pixels of the longer side of a picture, at most
FLOOR = 0.3  # what is read with a lower probability is left out; notebook 10 shows what that trades
MIN_SHARED = 0.4  # of the lower one's height: two digits of a row share so many rows of pixels


class Reading(NamedTuple):
    """A digit that was read."""

    digit: int
    probability: float
    box: tuple[float, float, float, float]  # top, left, bottom, right, in pixels of the picture


def read_digits(picture, network: PageNetwork | None = None) -> list[list[Reading]]:
    """Read a page of digits.

    Args:
        picture: a path, the bytes of a file, an open file, a PIL image, or an array as
            ``load_grey`` takes it. It is looked at with 2,000 pixels on its longer side, if it has
            more, and there a digit has to be 15 pixels tall or more: 2 mm of a page of A4.
        network: another one than that which ships, in ``eval`` mode.

    Returns:
        The rows from top to bottom, each a list of its digits from left to right. Boxes are in
        pixels of the picture as it was given (a photo that EXIF data turn: as it is shown). A
        single line is a page of one row.

    Raises:
        FileNotFoundError: there is no file of this path.
        ValueError: the picture can't be read, or shows no digit.
    """
    grey, (height, width) = load_picture(picture, PICTURE_SIDE)
    # Both sides were rounded to whole pixels, which of a strip's few can be a half.
    down, right = height / grey.shape[0], width / grey.shape[1]
    rows = rows_of(grey, network)
    return [[enlarged(reading, down, right) for reading in row] for row in rows]


def enlarged(reading: Reading, down: float, right: float) -> Reading:
    """Return a reading whose box is larger by these factors."""
    top, left, bottom, right_edge = reading.box
    return reading._replace(box=(down * top, right * left, down * bottom, right * right_edge))


def rows_of(grey: np.ndarray, network: PageNetwork | None = None) -> list[list[Reading]]:
    """Read a page whose grey values are given, as ``read_digits`` does; boxes are in its pixels."""
    likely = [reading for reading in find_digits(grey, network) if reading.probability >= FLOOR]
    if not likely:
        raise ValueError(
            "no digit found: if there are some, write them larger or darker, or cut them out of "
            "the picture"
        )
    return sort_into_rows(likely)


def find_digits(grey: np.ndarray, network: PageNetwork | None = None) -> list[Reading]:
    """Return all that may be a digit, also what ``read_digits`` leaves out as too unlikely."""
    return readings_of(find_signs(grey, network))


@torch.inference_mode()
def find_signs(grey: np.ndarray, network: PageNetwork | None = None) -> Candidates:
    """Return all that may be a digit or a letter, with the mean of what all sizes say of each."""
    network = network or load_network()
    if network.training:
        raise ValueError("the network must be in eval mode: call network.eval()")
    picture = torch.tensor(grey, dtype=torch.float32)[None, None]
    picture = (picture - picture.min()) / (picture.max() - picture.min()).clamp(min=1e-6)
    return best_of_each(*look_at_sizes(network, picture))


def readings_of(signs: Candidates) -> list[Reading]:
    """Read each as the likeliest digit, with the probability that this is right."""
    if len(signs.boxes) == 0:
        return []
    probabilities = torch.sigmoid(evidence_for(signs) @ WEIGHTS + BIAS)
    digits = signs.digits.argmax(dim=1)
    everything = zip(digits.tolist(), probabilities.tolist(), signs.boxes.tolist(), strict=True)
    return [Reading(digit, probability, tuple(box)) for digit, probability, box in everything]


def sort_into_rows(readings: list[Reading]) -> list[list[Reading]]:
    """Go from left to right, and add each digit to the row whose last digit is beside it."""
    if not readings:
        return []
    readings = sorted(readings, key=lambda reading: reading.box[1] + reading.box[3])
    boxes = torch.tensor([reading.box for reading in readings], dtype=torch.float32)
    boxes[:, [1, 3]] = torch.tensor([0.0, 1.0])  # all as wide: what they share is of their heights
    of_lower, _ = shares(boxes, boxes)
    rows: list[list[int]] = []  # of each row the numbers of its digits
    for number in range(len(readings)):
        last_of_rows = [row[-1] for row in rows]
        shared = of_lower[number, last_of_rows]
        if rows and shared.max() > MIN_SHARED:
            rows[shared.argmax()].append(number)
        else:
            rows.append([number])
    return sorted(([readings[number] for number in row] for row in rows), key=middle_of_row)


def middle_of_row(row: list[Reading]) -> float:
    return float(np.mean([reading.box[0] + reading.box[2] for reading in row]))


def plot_reading(picture, network: PageNetwork | None = None) -> plt.Axes:
    """Show a page with a box around each digit, and above it what was read.

    What the reader is less sure of than 90 % is orange, with a question mark. Takes and raises
    what ``read_digits`` does.
    """
    grey, _ = load_picture(picture, PICTURE_SIDE)
    rows = rows_of(grey, network)
    height, width = grey.shape
    _, ax = plt.subplots(figsize=(9, min(9, 0.5 + 9 * height / width)), layout="constrained")
    draw_reading(ax, grey, rows)
    ax.set_title(f"blue: read with {SURE:.0%} or more; orange: less sure")
    return ax


def draw_reading(ax: plt.Axes, grey: np.ndarray, rows: list[list[Reading]]) -> None:
    """Draw a page, whose boxes are in its pixels, into axes."""
    ax.imshow(grey, cmap="gray")
    ax.set(xticks=[], yticks=[])
    for reading in (reading for row in rows for reading in row):
        top, left, bottom, right = reading.box
        color, text = BLUE, f"{reading.digit}"
        if reading.probability < SURE:
            color, text = ORANGE, f"{reading.digit} ?"
        frame = plt.Rectangle((left, top), right - left, bottom - top, fill=False, color=color)
        ax.add_patch(frame)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        style = {"fontsize": 9, "fontweight": "bold", "va": "bottom", "bbox": ground}
        ax.text(left, top - 2, text, color=color, **style)
