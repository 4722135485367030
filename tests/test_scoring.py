"""How right a reader was: what counts as right, lost, misread and invented."""

from handwriting.composed import ComposedPage
from handwriting.page import Reading
from handwriting.scoring import add_scores, score_page


def test_a_score_counts_what_is_lost_misread_and_invented():
    places = [[(0, 0, 9, 9), (0, 20, 9, 29)], [(40, 0, 49, 9)]]
    page = ComposedPage(None, [[1, 2], [3]], places, 9.0)
    right = Reading(1, 0.5, (0, 0, 9, 9))
    misread = Reading(7, 0.95, (1, 20, 10, 29))
    invented = Reading(5, 0.9, (80, 0, 89, 9))
    score = score_page(page, [[right, misread], [invented]])
    assert score._asdict() == {
        **{"digits": 3, "right": 1, "lost": 1, "invented": 1},
        **{"sure": 2, "wrong_and_sure": 2, "whole": 0},
    }
    third = Reading(3, 0.99, (40, 0, 49, 9))
    second = misread._replace(digit=2)
    assert score_page(page, [[right, second], [third]]).whole == 1
    assert score_page(page, [[right, second, third]]).whole == 0  # not in their rows
    doubtful = score_page(page, [[right, misread._replace(probability=0.89)], [third]])
    assert (doubtful.sure, doubtful.wrong_and_sure, doubtful.right) == (1, 0, 2)
    assert add_scores([score, doubtful])["digits"] == 6


def test_nothing_read_is_all_lost():
    page = ComposedPage(None, [[1, 2]], [[(0, 0, 9, 9), (0, 20, 9, 29)]], 9.0)
    score = score_page(page, [])
    assert (score.digits, score.lost, score.right, score.whole) == (2, 2, 0, 0)


def test_on_a_page_without_digits_all_is_invented():
    page = ComposedPage(None, [], [], 9.0)
    assert score_page(page, []).whole == 1
    score = score_page(page, [[Reading(1, 0.95, (0, 0, 9, 9))]])
    assert (score.digits, score.invented, score.wrong_and_sure, score.whole) == (0, 1, 1, 0)


def test_each_reading_counts_for_one_digit_and_each_digit_takes_the_nearest():
    page = ComposedPage(None, [[1, 1]], [[(0, 0, 10, 10), (0, 2, 10, 12)]], 9.0)
    once = score_page(page, [[Reading(1, 0.5, (0, 1, 10, 11))]])
    assert (once.right, once.lost, once.invented) == (1, 1, 0)
    twice = score_page(page, [[Reading(1, 0.5, (0, 2, 10, 12)), Reading(1, 0.5, (0, 0, 10, 10))]])
    assert (twice.right, twice.lost, twice.invented, twice.whole) == (2, 0, 0, 1)
