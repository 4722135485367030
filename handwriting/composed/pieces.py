"""Composed pieces of pages, to train the network with, and what it has to say at each place."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from handwriting.composed.ink import (
    add_frames,
    any_digit,
    draw_mark,
    draw_pen_digit,
    lay_down,
    leaning,
    pressure_of_hand,
    view_of_box,
    wavy,
)
from handwriting.composed.paper import (
    as_grey,
    from_jpeg,
    light_on_page,
    line_at,
    paper_of_page,
    smooth_noise,
)
from handwriting.composed.writing import (
    KINDS,
    LEFT_OUT,
    NO_DIGIT,
    Pen,
    Sign,
    alphabet_beside,
    some_text,
    write_joined,
    write_text,
)
from handwriting.data import Hands, PenDigit
from handwriting.page import LARGEST, LETTER, NONE, SMALLEST, STRIDE, TOLERANCE

PIECE = 160  # pixels: the sides of a piece


class Piece(NamedTuple):
    """A piece of a composed page, and the digits and other signs on it."""

    photo: np.ndarray  # uint8, (PIECE, PIECE)
    labels: list[int]  # digits, LETTER, NO_DIGIT, LEFT_OUT
    boxes: list[tuple[int, int, int, int]]  # top, left, bottom, right: some end outside of it


def compose_piece(hands: Hands, rng: np.random.Generator) -> Piece:
    """Compose a piece of a page: digits of any size or none, and much that is no digit."""
    shape = (PIECE, PIECE)
    height = height_of_piece(rng)
    pen = log_uniform(0.02, 0.16, rng)  # its width, as a share of the digits' height
    slope = np.tan(np.radians(rng.uniform(-6, 6)))
    cloth = side_with_cloth(rng) if rng.random() < 0.2 else np.zeros(shape, bool)
    picture = (0, 0, PIECE, PIECE)
    if rng.random() < 0.2:  # the picture ends here, and perhaps shows a strip of the table
        picture = end_of_picture(rng)
        strip = np.roll(outside_of(picture), rng.integers(-10, 11), axis=rng.integers(2))
        cloth = cloth | strip
    outside = outside_of(picture)

    ink = np.zeros(shape)
    labels, boxes = [], []
    if rng.random() < 0.9:
        hand = None
        if rng.random() < 0.6:
            hand = hands.writers[rng.integers(len(hands.writers))]
        is_laid = False
        layout = [lay_digits, lay_lines, lay_cells][rng.choice(3, p=[0.4, 0.5, 0.1])]
        for label, top, left, of_sign in layout(ink, height, pen, hands, hand, slope, rng):
            box = (top, left, top + of_sign.shape[0], left + of_sign.shape[1])
            is_shown = not view_of_box(cloth | outside, box).any()
            if of_sign.any():  # else its ink is that of the one before
                is_laid = is_shown and lay_down(ink, of_sign, top, left)
            if label is not None and is_shown and is_laid and view_of_box(ink, box).size:
                labels.append(label)
                boxes.append(box)
    if rng.random() < 0.15:
        of_digits = [box for label, box in zip(labels, boxes, strict=True) if 0 <= label <= 9]
        add_frames(ink, of_digits, height, rng)
    if rng.random() < 0.05:
        picture, labels, boxes = around_one(picture, labels, boxes, rng)
        outside = outside_of(picture)
    elif rng.random() < 0.6:
        marks = add_marks(ink, boxes, height, pen, slope, hands.words, rng)
        labels += [NO_DIGIT] * len(marks)
        boxes += marks

    depth = rng.uniform(0.3, 1)
    if rng.random() < 0.12:  # a drawing
        photo = 1 - depth * ink
    else:
        photo = photo_of_piece(depth * ink, height, cloth, slope, rng)
    if outside.any():  # as the reader lays a picture on paper
        inside = view_of_box(photo, picture)
        border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        photo = np.where(outside, np.median(border), photo)
    return Piece(as_picture(photo, rng), labels, boxes)


def lay_digits(ink, height, pen, hands, hand, slope, rng):
    """Yield label, top, left and ink of digits in rows across a piece."""
    distance = height * rng.uniform(1.1, 2.3)  # from one row to the next
    gaps = (-0.06, 0.2) if rng.random() < 0.3 else (0.1, 0.8)  # some people leave none
    spread = rng.uniform(0.3, 0.6) if rng.random() < 0.1 else rng.uniform(0, 0.3)  # of their sizes
    joined = rng.uniform(0.2, 1) if rng.random() < 0.1 else 0  # the share in one go with the next
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
            bottom = base + slope * left + height * rng.uniform(-0.1, 0.1)
            if hand is not None and rng.random() < joined:
                chosen = rng.integers(len(hand.digits), size=rng.integers(2, 5))
                digits = [moved(hand.digits[index], 1, rng) for index in chosen]
                signs = write_joined(digits, size, pen * size, rng)
            else:
                label, of_digit = any_digit(size, pen, hands, hand, rng)
                signs = [Sign(label, -of_digit.shape[0], 0, of_digit)]
            for sign in signs:
                yield sign.label, int(bottom + sign.top), int(left + sign.left), sign.ink
            left += signs[0].ink.shape[1] + height * rng.uniform(*gaps)
            num_digits -= sum(sign.label is not None for sign in signs)
        base += distance


def lay_lines(ink, height, pen, hands, hand, slope, rng):
    """Yield label, top, left and ink of lines of writing across a piece, words and numbers."""
    alphabet = alphabet_beside(hand, hands, rng)
    pen_of_letters = height * pen
    with_pen = Pen(
        digit=lambda size: any_digit(size, pen, hands, hand, rng),
        stroke=lambda item, size: draw_pen_digit(moved(item, 0.5, rng), size, pen_of_letters),
    )
    kinds = [*KINDS, "foreign"]
    kind = rng.choice(kinds, p=[0.25, 0.25, 0.25, 0.1, 0.1, 0.05])
    is_mixed = rng.random() < 0.4
    distance = height * rng.uniform(1.2, 2.4)
    num_signs = rng.integers(5, 100)
    base = rng.uniform(0.3, 1) * distance
    while base < PIECE + height and num_signs > 0:
        left = rng.uniform(-8, 1) * min(height, 30)
        while left < PIECE and num_signs > 0:
            of_line = rng.choice(kinds[:-1]) if is_mixed else kind
            if of_line == "foreign":
                signs = foreign_signs(height, pen_of_letters, hands, rng)
            else:
                text = some_text(of_line, hands.words, rng)
                signs = write_text(text, height, alphabet, hands, with_pen, rng)
            begin = left
            for sign in signs:
                x = begin + sign.left
                if x > PIECE or num_signs <= 0:
                    break
                yield sign.label, int(base + slope * x + sign.top), int(x), sign.ink
                left = x + sign.ink.shape[1]
                num_signs -= 1
            left += height * rng.uniform(0.4, 4)
        base += distance


def foreign_signs(height, pen, hands, rng):
    """Yield a line of signs of no script that we know: strokes of letters, turned."""
    left = 0.0
    for _ in range(rng.integers(3, 12)):
        strokes = []
        for _ in range(rng.integers(2, 5)):
            letters = hands.alphabets[rng.integers(len(hands.alphabets))].letters
            written = letters[str(rng.choice(list(letters)))]
            stroke = written[0].strokes[0] / 250
            stroke = stroke - stroke.mean(axis=0)
            turn = [np.eye(2), [[0, 1], [-1, 0]], [[0, -1], [1, 0]], [[-1, 0], [0, 1]]]
            stroke = stroke @ np.array(turn[rng.integers(4)]) * rng.uniform(0.6, 1)
            strokes.append(250 * (stroke + rng.uniform(-0.3, 0.3, 2)))
        ink = draw_pen_digit(PenDigit(-1, -1, strokes), height * rng.uniform(0.8, 1.2), pen)
        yield Sign(LETTER, -ink.shape[0], left, ink)
        left += ink.shape[1] + height * rng.uniform(0.05, 0.4)


def lay_cells(ink, height, pen, hands, hand, slope, rng):
    """Yield label, top, left and ink of digits in the cells of a table, whose lines it draws."""
    down, right = np.mgrid[:PIECE, :PIECE]
    sides = height * rng.uniform(1.15, 2.2, 2)
    first = rng.uniform(0, 1, 2) * sides
    thickness = max(0.5, height * rng.uniform(0.01, 0.06))
    # line_at draws lines half-way between multiples of a side.
    lines = line_at(down - slope * right - first[0], sides[0], thickness)
    lines = np.maximum(lines, line_at(right + slope * down - first[1], sides[1], thickness))
    np.maximum(ink, rng.uniform(0.3, 1) * lines, out=ink)
    filled = rng.uniform(0.3, 1)
    num_digits = rng.integers(5, 60)
    for row in np.arange(first[0], PIECE + sides[0], sides[0]):
        for column in np.arange(first[1], PIECE + sides[1], sides[1]):
            if rng.random() > filled or num_digits == 0:
                continue
            label, of_digit = any_digit(height * rng.uniform(0.8, 1.1), pen, hands, hand, rng)
            y = row + slope * column + height * rng.uniform(-0.1, 0.1)
            x = column - slope * row + height * rng.uniform(-0.1, 0.1)
            yield label, int(y - of_digit.shape[0] / 2), int(x - of_digit.shape[1] / 2), of_digit
            num_digits -= 1


def moved(item, most, rng):
    """Return what somebody wrote, leaning and wavy as no hand writes it twice."""
    matrix = leaning(rng, most)
    strokes = wavy([stroke @ matrix.T for stroke in item.strokes], rng)
    return item._replace(strokes=strokes)


def around_one(picture, labels, boxes, rng):
    """Return the box of a picture that shows one digit and little more, its label and its box."""
    whole = [
        (label, (top, left, bottom, right))
        for label, (top, left, bottom, right) in zip(labels, boxes, strict=True)
        if 0 <= label <= 9 and min(top, left) >= 0 and max(bottom, right) <= PIECE
    ]
    if not whole:
        return picture, labels, boxes
    label, (top, left, bottom, right) = whole[rng.integers(len(whole))]
    room = (bottom - top) * rng.uniform(0, 0.15, 4)
    near = (top - room[0], left - room[1], bottom + room[2], right + room[3])
    picture = tuple(int(edge) for edge in np.clip(near, 0, PIECE))
    return picture, [label], [(top, left, bottom, right)]


def add_marks(ink, boxes, height, pen, slope, words, rng) -> list:
    """Add what is no digit, marks beside the digits, and now and then lines that may cross them.

    Returns:
        The boxes of the marks.
    """
    taken = np.zeros(ink.shape, bool)
    for top, left, bottom, right in boxes:
        view_of_box(taken, (top - 1, left - 1, bottom + 1, right + 1))[:] = True
    if rng.random() < 0.4:
        height = log_uniform(8, 80, rng)
    marks = []
    for _ in range(rng.integers(8, 40) if rng.random() < 0.3 else rng.integers(1, 7)):
        size = height * rng.uniform(0.4, 1.3)
        mark = draw_mark(size, max(0.8, pen * height), words, rng)
        top, left = (int(rng.integers(-side // 2, PIECE - side // 2)) for side in mark.shape)
        box = (top, left, top + mark.shape[0], left + mark.shape[1])
        place = view_of_box(taken, box)
        if not place.any():
            lay_down(ink, mark, top, left)
            place[:] = True
            marks.append(box)
    if rng.random() < 0.15:  # a frame, a fraction bar, a margin
        down, right = np.mgrid[:PIECE, :PIECE]
        place = down - slope * right if rng.random() < 0.6 else right + slope * down
        line = line_at(place, rng.uniform(30, 200), max(0.5, pen * height / 2))
        np.maximum(ink, rng.uniform(0.3, 1) * line, out=ink)
    return marks


def height_of_piece(rng) -> float:
    """A digit's height in pixels: mostly one of those to find, and else a smaller or larger one."""
    low, high = [(13, 42), (2.5, 14), (40, 200)][rng.choice(3, p=[0.67, 0.14, 0.19])]
    return log_uniform(low, high, rng)


