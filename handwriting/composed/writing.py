"""Composed writing: words, sums and tables, sign by sign, as people of the UniPen collection write.

A text is a string in which each 0 stands for any digit. ``some_text`` makes one up, and
``write_text`` writes it: it asks a ``Pen`` for each sign, and says where it stands.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from handwriting.composed.ink import draw_pen_digit
from handwriting.data import LEAST_LETTERS, Hand, Hands, PenDigit, Written
from handwriting.page import LETTER

# What a sign may be labelled, beside the digits and LETTER.
LEFT_OUT = -1  # any answer is fair
NO_DIGIT = 12  # any but a digit is: in a whole word, on a mark, around the centre of a letter

# What may be meant as a digit where it stands alone; inside of a word it is a letter.
LOOK_LIKE_DIGITS = set("OoDIl|ZzSsGbBgq")

# From the base line up to where a sign begins and ends, in heights of a digit.
SPANS = {
    **dict.fromkeys("acemnorsuvwxz", (0, 0.6)),
    **dict.fromkeys("gpqy", (-0.35, 0.6)),
    **dict.fromkeys("+*<>", (0.15, 0.75)),
    **dict.fromkeys("()[]{}/|\\", (-0.12, 1.1)),
    **dict.fromkeys("'\"^`", (0.7, 1.05)),
    "i": (0, 0.9),
    "j": (-0.35, 0.9),
    "=": (0.25, 0.6),
    ":": (0.05, 0.55),
    ";": (-0.15, 0.55),
    ",": (-0.2, 0.12),
}
FLAT = {"-": 0.4, "~": 0.4, "_": -0.05, ".": 0.05}  # their middles: these have hardly a height


class Sign(NamedTuple):
    """A digit, or something else, that stands in a line."""

    label: int | None  # None: this is the ink of the signs that follow, which have none
    top: float  # pixels below the base line
    left: float  # pixels from the beginning of the line
    ink: np.ndarray  # (H, W), from 0 to 1


class Pen(NamedTuple):
    """How the signs of a text are drawn. Sizes are in pixels, of the longer side."""

    digit: Callable[[float], tuple[int, np.ndarray]]  # of a size: a label and the ink
    stroke: Callable[[Written, float], np.ndarray]  # the ink of a letter or a word, of a size


# Texts --------------------------------------------------------------------------------------------


def some_text(kind: str, words: list[Written], rng: np.random.Generator) -> str:
    """Make up a line of one of ``KINDS``."""
    return KINDS[kind](words, rng)


def some_word(words, rng) -> str:
    return words[rng.integers(len(words))].label


def some_number(rng) -> str:
    return "0" * rng.choice([1, 2, 3, 4, 6], p=[0.4, 0.3, 0.15, 0.1, 0.05])


def some_words(words, rng) -> str:
    line = " ".join(some_word(words, rng) for _ in range(rng.integers(2, 6)))
    return line + rng.choice(["", "", ".", "?", ":", ","])


def some_sum(words, rng) -> str:
    def term():
        number = some_number(rng)
        forms = [number, number + rng.choice(list("xyzabnkm")), rng.choice(list("xyzabnkm"))]
        forms += [f"{number}.0", f"({number} {operation()} {some_number(rng)})", f"{number}%"]
        return rng.choice(forms, p=[0.6, 0.15, 0.05, 0.05, 0.1, 0.05])

    def operation():
        return rng.choice(list("+-x/:*"), p=[0.3, 0.25, 0.2, 0.15, 0.05, 0.05])

    line = term()
    for _ in range(rng.integers(1, 4)):
        line += f" {operation()} {term()}"
    if rng.random() < 0.7:
        line += f" {rng.choice(list('=<>'), p=[0.9, 0.05, 0.05])} {term()}"
    return line if rng.random() < 0.6 else line.replace(" ", "")


def some_item(words, rng) -> str:
    units = ["kg", "km", "cm", "m", "l", "g", "h", "min", "%", "$", "pcs", ".00"]
    line = some_word(words, rng)
    if rng.random() < 0.3:
        line += " " + some_word(words, rng)
    for _ in range(rng.integers(1, 4)):
        line += f"  {some_number(rng)}"
    if rng.random() < 0.4:
        line += rng.choice(["", " "]) + rng.choice(units)
    return line


def some_code(words, rng) -> str:
    """A date, a time, a number of a list, a name with a number."""
    letter = rng.choice(list("aAbBcCdDeEFhHkKmMnNpPQRTvWxXyY"))
    forms = [
        "00/00/0000",
        "00.0.00",
        "00:00",
        "0.00",
        "00-00",
        "000 0000",
        "000-000",
        "#00",
        "$00.00",
    ]
    forms += [
        f"{letter}0",
        f"{letter}) 00",
        f"{letter}.0",
        f"0{letter}",
        f"({letter}0)",
        f"{letter} 000",
    ]
    return rng.choice(forms)


def some_entries(words, rng) -> str:
    """A row of a table: a few short entries, far from each other."""
    entries = [some_number(rng), some_word(words, rng), some_code(words, rng), "0", "00"]
    return "   ".join(rng.choice(entries, rng.integers(2, 6)))


KINDS = {
    "words": some_words,
    "sum": some_sum,
    "item": some_item,
    "code": some_code,
    "entries": some_entries,
}


# Signs --------------------------------------------------------------------------------------------


def alphabet_beside(hand: Hand | None, hands: Hands, rng: np.random.Generator) -> Hand:
    """Return who writes the letters beside the digits of a hand: the same person, if possible."""
    if hand is not None and len(hand.letters) >= LEAST_LETTERS:
        return hand
    return hands.alphabets[rng.integers(len(hands.alphabets))]


def write_text(
    text: str, height: float, hand: Hand, hands: Hands, pen: Pen, rng: np.random.Generator
) -> Iterator[Sign]:
    """Yield the signs of a text, the letters from one person's alphabet.

    Args:
        height: of a digit, in pixels.
    """
    gap = rng.uniform(0.04, 0.3)
    space = gap + rng.uniform(0.3, 0.8)
    joined = rng.random() if rng.random() < 0.5 else 0  # the share of words that are written so
    left = 0.0
    for token in text.split(" "):
        if token.isalpha() and len(token) > 1 and rng.random() < joined:
            word = hands.words[rng.integers(len(hands.words))]
            signs = [write_word(word, height, pen, rng)]
        else:
            num_letters = sum(character.isalpha() for character in token)
            is_word = num_letters > 1 or "0" not in text  # among words no letter stands alone
            signs = [write_sign(sign, is_word, height, hand, hands, pen, rng) for sign in token]
        for sign in signs:
            if sign is not None:
                yield sign._replace(left=left)
                left += sign.ink.shape[1] + gap * height * rng.uniform(0.5, 1.5)
        left += space * height * rng.uniform(0.7, 1.5)


def write_sign(character, is_word, height, hand, hands, pen, rng) -> Sign | None:
    """Write a digit, for a 0, or a letter or symbol; one that nobody wrote is left out."""
    up = height * rng.uniform(-0.06, 0.06)
    if character == "0":
        label, ink = pen.digit(height * rng.uniform(0.85, 1.15))
        return Sign(label, -up - ink.shape[0], 0, ink)
    written = hand.letters.get(character)
    for _ in range(10):  # somebody else's
        if not written:
            other = hands.alphabets[rng.integers(len(hands.alphabets))]
            written = other.letters.get(character)
    if not written:
        return None
    item = written[rng.integers(len(written))]
    width, tall = extent_of(item)
    if character in FLAT:
        middle = FLAT[character]
        size = height * (0.1 if character == "." else rng.uniform(0.4, 0.7))
        ink = pen.stroke(item, size)
        top = -middle * height - ink.shape[0] / 2
    else:
        begin, end = SPANS.get(character, (0, 1))
        size = (end - begin) * height * min(3, max(1, width / max(tall, 1))) * rng.uniform(0.9, 1.1)
        ink = pen.stroke(item, size)
        top = -begin * height - ink.shape[0]
    label = LETTER if is_word or character not in LOOK_LIKE_DIGITS else LEFT_OUT
    return Sign(label, top - up, 0, ink)


def write_word(word: Written, height, pen, rng) -> Sign:
    """Write a word as somebody wrote it in one go: where its letters are, nobody knows."""
    spans = [SPANS.get(character, (0, 1)) for character in word.label]
    begin, end = min(span[0] for span in spans), max(span[1] for span in spans)
    width, tall = extent_of(word)
    size = (end - begin) * height * max(1, width / max(tall, 1)) * rng.uniform(0.8, 1.2)
    ink = pen.stroke(word, size)
    return Sign(NO_DIGIT, -begin * height - ink.shape[0], 0, ink)


def extent_of(item: PenDigit | Written) -> np.ndarray:
    return np.ptp(np.concatenate(item.strokes), axis=0)


def write_joined(digits: list[PenDigit | Written], height: float, pen: float, rng) -> list[Sign]:
    """Write digits in one go: a stroke leads from the end of each to the beginning of the next."""
    strokes, places, left = [], [], 0.0
    for digit in digits:
        corner = np.concatenate(digit.strokes).min(axis=0)
        scale = height / max(extent_of(digit).max(), 1)
        width, tall = extent_of(digit) * scale
        moved = [(stroke - corner) * scale + (left, -tall) for stroke in digit.strokes]
        if strokes:
            strokes.append(np.array([strokes[-1][-1], moved[0][0]]))
        strokes += moved
        places.append((digit.label, -tall, left, tall, width))
        left += width + height * rng.uniform(0, 0.12)
    whole = PenDigit(-1, -1, strokes)
    ink = draw_pen_digit(whole, extent_of(whole).max() + pen, pen)
    tallest = max(tall for _, _, _, tall, _ in places)
    signs = [Sign(None, -tallest, 0, ink)]
    for label, top, left, tall, width in places:
        shape = round(tall + pen), round(width + pen)
        signs.append(Sign(label, top, left, np.zeros(shape)))
    return signs
