"""The drawing pad without a browser: what strokes become, and when an answer is asked for."""

import base64
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import write_pad
from matplotlib.figure import Figure
from PIL import Image

from checkpoints import ROOT
from handwriting.examples import Examples
from handwriting.pad import INVITATION, PEN, SIDE, WIDGET_VIEW, DrawingPad, TeachingPad


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


def tell(pad, event, **more):
    """Do what the browser does: send a message, as JSON has it."""
    pad.canvas._handle_custom_msg({"event": event} | more, [])


def test_a_stroke_is_drawn_as_thick_as_the_pen_and_answered_when_the_pen_is_lifted(pad):
    assert pad.drawings == [] and pad.text == INVITATION
    tell(pad, "stroke", stroke=[[100, 50], [100, 120.5], [100, 200]])
    rows, columns = ink_of(pad.drawings[0])
    assert abs(np.ptp(columns) - PEN) <= 2 and abs(np.ptp(rows) - (150 + PEN)) <= 2
    assert pad.text == f"{len(rows)} pixels" and bytes(pad.picture.value).startswith(b"\x89PNG")


def test_a_press_without_a_move_is_a_dot(pad):
    tell(pad, "stroke", stroke=[[100, 50]])
    rows, columns = ink_of(pad.drawings[0])
    assert abs(np.ptp(rows) - PEN) <= 2 and abs(np.ptp(columns) - PEN) <= 2
    assert abs(rows.mean() - 50) <= 1 and abs(columns.mean() - 100) <= 1


def test_strokes_add_up_until_the_pad_is_cleared(pad):
    for x in (50, 150):
        tell(pad, "stroke", stroke=[[x, 50]])
    first, second = (len(ink_of(drawing)[0]) for drawing in pad.drawings)
    assert second == pytest.approx(2 * first, rel=0.05)
    tell(pad, "undo")
    assert len(ink_of(pad.drawings[-1])[0]) == first and pad.strokes == [[[50, 50]]]
    assert pad.picture.layout.display is None
    tell(pad, "clear")
    assert pad.text == INVITATION and pad.picture.layout.display == "none"
    tell(pad, "stroke", stroke=[[50, 50]])
    pad.clear()
    assert pad.strokes == [] and pad.text == INVITATION and pad.picture.value == b""


def test_what_goes_wrong_with_the_answer_is_said(pad):
    def answer(drawing):
        raise RuntimeError("no <memory>")

    pad.answer = answer
    tell(pad, "stroke", stroke=[[50, 50]])
    assert pad.text == "No answer: no &lt;memory&gt;" and pad.picture.layout.display == "none"


def test_strokes_from_python_are_answered_each_time_and_shown_in_the_browser(pad):
    for _ in range(2):
        pad.draw([[(50, 50)]])
    assert len(pad.drawings) == 2 and pad.strokes == [[(50, 50)]]
    assert pad.canvas.get_state()["strokes"] == [[(50, 50)]]


def test_the_browser_draws_with_the_same_pen():
    script = (ROOT / "handwriting" / "pad.js").read_text(encoding="utf-8")
    for name, value in (("SIDE", SIDE), ("PEN", PEN)):
        assert f"export const {name} = {value};" in script


def test_words_stand_in_place_of_the_pad_where_a_notebook_is_only_read(pad):
    data, metadata = pad._repr_mimebundle_()
    assert WIDGET_VIEW in data and metadata == {}
    assert "drawing pad is here" in data["text/plain"]


def test_in_colab_the_output_says_where_widgets_are_found(pad, monkeypatch):
    """Colab's module, as far as anywidget knows it."""
    colab = SimpleNamespace(
        _widgets=SimpleNamespace(_installed_url="an address"),
        enable_custom_widget_manager=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)
    data, metadata = pad._repr_mimebundle_()
    assert WIDGET_VIEW in data
    assert metadata[WIDGET_VIEW]["colab"] == {"custom_widget_manager": {"url": "an address"}}


# The pad that is taught ---------------------------------------------------------------------------

STROKES = [[(100, 50), (100, 200)]]


class InMemory:
    """Examples that are kept in a list, and not in a file."""

    def __init__(self):
        self.kept = []

    def load(self):
        images, labels = zip(*self.kept, strict=True) if self.kept else ((), ())
        return list(images), list(labels)

    def add(self, images, labels):
        self.kept += zip(images, labels, strict=True)

    def take_out(self, image, label):
        self.kept = [kept for kept in self.kept if kept[0] is not image]


@pytest.fixture
def teaching_pad():
    """A pad whose images are numbered, and which records what it asks for."""
    calls = []

    def prepare(drawing):
        assert drawing.size == (SIDE, SIDE)
        calls.append("prepare")
        return torch.full((1, 28, 28), calls.count("prepare") / 100)

    def teach(images, labels):
        calls.append(("teach", len(images), list(labels)))
        return f"learned {len(labels)}"

    pad = TeachingPad(lambda drawing: ("an answer", None), prepare, InMemory(), teach)
    pad.calls = calls
    return pad


def numbers_of(pad):
    """The numbers of the images that are kept, and their labels."""
    images, labels = pad.examples.load()
    return [round(100 * image.max().item()) for image in images], labels


def test_a_drawing_and_its_digit_become_an_example_that_is_kept(teaching_pad):
    pad = teaching_pad
    pad.draw(STROKES)
    assert pad.text == "an answer" and pad.calls == []
    pad.digit_buttons[7].click()
    assert pad.calls == ["prepare"] and numbers_of(pad) == ([1], [7])
    assert pad.strokes == [] and pad.text == INVITATION and pad.report == "Examples: 1"
    assert bytes(pad.gallery.value).startswith(b"\x89PNG")
    assert pad.choice.options == (("…", 0), ("1: a 7", 1))


