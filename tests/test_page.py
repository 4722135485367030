"""Photos of whole pages: what ``read_digits`` makes of paper as people photograph it."""

import io
from difflib import SequenceMatcher

import numpy as np
import pytest
import torch
from cells import source_of
from hands import to_learn, to_measure
from PIL import Image
from scipy import ndimage

from checkpoints import PAGES_PATH, Results
from handwriting import composed
from handwriting import page as reader
from handwriting.composed import PIECE, compose_piece, draw_pen_digit
from handwriting.page import (
    PageNetwork,
    Reading,
    even_out,
    plot_reading,
    read_digits,
    sort_into_rows,
)
from mnist_helpers import BLUE, ORANGE

CLEAR_WRITER = 5  # one whose digits are read well; what is tested is the paper


def hand(labels):
    """One pen digit for each label, the first ones of a writer."""
    digits = to_measure().writers[CLEAR_WRITER].digits
    return [next(digit for digit in digits if digit.label == label) for label in labels]


def write(rows, pen=0.05, size=80, gap=1.4, rise=0.0):
    """Ink from 0 to 1 of rows of digits, each in a field ``gap`` times as wide as high."""
    columns = max(map(len, rows))
    step = round(gap * size)
    page = np.zeros(((len(rows) + 1) * 2 * size, (columns + 1) * step))
    for number, row in enumerate(rows):
        for place, digit in enumerate(hand(row)):
            ink = draw_pen_digit(digit, size, pen * size)
            left = step // 2 + place * step
            top = (2 * number + 2) * size - ink.shape[0] + round(rise * left)
            page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return page


def photo_of(ink, light=0.8, noise=0.01, blur=0.7, paper=1.0, seed=0):
    grey = light * paper * (1 - ink)
    grey = ndimage.gaussian_filter(grey, blur)
    grey = grey + noise * np.random.default_rng(seed).standard_normal(ink.shape)
    return (255 * grey).clip(0, 255).astype(np.uint8)


def digits_of(picture):
    return [[reading.digit for reading in row] for row in read_digits(picture)]


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


def beside_a_table():
    rows = [[3, 5], [8, 0]]
    grey = photo_of(0.7 * write(rows))
    wood = 70 + 7 * np.random.default_rng(0).standard_normal(grey.shape)
    grey[:, -25:] = wood[:, -25:]
    return rows, grey


def blackboard():
    rows = [[3, 5, 8], [0, 2, 6]]
    return rows, 255 - photo_of(0.5 * write(rows), light=0.7)


def glare():
    rows, picture = [[3, 5, 8], [0, 2, 6]], photo_of(0.4 * write([[3, 5, 8], [0, 2, 6]]), light=0.6)
    down, right = np.indices(picture.shape)
    spot = 90 * np.exp(-((down - 60) ** 2 + (right - 30) ** 2) / 20_000)
    return rows, (picture + spot).clip(0, 255).astype(np.uint8)


def table():
    """Three columns, far apart: read row by row."""
    rows = [[3, 5, 2], [0, 6, 7], [8, 2, 5]]
    return rows, photo_of(0.7 * write(rows, gap=3.0))


def hyphens_and_dots():
    rows = [[3, 5, 8], [0, 2, 6]]
    ink = write(rows, gap=1.8)
    for left in (195, 340):
        ink[200:206, left : left + 28] = 1
        ink[360:370, left + 10 : left + 20] = 1
    return rows, photo_of(0.7 * ink)


@pytest.mark.parametrize(
    "photo",
    [
        *(faint_ballpoint, dim_pencil, column, five_rows, squared_paper, shadow_across),
        *(beside_a_table, blackboard, glare, table, hyphens_and_dots),
    ],
)
def test_real_paper_is_read_row_by_row(photo):
    rows, picture = photo()
    answer = digits_of(picture)
    assert [len(row) for row in answer] == [len(row) for row in rows]
    wrong = sum(a != b for got, row in zip(answer, rows, strict=True)
                for a, b in zip(got, row, strict=True))  # fmt: skip
    assert wrong <= sum(map(len, rows)) // 10


