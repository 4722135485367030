"""Composed writing: what its signs are labelled, and where they stand."""

from itertools import pairwise

import numpy as np
import pytest
from hands import to_learn

from handwriting.composed.writing import (
    KINDS,
    LEFT_OUT,
    NO_DIGIT,
    Pen,
    extent_of,
    some_text,
    write_joined,
    write_text,
)
from handwriting.data import Hand, PenDigit, Written
from handwriting.page import LETTER


def drawn(item, size):
    """Its box, filled with ink."""
    width, height = extent_of(item)
    return np.ones(np.ceil(size * np.array([height, width]) / max(height, width)).astype(int))


PEN = Pen(digit=lambda size: (7, np.ones((round(size), round(size / 2)))), stroke=drawn)


class Unjoined:
    """A generator of random numbers by which no word is joined."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def random(self):
        return 0.99

    def __getattr__(self, name):
        return getattr(self.rng, name)


def write(text, rng=None):
    hand = to_learn().alphabets[0]
    return list(write_text(text, 100, hand, to_learn(), PEN, rng or Unjoined(0)))


@pytest.mark.parametrize(
    "text, labels",
    [
        ("0", [7]),
        ("0x", [7, LETTER]),
        ("O 00", [LEFT_OUT, 7, 7]),  # alone it may be a zero
        ("0l", [7, LEFT_OUT]),
        ("0z+0", [7, LEFT_OUT, LETTER, 7]),
        ("(B0)", [LETTER, LEFT_OUT, 7, LETTER]),
        ("lO0", [LETTER, LETTER, 7]),  # two letters are a word
        ("oil 0", [LETTER] * 3 + [7]),
        ("I see", [LETTER] * 4),  # among words nothing is a digit
        ("(0-0)/0", [LETTER, 7, LETTER, 7, LETTER, LETTER, 7]),
    ],
)
def test_a_0_is_any_digit_and_what_looks_like_one_is_a_letter_in_words_only(text, labels):
    assert [sign.label for sign in write(text)] == labels


def test_a_joined_word_is_one_sign_whose_letters_have_no_places():
    class Joined(Unjoined):
        def random(self):
            return 0.0 if self.rng.random() < 0.5 else 0.49

    found = [sign.label for seed in range(10) for sign in write("oil lamp 0", Joined(seed))]
    assert NO_DIGIT in found and 7 in found and len(found) < 10 * 8


def test_signs_stand_side_by_side_on_the_line():
    for seed in range(5):
        signs = write("abg 00 + 0", Unjoined(seed))
        for sign, following in pairwise(signs):
            assert sign.left + sign.ink.shape[1] < following.left
        a, b, g, digit, _, plus, _ = signs
        bottoms = [sign.top + sign.ink.shape[0] for sign in signs]
        assert max(abs(bottoms[0]), abs(bottoms[3])) < 8
        assert bottoms[2] == pytest.approx(35, abs=8)  # below the line
        assert -a.top < 75 < -b.top and g.top > b.top and digit.top == pytest.approx(-100, abs=25)
        assert -90 < plus.top < bottoms[5] < -5


def test_a_letter_that_a_person_did_not_write_is_by_somebody_else_and_one_of_nobody_is_left_out():
    assert len(write("xx")) == 2
    nobody = Hand([], {})
    signs = list(write_text("a\u20ac0", 100, nobody, to_learn(), PEN, Unjoined(0)))
    assert [sign.label for sign in signs] == [LETTER, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_made_of_digits_and_of_signs_that_somebody_wrote(kind):
    rng = np.random.default_rng(0)
    known = {name for hand in to_learn().alphabets for name in hand.letters}
    texts = [some_text(kind, to_learn().words, rng) for _ in range(200)]
    assert set("".join(texts)) - {" ", "0"} <= known
    assert len(set(texts)) > 15 and any("0" in text for text in texts) == (kind != "words")


def test_digits_that_are_joined_have_boxes_around_their_ink():
    eight = PenDigit(8, 1, [np.array([[0.0, 0], [50, 100], [0, 100], [50, 0], [0, 0]])])
    one = Written(1, 2, [np.array([[0.0, 0], [0, 100]])], "digit", "A")
    whole, *signs = write_joined([eight, one, eight], 60, 4, np.random.default_rng(0))
    assert whole.label is None and [sign.label for sign in signs] == [8, 1, 8]
    assert not any(sign.ink.any() for sign in signs)
    outside = whole.ink.copy()
    for sign in signs:
        top, left = round(sign.top - whole.top), round(sign.left - whole.left)
        height, width = sign.ink.shape
        in_box = whole.ink[max(0, top) : top + height, left : left + width]
        assert in_box.max() > 0.9 and height == pytest.approx(64, abs=1)
        outside[max(0, top - 2) : top + height + 2, max(0, left - 2) : left + width + 2] = 0
    joints = outside.max(axis=0) > 0.5
    assert joints.sum() < 20  # only the strokes between them lie outside
    assert whole.ink.any(axis=0).mean() > 0.9  # in one go: no gap
    ones, *_ = write_joined([one, one], 400, 4, np.random.default_rng(0))
    assert ones.ink.shape[1] > 10 and ones.ink.any(axis=0).mean() > 0.9
    wide = PenDigit(4, 1, [np.array([[0.0, 0], [100, 50]])])
    whole, sign, _ = write_joined([wide, wide], 60, 4, np.random.default_rng(0))
    assert whole.top == sign.top == pytest.approx(-30)
