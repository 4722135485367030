"""Other people's digits, as scans and as movements of a pen, and who teaches, chooses, reports."""

import json
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
UNIPEN = DATA_DIR / "unipen" / "unipen.jsonl.gz"
UNIPEN_MD5 = "5a5af72fa9b5cf61001c1701c04aa3bd"

# Scans --------------------------------------------------------------------------------------------


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


# Movements of a pen -------------------------------------------------------------------------------


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


class Written(NamedTuple):
    """What somebody of the UniPen collection wrote."""

    label: int | str  # a digit is a number, all else text
    writer: int  # a person has one number, whatever is written: 0 to 399
    strokes: list[np.ndarray]  # as in PenDigit; the longer side is 250, of a word the height 100
    kind: str  # "digit", "letter", "symbol" or "word"
    site: str  # where it was collected, "A" to "V"


def load_unipen() -> list[Written]:
    """Load 12,555 digits, 14,546 letters, 3,921 symbols and 3,060 words by 400 people.

    Raises:
        RuntimeError: the archive is missing or damaged.
    """
    found = []
    for line in unpack(UNIPEN, UNIPEN_MD5).splitlines():
        entry = json.loads(line)
        label = int(entry["label"]) if entry["kind"] == "digit" else entry["label"]
        strokes = [np.array(points, float) for points in entry["strokes"]]
        found.append(Written(label, entry["writer"], strokes, entry["kind"], entry["site"]))
    return found


def by_writer(written: list[PenDigit] | list[Written]) -> dict[int, list]:
    """Return what each person wrote, in the order of the file."""
    writers: dict[int, list] = {}
    for item in written:
        writers.setdefault(item.writer, []).append(item)
    return writers


# One split of people for all notebooks ------------------------------------------------------------


class People(NamedTuple):
    """Writers by their numbers: nobody who teaches or chooses tells how well strangers are read."""

    teach: frozenset[int]  # networks learn from what they wrote
    choose: frozenset[int]  # they decide for how long, at what rate, and so on
    report: frozenset[int]  # they are read once all is decided


# Of the pen digits. Notebook 07 made its choices with the writers 1 to 16, so none of them reports.
PEN_WRITERS = People(
    teach=frozenset({1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16}),
    choose=frozenset({3, 6, 9, 12, 15}),  # every third of those
    report=frozenset(range(17, 31)),
)


def split_unipen(written: list[Written]) -> People:
    """Split UniPen's writers site by site: of five, three teach, one chooses and one reports.

    Sites differ in what was asked for and how it was recorded, so each has a share in all three.
    With all that they wrote, digits, letters and words: who writes a digit in an own way may write
    a letter so, too. The weights that notebook 09 ships have learned from the digits of all of
    them: for these weights nobody here is a stranger.
    """
    writers_of_sites: dict[str, set[int]] = {}
    for item in written:
        writers_of_sites.setdefault(item.site, set()).add(item.writer)
    in_order = [sorted(writers) for writers in writers_of_sites.values()]
    choose = frozenset(number for writers in in_order for number in writers[2::5])
    report = frozenset(number for writers in in_order for number in writers[4::5])
    everybody = frozenset(number for writers in in_order for number in writers)
    return People(everybody - choose - report, choose, report)


# Pages --------------------------------------------------------------------------------------------


LEAST_LETTERS = 20  # of an alphabet with which words can be written


class Hand(NamedTuple):
    """What one person wrote with a pen."""

    digits: list[PenDigit | Written]
    letters: dict[str, list[Written]]  # letters and symbols, each with all that is there of it


class Hands(NamedTuple):
    """What pages are composed of: images of MNIST, and what some people wrote with a pen."""

    images: np.ndarray  # uint8, (N, 28, 28)
    labels: np.ndarray  # (N,)
    writers: list[Hand]  # who wrote digits: the pen digits' writers, and UniPen's
    alphabets: list[Hand]  # who wrote at least ``LEAST_LETTERS`` different letters and symbols
    words: list[Written]


def load_hands() -> tuple[Hands, Hands, Hands]:
    """Return hands to learn from, to choose with, and to report on: ``Hands`` each.

    They are the 48,000 training images of MNIST, and each half of the 12,000 validation images,
    with the people of ``PEN_WRITERS`` and ``split_unipen``. Words that somebody who teaches wrote
    are left out of the others'.

    Raises:
        RuntimeError: an archive is missing or damaged.
    """
    pen_digits, unipen = load_pen_digits(), load_unipen()
    train_loader, val_loader, _ = make_loaders(seed=0)
    images, labels = val_loader.dataset.tensors
    half = len(labels) // 2
    of_mnist = People(
        train_loader.dataset.tensors, (images[:half], labels[:half]), (images[half:], labels[half:])
    )
    taught: set[str] = set()  # words of those who teach, the first of the three
    hands = []
    for (images, labels), of_pen, of_unipen in zip(
        of_mnist, PEN_WRITERS, split_unipen(unipen), strict=True
    ):
        pixels = (255 * images[:, 0]).round().to(torch.uint8).numpy()
        writers = [
            Hand(digits, {}) for writer, digits in by_writer(pen_digits).items() if writer in of_pen
        ]
        alphabets, words = [], []
        for writer, written in by_writer(unipen).items():
            if writer not in of_unipen:
                continue
            digits = [item for item in written if item.kind == "digit"]
            letters: dict[str, list[Written]] = {}
            for item in written:
                if item.kind in ("letter", "symbol"):
                    letters.setdefault(item.label, []).append(item)
            hand = Hand(digits, letters)
            writers += [hand] if digits else []
            alphabets += [hand] if len(letters) >= LEAST_LETTERS else []
            words += [item for item in written if item.kind == "word" and item.label not in taught]
        taught = taught or {word.label for word in words}
        hands.append(Hands(pixels, labels.numpy(), writers, alphabets, words))
    return tuple(hands)
