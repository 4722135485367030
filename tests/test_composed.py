"""Composed pages and pieces: who wrote them, and whether their labels and boxes are right."""

import numpy as np
import pytest
import torch
from hands import to_learn, to_measure

from checkpoints import PAGES_PATH, load_checkpoint
from handwriting.composed import pages, pieces
from handwriting.composed.pages import (
    DIFFICULTIES,
    MAX_TRIES,
    READABLE,
    least_contrast,
    readable_pages,
    write_page,
)
from handwriting.composed.pieces import PIECE, Piece, Pieces, add_marks, compose_piece, targets_of
from handwriting.data import load_pen_digits
from handwriting.page import NONE, SURE, PageNetwork, even_out, read_digits
from handwriting.scoring import add_scores, score_page
from mnist_helpers import accuracy

# Pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, 0, 1])
def test_all_ink_of_a_page_lies_in_boxes_that_are_no_larger_than_it(number):
    writer = None if number is None else list(to_measure().writers)[number]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        ink, rows, boxes = write_page(80, 0.08, to_measure(), writer, 0.05, rng)
        assert [len(row) for row in rows] == [len(row) for row in boxes]
        outside = ink.copy()
        for top, left, bottom, right in (box for row in boxes for box in row):
            outside[top:bottom, left:right] = 0
            in_box = ink[top:bottom, left:right] > 0.2
            for axis in (0, 1):  # from edge to edge, but for the softness of the pen's
                (inked,) = in_box.any(axis=1 - axis).nonzero()
                assert inked[0] <= 2 and in_box.shape[axis] - inked[-1] <= 4
        assert outside.max() == 0


def test_contrast_is_the_depth_of_faint_ink_in_units_of_the_papers_unevenness():
    rng = np.random.default_rng(0)
    blank = 0.8 + 0.01 * rng.standard_normal((120, 120))
    ink = np.zeros((120, 120))
    ink[40:80, 50:70] = 1
    boxes = [[(40, 50, 80, 70)]]

    def contrast(depth):
        return least_contrast(blank, blank - depth * ink, ink, boxes, stroke=6, height=40)

    assert contrast(0.2) > READABLE > contrast(0.001) > 0
    assert contrast(0.2) == pytest.approx(2 * contrast(0.1))
    two = ink + np.roll(ink, 40, axis=1)
    faint = blank - 0.2 * ink - 0.1 * np.roll(ink, 40, axis=1)  # the second is
    both = [[(40, 50, 80, 70)], [(40, 90, 80, 110)]]
    of_both = least_contrast(blank, faint, two, both, stroke=6, height=40)
    assert of_both < 0.7 * contrast(0.2)
    half_faint = ink * np.where(np.arange(120) < 60, 1, 0.3)
    faint = least_contrast(blank, blank - 0.2 * half_faint, half_faint, boxes, 6, 40)
    assert faint > contrast(0.1)  # what is fainter than half of the darkest counts as no ink
    even_fainter = ink * np.where(np.arange(120) < 60, 1, 0.6)
    faint = least_contrast(blank, blank - 0.2 * even_fainter, even_fainter, boxes, 6, 40)
    assert contrast(0.1) < faint < contrast(0.15)


def test_pages_are_composed_until_so_many_are_readable_and_not_for_ever(monkeypatch):
    def composed(difficulty, hands, rng):
        made.append(rng.integers(1000))
        contrast = READABLE if len(made) % 3 == 0 else READABLE - 0.1
        return pages.ComposedPage(made[-1], [], [], contrast)

    made = []
    monkeypatch.setattr(pages, "compose_page", composed)
    found = list(readable_pages("easy", None, 2, first_seed=7))
    assert [page.photo for page in found] == [made[2], made[5]] and len(made) == 6
    assert made == [np.random.default_rng(7 + number).integers(1000) for number in range(6)]
    monkeypatch.setattr(pages, "READABLE", 1000)
    with pytest.raises(RuntimeError, match=f"of {2 * MAX_TRIES} pages 0 are readable, not 2"):
        list(readable_pages("easy", None, 2, first_seed=7))


@pytest.mark.slow
def test_of_composed_pages_nearly_all_digits_are_read():
    scores = []
    for seed in range(48):
        difficulty = list(DIFFICULTIES.values())[seed % 3]
        page = pages.compose_page(difficulty, to_measure(), np.random.default_rng(seed))
        if page.contrast >= READABLE:
            scores.append(score_page(page, read_digits(page.photo)))
    assert len(scores) >= 40
    total = add_scores(scores)
    assert total["right"] >= 0.98 * total["digits"]
    assert total["lost"] + total["invented"] <= 0.01 * total["digits"]
    assert total["whole"] >= 0.75 * len(scores)


# Pieces -------------------------------------------------------------------------------------------


def test_nobody_wrote_both_what_is_learned_and_what_is_measured(loaders):
    assert len(to_learn().writers) == 20 and len(to_measure().writers) == 10
    assert not set(to_learn().writers) & set(to_measure().writers)
    assert sum(map(len, (to_learn().images, to_measure().images))) == 60_000
    for hands, loader in (to_learn(), loaders[0]), (to_measure(), loaders[1]):
        images, labels = loader.dataset.tensors
        assert np.array_equal(hands.images, (255 * images[:, 0]).round().byte().numpy())
        assert np.array_equal(hands.labels, labels.numpy())
    num_digits = sum(
        len(digits) for h in (to_learn(), to_measure()) for digits in h.writers.values()
    )
    assert num_digits == len(load_pen_digits())


