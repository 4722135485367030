"""The drawing pad without a browser: what strokes become, and when an answer is asked for."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from drawing_pad import INVITATION, PEN, SIDE, DrawingPad


@pytest.fixture
def pad():
    """A pad that answers with how much ink it got, and keeps what it got."""
    drawings = []

    def answer(drawing):
        drawings.append(drawing)
        ink = np.asarray(drawing) < 128
        return f"{ink.sum()} pixels", Figure() if ink.any() else None

    pad = DrawingPad(answer)
    pad.drawings = drawings
    return pad


def ink_of(drawing):
    """Rows and columns of the ink."""
    assert drawing.mode == "L" and drawing.size == (SIDE, SIDE)
    return np.nonzero(np.asarray(drawing) < 128)


def test_a_stroke_is_drawn_as_thick_as_the_pen_and_answered_when_the_pen_is_lifted(pad):
    pad.start(100, 50)
    pad.move(100, 200)
    assert pad.drawings == [] and pad.text == INVITATION
    pad.stop(100, 200)
    rows, columns = ink_of(pad.drawings[0])
    assert abs(np.ptp(columns) - PEN) <= 2 and abs(np.ptp(rows) - (150 + PEN)) <= 2
    assert pad.text == f"{len(rows)} pixels" and bytes(pad.picture.value).startswith(b"\x89PNG")


def test_a_press_without_a_move_is_a_dot(pad):
    pad.start(100, 50)
    pad.stop()
    rows, columns = ink_of(pad.drawings[0])
    assert abs(np.ptp(rows) - PEN) <= 2 and abs(np.ptp(columns) - PEN) <= 2
    assert abs(rows.mean() - 50) <= 1 and abs(columns.mean() - 100) <= 1


def test_a_mouse_that_passes_without_a_press_draws_nothing(pad):
    pad.move(10, 10)
    pad.stop(20, 20)
    assert pad.drawings == [] and pad.strokes == []


def test_strokes_add_up_until_the_pad_is_cleared(pad):
    for x in (50, 150):
        pad.start(x, 50)
        pad.stop()
    first, second = (len(ink_of(drawing)[0]) for drawing in pad.drawings)
    assert second == pytest.approx(2 * first, rel=0.05)
    pad.clear()
    assert pad.strokes == [] and pad.text == INVITATION and pad.picture.value == b""
    pad.draw([[(50, 50)]])
    assert len(ink_of(pad.drawings[-1])[0]) == first


def test_words_stand_in_place_of_the_pad_where_a_notebook_is_only_read(pad):
    bundle = pad._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "drawing pad is here" in bundle["text/plain"]
