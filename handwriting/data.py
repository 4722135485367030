"""Other people's digits, as scans and as movements of a pen, and whose are learned from."""

import re
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from checkpoints import DATA_DIR
from mnist_helpers import make_loaders, unpack

SEMEION = DATA_DIR / "semeion" / "semeion.data.gz"
SEMEION_MD5 = "3ed9f6f308156ce0b3936fa834a8873c"
PEN_DIGITS = DATA_DIR / "pendigits" / "pendigits-orig.tra.gz"
PEN_DIGITS_MD5 = "99ff2f0a535e655f6377386a58ae0689"


def load_semeion() -> tuple[Tensor, Tensor]:
    """Load the 1,593 scans of the Semeion collection.

    Returns:
        Images, float32 of shape (1593, 1, 16, 16), 0 (paper) or 1 (ink), and labels, int64 of
        shape (1593,), values 0-9.

    Raises:
        RuntimeError: the archive is missing or damaged.
    """
    lines = unpack(SEMEION, SEMEION_MD5).decode("ascii").splitlines()
    table = torch.from_numpy(np.loadtxt(lines, dtype=np.float32))  # 256 pixels and 10 marks a row
    images = table[:, :256].reshape(-1, 1, 16, 16)
    labels = table[:, 256:].argmax(dim=1)  # the mark of the digit is 1, and the others are 0
    return images, labels


def guess_semeion_writers(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Guess from the order of the file who wrote each scan, which isn't stored.

    Ten runs of equal digits, 0 to 9, make a block. There are four blocks of 20 people and two of
    40. Each person has the same place in all runs of a block, and has two blocks that follow each
    other: so thick strokes are at equal places of both (notebook 05). A few runs have a digit more
    or fewer, after which the places are shifted by one.

    Returns:
        The person, 0-79, and the block, 0-5, both int64 of shape (1593,).
    """
    begins_run = torch.ones(len(labels), dtype=torch.bool)
    begins_run[1:] = labels[1:] != labels[:-1]
    run = begins_run.cumsum(dim=0) - 1
    block = run // 10
    place = torch.arange(len(labels)) - begins_run.nonzero().flatten()[run]
    num_people = torch.where(block < 4, 20, 40)
    person = 20 * (block // 2) + torch.minimum(place, num_people - 1)
    return person, block


class PenDigit(NamedTuple):
    """A digit as the movement of a pen."""

    label: int
    writer: int
    strokes: list[np.ndarray]  # of each stroke its points, (N, 2): x to the right, y downwards


def load_pen_digits() -> list[PenDigit]:
    """Load the 7,494 digits by 30 people.

    Raises:
        RuntimeError: the archive is missing or damaged.
    """
    text = unpack(PEN_DIGITS, PEN_DIGITS_MD5).decode("ascii")
    digits = []
    for segment in text.split(".SEGMENT DIGIT")[1:]:
        label, writer = re.search(r"\.COMMENT\s+(\d)\s+(\d+)", segment).groups()
        strokes = []
        for pen_down in re.findall(r"\.PEN_DOWN(.*?)\.PEN_UP", segment, re.DOTALL):
            points = re.findall(r"^\s*(-?\d+)\s+(-?\d+)\s*$", pen_down, re.MULTILINE)
            strokes.append(np.array(points, float) * (1, -1))
        digits.append(PenDigit(int(label), int(writer), strokes))
    return digits


class Hands(NamedTuple):
    """Digits to compose pages of: images of MNIST, and the pen digits of some writers."""

    images: np.ndarray  # uint8, (N, 28, 28)
    labels: np.ndarray  # (N,)
    writers: dict[int, list[PenDigit]]


def load_hands() -> tuple[Hands, Hands]:
    """Return hands to learn from, and others to measure with.

    The first are the 48,000 training images of MNIST and 20 of the pen digits' writers, the second
    the 12,000 validation images and the other ten writers.

    Raises:
        RuntimeError: an archive is missing or damaged.
    """
    writers: dict[int, list[PenDigit]] = {}
    for digit in load_pen_digits():
        writers.setdefault(digit.writer, []).append(digit)
    numbers = sorted(writers)
    to_measure = numbers[2::3]  # every third
    to_learn = [number for number in numbers if number not in to_measure]
    train_loader, val_loader, _ = make_loaders(seed=0)
    hands = []
    for loader, chosen in (train_loader, to_learn), (val_loader, to_measure):
        images, labels = loader.dataset.tensors
        pixels = (255 * images[:, 0]).round().to(torch.uint8)
        hands.append(Hands(pixels.numpy(), labels.numpy(), {n: writers[n] for n in chosen}))
    return tuple(hands)
