"""Photos of whole pages: what ``read_digits`` makes of paper as people photograph it."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from handwriting import composed
from handwriting.composed import DIFFICULTIES, READABLE, compose_page, draw_pen_digit, score_page
from handwriting.data import load_pen_digits
from handwriting.page import (
    Box,
    Part,
    cut_apart,
    depth_below,
    find_digits,
    name_digits,
    plot_reading,
    read_digits,
    sort_into_rows,
    thicken,
    typical_height,
)
from mnist_helpers import load_mnist

MNIST = load_mnist(train=False)
PENS = load_pen_digits()
CLEAR_WRITER = 9  # one whose digits the shipped weights read well; what is tested is the paper


def hand(labels):
    """One pen digit for each label, the first ones of a writer."""
    own = [digit for digit in PENS if digit.writer == CLEAR_WRITER]
    return [next(digit for digit in own if digit.label == label) for label in labels]


def write(rows, pen=0.05, size=80, gap=1.4, rise=0.0):
    """Ink from 0 to 1 of rows of digits, each in a field ``gap`` times as wide as high."""
    columns = max(map(len, rows))
    step = round(gap * size)
    page = np.zeros(((len(rows) + 1) * 2 * size, (columns + 1) * step))
    for number, row in enumerate(rows):
        for place, digit in enumerate(hand(row)):
            ink = draw_pen_digit(digit, size, pen * size)
            left = step // 2 + place * step
            top = (
                size // 2 + number * 2 * size + size - ink.shape[0] + round(rise * left) + size // 2
            )
            page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return page


def photo_of(ink, light=0.8, noise=0.01, blur=0.7, paper=1.0, seed=0):
    grey = light * paper * (1 - ink)
    grey = ndimage.gaussian_filter(grey, blur)
    grey = grey + noise * np.random.default_rng(seed).standard_normal(ink.shape)
    return (255 * grey).clip(0, 255).astype(np.uint8)


def digits_of(picture):
    return [[digit for digit, _ in row] for row in read_digits(picture)]


# Six photos that were refused, or misread without a word, before strokes were followed ------------

TEN = list(range(10))


def faint_ballpoint():
    """The pen presses unevenly: some strokes are a quarter as dark as others, and break."""
    ink = write([TEN], pen=0.03)
    pressure = 0.55 + 0.45 * np.sin(np.linspace(0, 9 * np.pi, ink.shape[1]))
    return [TEN], photo_of(0.7 * ink * pressure.clip(0.25))


def dim_pencil():
    rows = [[3, 0, 7], [5, 8, 6]]
    return rows, photo_of(0.4 * write(rows, pen=0.06), light=0.3, noise=0.02)


def column():
    rows = [[digit] for digit in (3, 6, 8, 0, 5, 2, 7)]
    return rows, photo_of(0.7 * write(rows), light=0.4, noise=0.025)


def five_rows():
    rows = [TEN[start:] for start in (0, 2, 4, 6, 8)]
    return rows, photo_of(0.7 * write(rows, rise=0.08))


def squared_paper():
    rows = [[3, 5, 2, 8], [0, 6, 7, 3]]
    ink = write(rows)
    down, right = np.indices(ink.shape)
    lines = ((down + 0.03 * right) % 40 < 2) | ((right - 0.03 * down) % 40 < 2)
    return rows, photo_of(0.7 * ink, paper=1 - 0.25 * lines)


def shadow_across():
    rows = [[3, 5, 2, 8, 0], [6, 7, 3, 0, 5]]
    ink = write(rows)
    down, right = np.indices(ink.shape)
    shadow = ndimage.gaussian_filter((down + right > ink.shape[0]).astype(float), 4)
    return rows, photo_of(0.7 * ink, paper=1 - 0.45 * shadow)


@pytest.mark.parametrize(
    "photo", [faint_ballpoint, dim_pencil, column, five_rows, squared_paper, shadow_across]
)
def test_real_paper_is_read_row_by_row(photo):
    rows, picture = photo()
    answer = digits_of(picture)
    assert [len(row) for row in answer] == [len(row) for row in rows]
    wrong = sum(a != b for got, row in zip(answer, rows, strict=True)
                for a, b in zip(got, row, strict=True))  # fmt: skip
    assert wrong <= sum(map(len, rows)) // 10


# Composed pages -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_composed_pages_nearly_all_are_read_and_nothing_is_lost_in_silence():
    scores = []
    for seed in range(45):
        difficulty = list(DIFFICULTIES.values())[seed % 3]
        page = compose_page(difficulty, MNIST, PENS, np.random.default_rng(seed))
        if page.contrast < READABLE:
            continue
        found = find_digits(page.photo)
        if found.unread:
            scores.append(score_page(page, [], None))
            continue
        factor = page.photo.shape[0] / found.grey.shape[0]
        boxes = [[tuple(factor * x for x in digit.box) for digit in row] for row in found.rows]
        names = [[name for name, _ in row] for row in name_digits(found.rows)]
        scores.append(score_page(page, names, boxes))
    assert len(scores) >= 40
    assert sum(score.in_rows and score.lost == score.extra == 0 for score in scores) >= 0.93 * len(
        scores
    )
    assert sum(score.lost for score in scores) == 0
    answered = sum(score.digits - score.refused for score in scores)
    assert sum(score.right for score in scores) >= 0.95 * answered


def test_a_score_counts_what_is_lost_misread_and_too_many():
    places = [[(0, 0, 9, 9), (0, 20, 9, 29)], [(40, 0, 49, 9)]]
    page = composed.Page(None, [[1, 2], [3]], places, 9.0)
    answer = [[1, 7], [5]], [[(0, 0, 9, 9), (1, 20, 10, 29)], [(80, 0, 89, 9)]]
    score = score_page(page, *answer)
    assert score == (3, 0, 2, 1, 1, 1, True)
    assert score_page(page, [], None).refused == 3


# Nothing is lost in silence -----------------------------------------------------------------------


def test_a_digit_too_faint_to_read_is_an_error_that_says_where():
    ink = 0.8 * write([[3, 5, 8]])
    ink[:, 280:] *= 0.15  # the 8, at the right
    picture = photo_of(ink, noise=0.006)
    where = r"faint or broken.*6\d% of the way from the left.*plot_reading"
    with pytest.raises(ValueError, match=where):
        read_digits(picture)


def test_digits_that_hang_together_are_an_error_that_says_where():
    ink = write([[3, 5, 8, 0, 2, 6]], gap=1.0)
    columns = np.arange(60, 520)
    wave = (120 + 20 * np.sin(columns / 12)).astype(int)  # through all of them, and not straight
    for thickness in range(-4, 4):
        ink[wave + thickness, columns] = 1
    with pytest.raises(ValueError, match=r"hang together|too wide for one digit"):
        read_digits(photo_of(0.8 * ink))


def touching(*indices):
    """Test images of MNIST, enlarged and pushed together until they touch."""
    parts = []
    for index in indices:
        ink = np.asarray(Image.fromarray(MNIST.data[index].numpy()).resize((112, 112))) > 100
        columns = np.nonzero(ink.any(axis=0))[0]
        parts.append(ink[:, columns[0] : columns[-1] + 1])
    return np.hstack(parts)


def as_part(ink):
    return Part(Box(0, 0, *ink.shape), ink)


def test_two_digits_that_touch_are_cut_where_both_are_read_with_confidence():
    ink = touching(10, 25)  # two 0s
    (row,) = name_digits([sorted(cut_apart(as_part(ink[8:104])), key=lambda part: part.box.left)])
    assert [digit for digit, _ in row] == [0, 0]


def test_a_wide_blot_is_not_cut():
    assert cut_apart(as_part(np.ones((40, 100), bool))) == []


@pytest.mark.parametrize("table", ["left", "right", "top", "bottom"])
def test_a_table_beside_the_page_is_left_out(table):
    rows = [[3, 5], [8, 0]]
    grey = photo_of(0.7 * write(rows))
    wood = 70 + 7 * composed.smooth_noise(grey.shape, 4, np.random.default_rng(0))
    at = {"left": np.s_[:, :25], "right": np.s_[:, -25:], "top": np.s_[:25], "bottom": np.s_[-25:]}
    grey[at[table]] = wood.clip(0, 255)[at[table]]
    assert [len(row) for row in digits_of(grey)] == [2, 2]


def test_light_ink_is_read_and_a_bright_spot_makes_no_ink_light():
    rows = [[3, 5, 8], [0, 2, 6]]
    picture = photo_of(0.4 * write(rows), light=0.6)
    assert digits_of(255 - picture) == digits_of(picture)
    down, right = np.indices(picture.shape)
    glare = 90 * np.exp(-((down - 60) ** 2 + (right - 30) ** 2) / 20_000)
    assert digits_of((picture + glare).clip(0, 255).astype(np.uint8)) == digits_of(picture)


def test_ink_is_as_deep_in_a_shadow_as_in_the_light():
    grey = np.full((4, 4), 200.0)
    grey[:, :2] /= 4
    paper = grey.copy()
    grey[1, 1] /= 2
    grey[1, 2] /= 2
    depth = depth_below(paper, grey)
    assert depth[1, 2] == 0.5 and depth[1, 1] == pytest.approx(0.25)  # too dark to be paper
    paper[:, :2] = grey[:, :2] = 120
    grey[1, 1] /= 2
    assert depth_below(paper, grey)[1, 1:3].tolist() == [0.5, 0.5]


# Rows ---------------------------------------------------------------------------------------------


def boxes(*places, height=80):
    ink = np.ones((height, 50), bool)
    return [Part(Box(top, left, top + height, left + 50), ink) for top, left in places]


@pytest.mark.parametrize("slope", [-0.09, 0, 0.09])  # 5°
def test_rows_may_slope(slope):
    places = [
        (round(100 + 130 * row + slope * x), x) for row in range(3) for x in range(0, 800, 90)
    ]
    rows = sort_into_rows(boxes(*places)[::-1])
    assert [len(row) for row in rows] == [9, 9, 9]
    for row in rows:
        assert [digit.box.left for digit in row] == list(range(0, 800, 90))
    assert [row[0].box.top for row in rows] == [100, 230, 360]


def test_a_small_digit_is_in_the_row_of_the_large_one_beside_it():
    (row,) = sort_into_rows([*boxes((100, 0)), *boxes((140, 80), height=40)])
    assert len(row) == 2


def test_specks_hardly_count_for_the_height_of_the_digits():
    ink = np.zeros((300, 300), bool)
    ink[20:100, 20:60] = ink[20:110, 100:140] = True
    ink[200::8, ::8] = True
    assert 80 <= typical_height(ink) <= 90


def test_thin_strokes_are_made_as_wide_as_mnists_and_wide_ones_stay():
    thin = draw_pen_digit(hand([5])[0], 100, 2) > 0.5
    thicker = thicken(thin)
    assert 2.5 * thin.sum() < thicker.sum() < 7 * thin.sum()
    wide = draw_pen_digit(hand([5])[0], 100, 14) > 0.5
    assert thicken(wide) is wide


# What was read is shown ---------------------------------------------------------------------------


def test_what_was_read_is_shown_above_each_digit_and_what_was_not_has_a_question_mark():
    ink = 0.8 * write([[3, 5, 8]])
    picture = photo_of(ink, noise=0.006)
    ax = plot_reading(picture)
    names = [str(digit) for digit in digits_of(picture)[0]]
    assert [text.get_text()[0] for text in ax.texts] == names and len(ax.patches) == 3
    ink[:, 280:] *= 0.15
    ax = plot_reading(photo_of(ink, noise=0.006))
    assert ax.texts[-1].get_text() == "?" and len(ax.texts) == 3