def test_a_piece_has_ink_where_it_has_a_digit():
    """At least where the piece is bright enough: its boxes are darker, or lighter, than around."""
    depths = []
    for seed in range(60):
        piece = compose_piece(to_learn(), np.random.default_rng(seed))
        assert piece.photo.shape == (PIECE, PIECE) and piece.photo.dtype == np.uint8
        even = even_out(torch.tensor(piece.photo / 255)[None, None].float())[0, 0].numpy()
        for top, left, bottom, right in piece.boxes:
            in_box = even[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
            if in_box.size > 50:
                depths.append(np.abs(in_box).mean() > np.abs(even).mean())
    assert len(depths) > 200 and np.mean(depths) > 0.8


def test_pieces_depend_on_their_number_and_seed_alone():
    some, again, others = (
        Pieces(to_learn(), 5, 0),
        Pieces(to_learn(), 5, 0),
        Pieces(to_learn(), 5, 1),
    )
    assert len(some) == 5
    assert np.array_equal(some[3].photo, again[3].photo) and some[3].boxes == again[3].boxes
    assert not np.array_equal(some[3].photo, some[2].photo)
    assert not np.array_equal(some[3].photo, others[3].photo)


def piece_with(*boxes, label=7):
    return Piece(np.zeros((PIECE, PIECE), np.uint8), [label] * len(boxes), list(boxes))


def test_a_place_is_a_digits_near_its_centre_and_none_elsewhere():
    target, distances = targets_of(piece_with((40, 50, 70, 66)))  # centre: row 55, column 58
    row, column = 14, 14  # the place at 56.5, 56.5
    assert target[row, column] == 7
    assert distances[:, row, column].tolist() == [16.5, 6.5, 13.5, 9.5]
    assert target[0, 0] == NONE and (target == 7).sum() < 10 < (target == -1).sum() < 60
    assert (distances[:, target != 7] == 0).all()


@pytest.mark.parametrize(
    "size, count", [(11, 0), (13, 0), (15, 1), (30, 1), (40, 1), (45, 0), (60, 0)]
)
def test_smaller_and_larger_digits_are_none(size, count):
    target, _ = targets_of(piece_with((40, 40, 40 + size, 40 + size // 2)))
    assert ((target == 7).sum() > 0) == count
    assert ((target == -1).sum() > 0) == (12 < size < 50)


def test_places_near_a_digit_that_is_cut_off_are_left_out():
    target, _ = targets_of(piece_with((-10, 40, 20, 60)))
    assert (target == 7).sum() == 0 and target[1, 12] == -1 and target[16, 16] == NONE


def test_of_two_digits_that_touch_each_has_its_own_places():
    piece = Piece(np.zeros((PIECE, PIECE), np.uint8), [3, 8], [(40, 40, 60, 52), (40, 51, 60, 63)])
    target, _ = targets_of(piece)
    assert target[12, 11] == 3 and target[12, 14] == 8


def test_of_three_places_between_two_digits_the_middle_one_is_the_nearers():
    one, other = (40, 40, 60, 52), (40, 46, 60, 58)  # 6 pixels apart
    for labels, boxes in ([3, 8], [one, other]), ([8, 3], [other, one]):
        target, _ = targets_of(Piece(np.zeros((PIECE, PIECE), np.uint8), labels, boxes))
        assert target[12, 11:14].tolist() == [3, 3, 8]


def test_the_network_that_ships_says_of_pieces_what_their_labels_say():
    """It was trained before: should labels or boxes become wrong, the two disagree."""
    network = PageNetwork().eval()
    load_checkpoint(network, PAGES_PATH)
    some = [compose_piece(to_learn(), np.random.default_rng((5, number))) for number in range(60)]
    photos = torch.tensor(np.stack([piece.photo for piece in some]))[:, None] / 255
    targets, distances = map(torch.stack, zip(*map(targets_of, some), strict=True))
    with torch.inference_mode():
        log_probs, guessed = network(even_out(photos))
    at_digits = (targets >= 0) & (targets < NONE)
    probabilities, said = log_probs.exp().max(dim=1)
    # Some digits are too faint, or too blurred.
    is_clear = at_digits & (said != NONE) & (probabilities >= SURE)
    assert is_clear.sum() > 0.6 * at_digits.sum() > 200
    assert accuracy(said[is_clear], targets[is_clear]) > 0.98
    assert (said[targets == NONE] == NONE).float().mean() > 0.99
    misses = (guessed - distances).abs().mean(dim=1)[is_clear]
    assert misses.mean() < 1  # pixels


def test_marks_lie_beside_the_digits(monkeypatch):
    """Apart from long lines, which may cross them."""
    monkeypatch.setattr(pieces, "line_at", lambda place, *_: np.zeros_like(place))
    boxes = [(20, 20, 50, 40), (60, 30, 90, 60), (-10, 100, 15, 125)]
    marked = 0.0
    for seed in range(50):
        ink = np.zeros((PIECE, PIECE))
        add_marks(ink, boxes, 25, 0.1, 0.0, np.random.default_rng(seed))
        marked += ink.sum()
        assert not ink[20:50, 20:40].any() and not ink[60:90, 30:60].any()
        assert not ink[:15, 100:125].any()
    assert marked > 1000
