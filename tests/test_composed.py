"""Composed pages and pieces: who wrote them, and whether their labels and boxes are right."""

import numpy as np
import pytest
import torch
from hands import to_choose, to_learn, to_measure

from checkpoints import PAGES_PATH, load_checkpoint
from handwriting.composed import pages, pieces
from handwriting.composed.ink import add_frames, view_of_box
from handwriting.composed.pages import (
    DIFFICULTIES,
    MAX_TRIES,
    READABLE,
    least_contrast,
    readable_pages,
    write_page,
)
from handwriting.composed.pieces import (
    PIECE,
    Piece,
    Pieces,
    add_marks,
    around_one,
    compose_piece,
    lay_cells,
    targets_of,
)
from handwriting.composed.writing import LEFT_OUT, NO_DIGIT
from handwriting.data import (
    PEN_WRITERS,
    PenDigit,
    Written,
    load_pen_digits,
    load_unipen,
    split_unipen,
)
from handwriting.page import LETTER, NONE, SURE, PageNetwork, even_out, read_digits
from handwriting.scoring import add_scores, score_page
from mnist_helpers import accuracy

# Pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, 0, 1])
def test_all_ink_of_a_page_lies_in_boxes_that_are_no_larger_than_it(number):
    writer = None if number is None else to_measure().writers[number]
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
    found = list(readable_pages("easy", None, 2, 7, composed))
    assert [page.photo for page in found] == [made[2], made[5]] and len(made) == 6
    assert made == [np.random.default_rng(7 + number).integers(1000) for number in range(6)]
    monkeypatch.setattr(pages, "READABLE", 1000)
    with pytest.raises(RuntimeError, match=f"of {2 * MAX_TRIES} pages 0 are readable, not 2"):
        list(readable_pages("easy", None, 2, 7, composed))


def test_a_page_with_words_has_as_many_others_as_digits_and_every_fifth_has_no_digit():
    composed = [
        pages.compose_page_with_words(
            DIFFICULTIES["easy"], to_measure(), np.random.default_rng(seed)
        )
        for seed in range(20)
    ]
    num_digits = [sum(map(len, page.rows)) for page in composed]
    assert all(page.num_others >= number for page, number in zip(composed, num_digits, strict=True))
    assert 1 <= num_digits.count(0) <= 8 and np.mean(num_digits) > 8
    for page in composed:
        for top, left, bottom, right in (box for row in page.boxes for box in row):
            around = page.photo[max(0, top - 8) : bottom + 8, max(0, left - 8) : right + 8]
            assert np.quantile(page.photo[top:bottom, left:right], 0.05) < np.median(around) - 10


def test_a_crop_ends_where_its_digit_does():
    for seed in range(20):
        page = pages.compose_crop(DIFFICULTIES["easy"], to_measure(), np.random.default_rng(seed))
        ((top, left, bottom, right),) = page.boxes[0]
        height, width = page.photo.shape
        assert min(top, left, height - bottom, width - right) >= 0
        assert max(top, height - bottom) <= 2 < 20 <= bottom - top
        assert max(left, width - right) <= height / 2
        assert page.rows[0][0] in (1, 7)


def test_the_number_of_a_heading_is_more_than_twice_as_large_as_what_follows():
    for seed in range(10):
        page = pages.compose_heading(
            DIFFICULTIES["easy"], to_measure(), np.random.default_rng(seed)
        )
        sizes = [
            max(bottom - top, right - left)
            for row in page.boxes
            for top, left, bottom, right in row
        ]
        of_heading, of_others = np.split(np.array(sizes), [len(page.rows[0])])
        assert of_heading.min() > 2 * np.median(of_others) > 0


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