@pytest.mark.parametrize("size", [20, 40, 110, 300])
def test_digits_of_any_size_are_read_and_their_boxes_are_in_the_pictures_pixels(size):
    rows = [[3, 5, 8], [0, 2, 6]]
    picture = photo_of(0.8 * write(rows, size=size, pen=0.08), blur=0.5)
    answer = read_digits(picture)
    assert [[reading.digit for reading in row] for row in answer] == rows
    for number, row in enumerate(answer):
        for place, reading in enumerate(row):
            top, left, bottom, _ = reading.box
            step = round(1.4 * size)
            assert abs(bottom - (2 * number + 2) * size) < 0.15 * size
            assert abs(top - (2 * number + 1) * size) < 0.15 * size
            assert abs(left - (step // 2 + place * step)) < 0.15 * size


def test_boxes_are_in_the_pixels_of_a_large_photo_that_is_shown_upright(tmp_path):
    rows = [[3, 5, 8]]
    upright = Image.fromarray(photo_of(0.8 * write(rows, size=300, pen=0.08)))
    small = read_digits(np.asarray(upright))
    large = upright.resize([3 * side for side in upright.size])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    path = tmp_path / "turned.jpg"
    large.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=90)
    for picture in (path, Image.open(path), np.asarray(large)):
        answer = read_digits(picture)
        assert [[reading.digit for reading in row] for row in answer] == rows
        for one, other in zip(answer[0], small[0], strict=True):
            assert one.box == pytest.approx([3 * edge for edge in other.box], abs=60)


def test_boxes_of_a_strip_are_in_its_pixels_too():
    """It is read at 30 by 2,000 pixels: one side is 2.5 times as long as there, the other 2.53."""
    row = photo_of(0.8 * write([[3, 5, 8]], size=60, pen=0.08))[52:128]
    paper = 5000 - row.shape[1]  # pixels, to the left of the digits
    strip = np.pad(row, ((0, 0), (paper, 0)), constant_values=204)
    (expected,), (found,) = read_digits(row), read_digits(strip)
    assert [reading.digit for reading in found] == [reading.digit for reading in expected]
    for one, other in zip(found, expected, strict=True):
        top, left, bottom, right = other.box
        assert one.box == pytest.approx((top, left + paper, bottom, right + paper), abs=8)


def page_of_small_digits(size, height, width, is_ruled, seed):
    """A clean page of 80 digits, in eight rows, and what is written on it."""
    rng = np.random.default_rng(seed)
    digits = [digit for hand in to_measure().writers for digit in hand.digits]
    page = np.zeros((height, width))
    rows, distance = [], 3 * size
    for row in range(8):
        labels = []
        for place in range(10):
            digit = digits[rng.integers(len(digits))]
            ink = draw_pen_digit(digit, size, 0.1 * size)
            top = height // 4 + row * distance - ink.shape[0]
            left = width // 4 + place * 2 * size
            page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
            labels.append(digit.label)
        rows.append(labels)
    paper = np.ones_like(page)
    if is_ruled:
        paper[:: distance // 2] = 0.8
    return photo_of(0.8 * page, paper=paper, blur=0.5), rows


def number_right(picture, rows):
    """How many of the digits are read in their rows, in the right order."""
    found = digits_of(picture)
    right = 0
    for row, read in zip(rows, found, strict=False):  # a row that is missing has none right
        matcher = SequenceMatcher(None, row, read, autojunk=False)
        right += sum(block.size for block in matcher.get_matching_blocks())
    return right


@pytest.mark.parametrize("size", [18, 27])
def test_small_digits_of_a_large_picture_are_read(size):
    """3 to 4 mm on a page of A4. At small sizes they run together, which tells nothing."""
    picture, rows = page_of_small_digits(size, 1500, 2000, is_ruled=size == 27, seed=size)
    assert number_right(picture, rows) >= 72


@pytest.mark.slow
@pytest.mark.parametrize("size", [18, 22, 27, 40, 52])
@pytest.mark.parametrize("is_ruled", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_so_are_those_of_any_page(size, is_ruled, seed):
    height, width = (1500, 2000) if size < 40 else (3000, 4000)
    picture, rows = page_of_small_digits(size, height, width, is_ruled, seed)
    assert number_right(picture, rows) >= 72


# From places to rows ------------------------------------------------------------------------------


def test_larger_and_smaller_digits_are_none_at_a_size():
    """So that the ring of a 6 is no 0 where the 6 itself is too large to be seen."""
    picture = torch.tensor(photo_of(0.8 * write([[6, 6, 6]], size=120, pen=0.1)) / 255)
    picture = picture[None, None].float()
    network, longest = reader.load_network(), max(picture.shape)
    with torch.inference_mode():
        for size in (7, 25, 80, 120):  # pixels that the 6 has
            found = reader.look(network, picture, round(longest * size / 120))
            likely = found.digits.amax(dim=1) > 0.5
            assert likely.sum() == (3 if size == 25 else 0), size


def test_each_digit_is_read_once_though_several_sizes_show_it():
    picture = photo_of(0.8 * write([[3, 5, 8]]))
    grey = torch.tensor(picture / 255)[None, None].float()
    with torch.inference_mode():
        found, factors = reader.look_at_sizes(reader.load_network(), grey)
    likely = found.where(found.some_digit > 0.5)
    assert len(likely.boxes) >= 6  # each at two sizes or more
    assert len(reader.best_of_each(likely, factors).boxes) == 3


def candidates(*sized, digit=3, probability=0.98):
    """Candidates of so many pixels at so many places, far from each other."""
    boxes = [(0, 1000 * i, size, 1000 * i + size) for i, size in enumerate(sized)]
    probabilities = torch.zeros(len(sized), 12)
    probabilities[:, digit], probabilities[:, reader.NONE] = probability, 1 - probability
    return reader.Candidates(probabilities, torch.tensor(boxes, dtype=torch.float32))


def together(*several):
    return reader.Candidates(*(torch.cat(tensors) for tensors in zip(*several, strict=True)))


def test_a_box_is_where_the_network_says_to_half_a_pixel():
    """It answers for the middle of the first pixel of each four, behind a margin of 24."""

    def network(picture):
        log_probs = torch.full((1, 12, picture.shape[2] // 4, picture.shape[3] // 4), -9.0)
        log_probs[:, reader.NONE] = 0
        log_probs[0, 3, 10, 12], log_probs[0, reader.NONE, 10, 12] = 0, -9  # at 40.5 and 48.5
        distances = torch.tensor([9.0, 8.0, 11.0, 12.0]).view(1, 4, 1, 1)
        return log_probs, distances.expand(1, 4, *log_probs.shape[2:])

    small = reader.look(network, torch.rand(1, 1, 80, 80), side=80)
    assert small.boxes.tolist() == [[16.5 - 9, 24.5 - 8, 16.5 + 11, 24.5 + 12]]
    large = reader.look(network, torch.rand(1, 1, 160, 160), side=80)
    assert torch.equal(large.boxes, 2 * small.boxes)


def test_a_margin_has_the_grey_that_most_of_the_border_has():
    grey = torch.ones(1, 1, 16, 24)
    grey[..., :6] = 0  # a dark table at the left
    wide = reader.with_margin(grey)
    assert wide.shape == (1, 1, 16 + 48, 24 + 48)
    assert (wide[..., :24] == 1).all() and torch.equal(wide[..., 24:40, 24:48], grey)


def test_a_few_large_digits_count_more_than_many_specks():
    assert reader.typical_size(candidates(*[10] * 30, 100, 110, 90)) == 100


def test_what_is_unsure_or_a_letter_does_not_count_unless_all_is():
    unsure, digits = candidates(900, probability=0.5), candidates(100, 110, 90)
    letters = candidates(900, digit=reader.LETTER)
    assert reader.typical_size(together(unsure, letters, digits)) == 100
    assert reader.typical_size(together(unsure, candidates(10))) == 10
    assert reader.typical_size(unsure) == 900


AT_ONE_SIZE = torch.tensor([0.25])  # at which 100 pixels are 25


def test_shares_are_those_of_the_smaller_box_and_of_both():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 4, 5], [20, 20, 30, 30]])
    others = torch.tensor([[5.0, 5, 15, 15], [0, 0, 10, 10]])
    of_smaller, of_both = reader.shares(boxes, others)
    assert of_smaller.tolist() == [[0.25, 1], [0, 1], [0, 0]]
    assert torch.allclose(of_both, torch.tensor([[25 / 175, 1], [0, 0.2], [0, 0]]))


def test_of_two_that_overlap_the_surer_stays():
    sure, unsure = candidates(100), candidates(100, digit=8, probability=0.7)
    unsure.boxes[:] += 20
    kept = reader.best_of_each(together(unsure, sure), AT_ONE_SIZE)
    assert torch.equal(kept.boxes, sure.boxes)
    assert torch.equal(kept.probabilities, sure.probabilities)
    inside = candidates(40, digit=0, probability=0.9)  # the ring of a 6
    kept = reader.best_of_each(together(inside, sure), AT_ONE_SIZE)
    assert torch.equal(kept.boxes, sure.boxes)


def test_two_that_hardly_overlap_both_stay():
    beside = candidates(100)
    beside.boxes[:, [1, 3]] += 80
    kept = reader.best_of_each(together(candidates(100), beside), AT_ONE_SIZE)
    assert len(kept.boxes) == 2


def test_a_probability_is_the_mean_of_all_sizes_at_which_a_digit_is_to_be_seen():
    seen, again = candidates(100, probability=0.9), candidates(101, digit=8, probability=0.6)
    two = reader.best_of_each(together(seen, again), torch.tensor([0.2, 0.3]))
    assert two.probabilities[0, [3, 8, reader.NONE]].tolist() == pytest.approx([0.45, 0.3, 0.25])
    # At a third size it has 35 pixels and isn't seen; at others it is too small or large.
    three = reader.best_of_each(together(seen, again), torch.tensor([0.1, 0.2, 0.3, 0.35, 0.6]))
    assert three.probabilities[0, [3, 8, reader.NONE]].tolist() == pytest.approx([0.3, 0.2, 0.5])
    assert three.probabilities.sum().item() == pytest.approx(1)


def test_a_letter_that_is_surer_takes_the_place_of_the_digit_in_it():
    digit, letter = candidates(40, digit=0, probability=0.9), candidates(100, digit=reader.LETTER)
    kept = reader.best_of_each(together(digit, letter), AT_ONE_SIZE)
    assert torch.equal(kept.boxes, letter.boxes)


def at(x, y=0, **which):
    """A candidate of 100 pixels whose middle is there."""
    found = candidates(100, **which)
    return found._replace(boxes=torch.tensor([[y - 50.0, x - 50, y + 50, x + 50]]))


def test_letters_and_digits_count_beside_a_candidate_in_its_row_and_on_the_page():
    places = {"beside": (120, 0), "in row": (400, 0), "on page": (0, 900)}
    counts = {"beside": [1, 1, 1], "in row": [0, 1, 1], "on page": [0, 0, 1]}
    alone = reader.evidence_for(at(0))[0]
    assert alone[2:].tolist() == [0] * 5
    for name, place in places.items():
        for kind, sign in (reader.LETTER, 1), (8, -1):
            evidence = reader.evidence_for(together(at(0), at(*place, digit=kind)))[0]
            assert evidence[2:5].sign().tolist() == [sign * count for count in counts[name]]
            assert evidence[0] == alone[0]
    two = reader.evidence_for(together(at(0), *[at(x, digit=reader.LETTER) for x in (-120, 120)]))
    one = reader.evidence_for(together(at(0), at(120, digit=reader.LETTER)))
    assert two[0, 2] > one[0, 2] == pytest.approx(np.log((0.98 + 0.3) / 0.3), abs=1e-5)


def test_what_the_jury_says_is_the_first_evidence_and_never_infinite():
    for probability, logit in (
        (0.8, np.log(4)),
        (0.5, 0.0),
        (1.0, np.log(999)),
        (0.0, -np.log(999)),
    ):
        (evidence,) = reader.evidence_for(candidates(100, probability=probability))
        assert evidence[0].item() == pytest.approx(min(logit, 2), abs=1e-3)
        assert evidence[1].item() == pytest.approx(max(0, logit - 2), abs=1e-3)


def test_being_larger_or_smaller_than_the_others_is_evidence_too():
    evidence = reader.evidence_for(candidates(*[100] * 5, 200, 50))[4:]
    assert evidence[:, 5].tolist() == pytest.approx([0, np.log(2) ** 2, 0], abs=1e-5)
    assert evidence[:, 6].tolist() == pytest.approx([0, 0, np.log(2) ** 2], abs=1e-5)


def test_the_probability_of_a_reading_comes_from_its_evidence(monkeypatch):
    found = together(at(0), at(120, digit=8, probability=0.7), at(240, digit=reader.LETTER))
    monkeypatch.setattr(reader, "look_at_sizes", lambda *_: (found, AT_ONE_SIZE))
    read = sorted(
        reader.find_digits(np.eye(9), PageNetwork().eval()), key=lambda reading: reading.box[1]
    )
    assert [reading.digit for reading in read[:2]] == [3, 8]
    expected = torch.sigmoid(reader.evidence_for(found) @ reader.WEIGHTS + reader.BIAS)
    assert [reading.probability for reading in read] == pytest.approx(expected.tolist(), abs=1e-5)
    assert read[2].probability < reader.FLOOR < read[1].probability < read[0].probability


def test_what_the_evidence_counts_is_what_the_full_run_found():
    bias, *weights = Results("10").recall("chosen")["parameters"]
    assert [reader.BIAS, *reader.WEIGHTS.tolist()] == pytest.approx([bias, *weights], abs=6e-4)


def readings(*places, height=80):
    return [Reading(0, 1.0, (top, left, top + height, left + 50)) for top, left in places]


@pytest.mark.parametrize("slope", [-0.09, 0, 0.09])  # 5°
def test_rows_may_slope(slope):
    places = [
        (round(100 + 130 * row + slope * x), x) for row in range(3) for x in range(0, 800, 90)
    ]
    rows = sort_into_rows(readings(*places)[::-1])
    assert [len(row) for row in rows] == [9, 9, 9]
    for row in rows:
        assert [reading.box[1] for reading in row] == list(range(0, 800, 90))
    assert [row[0].box[0] for row in rows] == [100, 230, 360]


def test_rows_are_read_from_top_to_bottom_wherever_they_begin():
    rows = sort_into_rows(readings((200, 0), (100, 150), (0, 300)))
    assert [row[0].box[0] for row in rows] == [0, 100, 200]


def test_nothing_makes_no_row():
    assert sort_into_rows([]) == []


def test_a_small_digit_is_in_the_row_of_the_large_one_beside_it():
    (row,) = sort_into_rows([*readings((100, 0)), *readings((140, 80), height=25)])
    assert len(row) == 2


# The network --------------------------------------------------------------------------------------


def test_each_place_gets_log_probabilities_and_four_distances():
    network = PageNetwork().eval()
    log_probs, distances = network(torch.rand(2, 1, 64, 96))
    assert log_probs.shape == (2, 12, 16, 24) and distances.shape == (2, 4, 16, 24)
    assert torch.allclose(log_probs.exp().sum(dim=1), torch.ones(2, 16, 24), atol=1e-5)


def test_a_network_that_is_training_is_refused_and_reading_changes_none():
    picture = photo_of(0.8 * write([[3, 5, 8]]))
    with pytest.raises(ValueError, match=r"eval mode: call network.eval\(\)"):
        read_digits(picture, PageNetwork())
    before = {name: tensor.clone() for name, tensor in reader.load_network().state_dict().items()}
    assert digits_of(picture) == digits_of(picture) == [[3, 5, 8]]
    for name, tensor in reader.load_network().state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_network_that_ships_can_be_trained_on_after_a_page_was_read():
    reader.load_network.cache_clear()
    digits_of(photo_of(0.8 * write([[3, 5, 8]])))
    log_probs, _ = reader.load_network()(torch.rand(1, 1, 64, 64))
    log_probs.sum().backward()


def test_evened_out_a_picture_does_not_depend_on_its_light():
    piece = compose_piece(to_learn(), np.random.default_rng(3))
    grey = torch.tensor(piece.photo / 255)[None, None].float()
    even = even_out(grey)
    assert torch.allclose(even_out(0.4 * grey + 0.2), even, atol=0.01)
    assert torch.allclose(even_out(1 - grey), -even, atol=0.01)
    faint = torch.rand(1, 1, 2 * PIECE, PIECE, generator=torch.Generator().manual_seed(0))
    faint[:, :, PIECE:] *= 0.01  # bare paper beside a page full of ink
    assert 0.5 < even_out(faint)[:, :, :PIECE].std() < 1.5
    assert even_out(faint)[:, :, -PIECE // 4 :].std() < 0.1


def test_the_weights_that_ship_are_a_small_plain_state_dict():
    assert PAGES_PATH.stat().st_size < 1_500_000
    weights = torch.load(PAGES_PATH)
    assert {name: t.shape for name, t in weights.items()} == {
        name: t.shape for name, t in PageNetwork().state_dict().items()
    }


def test_where_no_digit_is_wanted_none_and_letter_are_both_right():
    names = {"nn": torch.nn, "torch": torch, "composed": composed, "reader": reader}
    exec(source_of("10", "def loss_of("), names)
    probabilities = torch.full((1, 12, 1, 3), 0.05)
    for answer, probability in ((7, 0.2), (reader.NONE, 0.25), (reader.LETTER, 0.1)):
        probabilities[0, answer] = probability
    at_rest = torch.zeros(1, 4, 1, 3)

    def loss(label, distances=at_rest):
        targets = torch.tensor([[[label, composed.LEFT_OUT, composed.LEFT_OUT]]])
        return names["loss_of"]((probabilities.log(), at_rest), (targets, distances)).exp().item()

    assert loss(composed.NO_DIGIT) == pytest.approx(1 / (0.25 + 0.1))
    assert loss(reader.NONE) == pytest.approx(1 / 0.25)
    assert loss(reader.LETTER) == pytest.approx(1 / 0.1)
    assert loss(7) == pytest.approx(1 / 0.2)
    distances = at_rest.clone()
    distances[..., 0] = 20  # pixels, at the place of a digit
    assert loss(7, distances) == pytest.approx(np.exp(0.005 * 20) / 0.2)


# What was read is shown ---------------------------------------------------------------------------


def test_what_was_read_is_shown_above_each_digit_and_what_is_unsure_has_a_question_mark(
    monkeypatch,
):
    sure, unsure = Reading(3, 0.9, (20, 10, 60, 40)), Reading(8, 0.89, (20, 60, 60, 90))
    monkeypatch.setattr(reader, "find_digits", lambda *_: [unsure, sure])
    ax = plot_reading(np.full((80, 120), 255, np.uint8))
    assert [text.get_text() for text in ax.texts] == ["3", "8 ?"]
    assert [text.get_color() for text in ax.texts] == [BLUE, ORANGE]
    assert [patch.get_bbox().bounds for patch in ax.patches] == [(10, 20, 30, 40), (60, 20, 30, 40)]


def test_a_picture_without_digits_is_an_error():
    for picture in (np.full((200, 300), 255, np.uint8), photo_of(np.zeros((300, 200)))):
        for read in (read_digits, plot_reading):
            with pytest.raises(ValueError, match="no digit found"):
                read(picture)


def test_an_open_file_is_read_and_shown():
    file = io.BytesIO()
    Image.fromarray(photo_of(0.8 * write([[3, 5, 8]]))).save(file, "png")
    for read in (read_digits, plot_reading):
        file.seek(0)
        assert read(file)