def log_uniform(low, high, rng) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# Its photo ----------------------------------------------------------------------------------------


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


def end_of_picture(rng) -> tuple[int, int, int, int]:
    """Return the box of a picture, of any height and width, that doesn't fill a piece."""
    height, width = (int(log_uniform(20, PIECE, rng)) for _ in range(2))
    top, left = rng.integers(PIECE - height), rng.integers(PIECE - width)
    return int(top), int(left), int(top) + height, int(left) + width


def outside_of(picture) -> np.ndarray:
    """Tell where a piece shows no picture: around the picture's box."""
    outside = np.ones((PIECE, PIECE), bool)
    view_of_box(outside, picture)[:] = False
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


# What the network of page.py is to say ------------------------------------------------------------

LEAST_RADIUS = 2.9  # pixels: then at least one place is near the centre


def targets_of(piece: Piece) -> tuple[Tensor, Tensor]:
    """Return what to say at each place, int64 (40, 40), and the distances, float32 (4, 40, 40).

    Near the centre of a digit it is the label, elsewhere ``NONE``, and between them ``LEFT_OUT``.
    Near the centre of a letter it is ``LETTER``, and elsewhere within its box or that of a word
    ``NO_DIGIT``. The distances, in pixels, lead from a place near a centre to the upper, left,
    lower and right edge of the digit or letter.
    """
    side = PIECE // STRIDE
    y, x = np.mgrid[:side, :side] * STRIDE + 0.5  # the middle of a pixel at each place
    target = np.full((side, side), NONE)
    for label, (top, left, bottom, right) in zip(piece.labels, piece.boxes, strict=True):
        if label in (LETTER, NO_DIGIT):
            target[(top <= y) & (y < bottom) & (left <= x) & (x < right)] = NO_DIGIT
    distances = np.zeros((4, side, side), np.float32)
    nearest = np.full((side, side), np.inf)  # of the digits and letters so far, to each place
    for label, (top, left, bottom, right) in zip(piece.labels, piece.boxes, strict=True):
        size = max(bottom - top, right - left)
        if label == NO_DIGIT or not SMALLEST / TOLERANCE < size < LARGEST * TOLERANCE:
            continue  # a small or large digit is none
        from_centre = np.hypot(y - (top + bottom) / 2, x - (left + right) / 2)
        on_piece = view_of_box(piece.photo, (top, left, bottom, right)).size
        is_whole = on_piece >= 0.9 * (bottom - top) * (right - left)
        if is_whole and SMALLEST <= size <= LARGEST and label != LEFT_OUT:
            radius = max(LEAST_RADIUS, 0.15 * size)
            left_out_radius = 2 * radius
        else:
            radius = 0
            left_out_radius = 0.6 * size
        is_nearest = from_centre < nearest  # where two touch, a place is the nearer one's
        around = NO_DIGIT if label == LETTER else LEFT_OUT
        target[is_nearest & (from_centre < left_out_radius)] = around
        is_centre = is_nearest & (from_centre < radius)
        target[is_centre] = label
        edges = np.stack([y - top, x - left, bottom - y, right - x])
        distances[:, is_centre] = edges[:, is_centre]
        is_near = from_centre < left_out_radius
        nearest = np.where(is_near, np.minimum(from_centre, nearest), nearest)
    return torch.from_numpy(target), torch.from_numpy(distances)