def test_nobody_wrote_for_two_purposes(loaders):
    hands = to_learn(), to_choose(), to_measure()
    images, labels = (
        torch.cat(two)
        for two in zip(*(loader.dataset.tensors for loader in loaders[:2]), strict=True)
    )
    assert np.array_equal(
        np.concatenate([h.images for h in hands]), (255 * images[:, 0]).round().byte().numpy()
    )
    assert np.array_equal(np.concatenate([h.labels for h in hands]), labels.numpy())
    assert [len(h.images) for h in hands] == [48_000, 6_000, 6_000]
    in_unipen = split_unipen(load_unipen())
    for h, of_pen, of_unipen in zip(hands, PEN_WRITERS, in_unipen, strict=True):
        written = [item for hand in h.writers for item in hand.digits]
        assert {item.writer for item in written if isinstance(item, PenDigit)} == of_pen
        others = [item for item in written if isinstance(item, Written)]
        others += [
            item for hand in h.alphabets for items in hand.letters.values() for item in items
        ]
        assert {item.writer for item in [*others, *h.words]} <= of_unipen
        assert {item.kind for item in h.words} == {"word"}
        for hand in [*h.writers, *h.alphabets]:  # one person's, each sign under its name
            signs = [item for items in hand.letters.values() for item in items]
            assert len({item.writer for item in [*hand.digits, *signs]}) == 1
            assert all(item.label == name for name, items in hand.letters.items() for item in items)
        assert min(len(hand.letters) for hand in h.alphabets) >= 20
    of_writers = [sum(len(hand.digits) for hand in h.writers) for h in hands]
    assert sum(of_writers) == len(load_pen_digits()) + sum(i.kind == "digit" for i in load_unipen())
    taught = {word.label for word in to_learn().words}
    assert not any(word.label in taught for h in hands[1:] for word in h.words)