def test_a_digit_without_a_drawing_is_no_example(teaching_pad):
    teaching_pad.digit_buttons[3].click()
    assert teaching_pad.calls == [] and "Draw a digit first" in teaching_pad.report


def test_every_tenth_example_and_the_button_have_all_examples_taught(teaching_pad):
    pad = teaching_pad
    pad.teach_button.click()
    assert pad.calls == [] and "no examples yet" in pad.report
    for digit in range(10):
        assert not any("teach" in call for call in pad.calls)
        pad.draw(STROKES)
        pad.digit_buttons[digit].click()
    assert pad.calls[-1] == ("teach", 10, list(range(10))) and pad.report == "learned 10"
    pad.draw(STROKES)
    pad.digit_buttons[4].click()
    assert pad.calls[-1] == "prepare"
    pad.teach_button.click()
    assert pad.calls[-1] == ("teach", 11, [*range(10), 4])


def test_an_example_can_be_taken_out(teaching_pad):
    pad = teaching_pad
    for digit in (5, 6, 7):
        pad.draw(STROKES)
        pad.add(digit)
    pad.take_out_button.click()  # none is chosen yet
    assert pad.labels == [5, 6, 7]
    pad.choice.value = 2
    pad.take_out_button.click()
    assert numbers_of(pad) == ([1, 3], [5, 7]) and pad.labels == [5, 7]
    assert pad.choice.value == 0 and pad.choice.options[1:] == (("1: a 5", 1), ("2: a 7", 2))
    pad.take_out(1)
    pad.take_out(1)
    assert pad.labels == [] and pad.gallery.value == b"" and numbers_of(pad) == ([], [])


def test_it_begins_with_the_examples_that_were_kept(teaching_pad):
    kept = InMemory()
    kept.add([torch.zeros(1, 28, 28)], [8])
    pad = TeachingPad(teaching_pad.answer, None, kept, None)
    assert pad.labels == [8] and pad.report == "Examples: 1" and pad.gallery.value


def test_what_goes_wrong_is_said_and_costs_no_example(teaching_pad):
    pad = teaching_pad
    pad.draw(STROKES)
    pad.add(1)

    def fail(error):
        def failing(*_):
            raise error

        return failing

    for error, words in (
        (ValueError("2 <digits>"), "2 &lt;digits&gt;"),
        (RuntimeError("no memory"), "Nothing was learned: no memory"),
        (OSError(28, "No space left", "file"), "No space left"),
        (KeyboardInterrupt(), "Stopped"),
    ):
        pad.teach = fail(error)
        pad.learn()
        assert words in pad.report and pad.labels == [1] and len(pad.images) == 1
    pad.examples.add = fail(OSError(28, "No space left", "file"))
    pad.draw(STROKES)
    pad.add(2)
    assert "Not saved" in pad.report and "No space left" in pad.report
    assert pad.labels == [1] and pad.strokes == STROKES  # it can be kept later
    pad.prepare = fail(ValueError("two digits"))
    pad.add(3)
    assert "two digits" in pad.report and pad.labels == [1] and pad.strokes == STROKES


def test_examples_from_elsewhere_join_those_that_were_drawn(teaching_pad):
    pad = teaching_pad
    pad.draw(STROKES)
    pad.add(3)
    pad.add_examples(torch.full((30, 1, 28, 28), 0.5), torch.arange(30) % 10)
    assert pad.labels == [3, *(digit % 10 for digit in range(30))] and len(pad.images) == 31
    assert numbers_of(pad) == ([1] + [50] * 30, pad.labels)
    assert pad.report == "Examples: 31" and len(pad.choice.options) == 32


def test_two_pads_that_are_open_at_once_lose_no_example_of_each_other(teaching_pad, tmp_path):
    """As in two copies of notebook 07."""
    path = tmp_path / "my_digits.npz"
    one, other = (
        TeachingPad(teaching_pad.answer, teaching_pad.prepare, Examples(path), teaching_pad.teach)
        for _ in range(2)
    )
    for pad, digits in ((one, range(5)), (other, [5]), (one, [6])):
        for digit in digits:
            pad.draw(STROKES)
            pad.add(digit)
    assert Examples(path).load()[1] == [0, 1, 2, 3, 4, 5, 6] == one.labels
    other.take_out(2)  # it shows six of them
    assert Examples(path).load()[1] == [0, 2, 3, 4, 5, 6]
    one.learn()
    assert teaching_pad.calls[-1] == ("teach", 6, [0, 2, 3, 4, 5, 6])


# The page that reads without Python ---------------------------------------------------------------


def test_the_page_is_current():
    """Its photo is compressed by Pillow, whose releases may do so a bit differently."""
    photo = re.compile(r"data:image/jpeg;base64,([\w+/=]+)")
    stored = (ROOT / "pad.html").read_text(encoding="utf-8")
    made = write_pad.page()
    assert photo.sub("", stored) == photo.sub("", made), "call make pad"
    (encoded,) = photo.findall(stored)
    (shown, original) = (
        np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
        for file in (io.BytesIO(base64.b64decode(encoded)), ROOT / "pictures" / "page.png")
    )
    assert np.abs(shown - original).mean() < 4, "call make pad"
    assert len(stored) < 1_000_000