def test_a_piece_has_ink_where_it_has_a_digit():
    """At least where the piece is bright enough: its boxes are darker, or lighter, than around."""
    depths = []
    for seed in range(60):
        piece = compose_piece(to_learn(), np.random.default_rng(seed))
        assert piece.photo.shape == (PIECE, PIECE) and piece.photo.dtype == np.uint8
        even = even_out(torch.tensor(piece.photo / 255)[None, None].float())[0, 0].numpy()
        of_digits = [
            box for label, box in zip(piece.labels, piece.boxes, strict=True) if 0 <= label <= 9
        ]
        for top, left, bottom, right in of_digits:
            in_box = even[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
            if in_box.size > 50:
                depths.append(np.abs(in_box).mean() > np.abs(even).mean())
    assert len(depths) > 200 and np.mean(depths) > 0.75


def lay_joined(*_):
    """A number in one go, which begins where the cloth is."""
    yield None, 20, 20, np.ones((30, 60))
    yield 3, 20, 20, np.zeros((30, 20))
    yield 8, 20, 60, np.zeros((30, 20))


@pytest.mark.parametrize(
    "layout", [pieces.lay_digits, pieces.lay_lines, pieces.lay_cells, lay_joined]
)
def test_each_digit_of_a_piece_has_its_ink_or_a_part_of_it(layout, monkeypatch):
    """Also those that are joined, or lie at the edge of what the picture shows."""
    kept = {}
    monkeypatch.setattr(pieces, "add_frames", lambda *_: None)
    monkeypatch.setattr(pieces, "add_marks", lambda ink, *_: kept.update(ink=ink) or [])
    for name in "lay_digits", "lay_lines", "lay_cells":
        monkeypatch.setattr(pieces, name, layout)
    at_left = np.arange(PIECE) < 40 + np.zeros((PIECE, 1))
    if layout == lay_joined:
        monkeypatch.setattr(pieces, "side_with_cloth", lambda rng: at_left)
    num_digits = 0
    for seed in range(150):
        kept.clear()
        piece = compose_piece(to_learn(), np.random.default_rng(seed))
        for label, box in zip(piece.labels, piece.boxes, strict=True):
            inside = view_of_box(kept.get("ink", np.ones((PIECE, PIECE))), box)
            top, left, bottom, right = box
            is_whole = inside.size > 0.9 * (bottom - top) * (right - left)
            if 0 <= label <= 9 and is_whole and bottom - top >= 15:
                num_digits += 1
                assert inside.max() > 0.2, (seed, label, box)
    assert num_digits > 100


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


def test_a_letter_is_one_near_its_centre_and_elsewhere_in_its_box_only_no_digit():
    target, distances = targets_of(piece_with((40, 50, 70, 66), label=LETTER))
    assert target[14, 14] == LETTER and distances[:, 14, 14].tolist() == [16.5, 6.5, 13.5, 9.5]
    assert target[11, 13] == NO_DIGIT and target[0, 0] == NONE and (target != LEFT_OUT).all()
    for box in (40, 50, 50, 58), (40, 50, 100, 60), (-10, 50, 14, 66):  # small, large, cut off
        target, _ = targets_of(piece_with(box, label=LETTER))
        assert (target != LETTER).all() and (target == NO_DIGIT).any()


def test_of_a_whole_word_only_the_digits_are_wrong_and_only_in_its_box():
    target, distances = targets_of(piece_with((40, 20, 60, 120), label=NO_DIGIT))
    assert (target[10:15, 5:30] == NO_DIGIT).all() and (target == NO_DIGIT).sum() == 5 * 25
    assert (target[target != NO_DIGIT] == NONE).all() and not distances.any()


def test_what_looks_like_a_digit_may_be_anything():
    target, distances = targets_of(piece_with((40, 50, 70, 66), label=LEFT_OUT))
    assert target[14, 14] == LEFT_OUT and not ((target >= 0) & (target < NONE)).any()
    assert target[0, 0] == NONE and not distances.any()


def test_a_digit_in_the_box_of_a_word_keeps_its_places():
    piece = Piece(
        np.zeros((PIECE, PIECE), np.uint8), [7, NO_DIGIT], [(40, 50, 70, 66), (35, 40, 75, 90)]
    )
    target, _ = targets_of(piece)
    assert target[14, 14] == 7 and target[10, 21] == NO_DIGIT


def test_a_picture_around_one_digit_shows_it_whole_and_nothing_else():
    labels, boxes = [7, LETTER, 3], [(-9, 40, 20, 60), (40, 40, 60, 52), (80, 90, 110, 100)]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picture, (label,), (box,) = around_one((0, 0, PIECE, PIECE), labels, boxes, rng)
        assert label == 3 and box == boxes[2]  # the 7 is cut off
        top, left, bottom, right = picture
        assert 75 <= top <= 80 and 85 <= left <= 90 and 110 <= bottom <= 115 and 100 <= right <= 105
    cut_off = (0, 0, PIECE, PIECE), labels[:2], boxes[:2]
    assert around_one(*cut_off, np.random.default_rng(0)) == cut_off


def test_cells_of_a_table_have_their_digits_in_the_middle():
    """Where a digit has its middle, there is no line."""
    for seed in range(10):
        ink = np.zeros((PIECE, PIECE))
        rng = np.random.default_rng(seed)
        signs = list(lay_cells(ink, 20, 0.05, to_learn(), None, 0.0, rng))
        lines = ink > 0.25
        assert lines.all(axis=0).sum() > 1 and lines.all(axis=1).sum() > 1 and len(signs) > 3
        for _, top, left, digit in signs:
            y, x = top + digit.shape[0] // 2, left + digit.shape[1] // 2
            assert not view_of_box(lines, (y - 4, x - 4, y + 4, x + 4)).any()


def test_a_frame_leaves_what_is_inside_as_it_is():
    for seed in range(20):
        ink = np.zeros((100, 120))
        add_frames(ink, [(40, 30, 60, 45)], 20, np.random.default_rng(seed))
        assert not ink[39:61, 29:46].any()
        if ink.any():
            rows, columns = ink.nonzero()
            assert rows.min() < 39 and rows.max() > 60 and columns.min() < 29 and columns.max() > 45


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
    assert is_clear.sum() > 0.5 * at_digits.sum() > 150
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
        marks = add_marks(ink, boxes, 25, 0.1, 0.0, to_learn().words, np.random.default_rng(seed))
        marked += ink.sum()
        assert not ink[20:50, 20:40].any() and not ink[60:90, 30:60].any()
        assert not ink[:15, 100:125].any()
        for box in marks:
            view_of_box(ink, box)[:] = 0
        assert not ink.any()  # no mark lies outside of the boxes
    assert marked > 1000
