"""The drawing pads in JupyterLab, in a real browser: part of ``make browser-test``.

With the environment variable ``SCREENSHOTS``, pictures of the pads in use are written to that
folder.
"""

import os

import nbformat
import pytest
from pointers import SEVEN, Pointers
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SMALL_SEVEN = [(200, 160), (256, 154), (233, 192), (220, 234)]  # resized, it is read as a 2
ONE = [(140, 50), (140, 230)]
UNKNOWN_ONES = [
    [(60, 150), (170, 50), (170, 235)],
    [(66, 158), (175, 47), (174, 230)],
]
TEN_TO_TEACH = [
    *((1, [(x + dx, y + dy) for x, y in UNKNOWN_ONES[0]]) for dx, dy in ((0, 0), (9, 4), (-8, -5))),
    (0, [(140, 50), (85, 95), (85, 185), (140, 230), (195, 185), (195, 95), (140, 50)]),
    (2, [(85, 95), (140, 50), (190, 95), (85, 230), (200, 230)]),
    (3, [(90, 60), (190, 80), (130, 135), (195, 185), (90, 225)]),
    (5, [(190, 55), (100, 55), (95, 130), (185, 150), (180, 215), (90, 225)]),
    (6, [(170, 50), (100, 130), (95, 200), (150, 230), (185, 190), (105, 170)]),
    (7, SEVEN),
    (9, [(180, 100), (120, 50), (95, 110), (180, 110), (180, 100), (170, 230)]),
]
# In a tab that the window manager hasn't brought to the front, none is the current one.
FIRST_PANEL = "[...(window.jupyterapp?.shell.widgets('main') ?? [])].find(panel => panel.context)"

# The answer says from where to where each stroke goes, as Python has them. To strokes from the left
# edge it is slow.
WHAT_PYTHON_HAS = """
import sys
import time

import ipywidgets

sys.path.insert(0, "..")
from handwriting.pad import DrawingPad


def places(drawing):
    ends = [stroke[0] + stroke[-1] for stroke in pad.strokes]
    if any(end[0] < 20 for end in ends):
        time.sleep(1)
    return "; ".join("{:.0f},{:.0f} to {:.0f},{:.0f}".format(*end) for end in ends), None


pad = DrawingPad(places)
display(pad)
button = ipywidgets.Button(description="Python clears")
button.on_click(lambda button: pad.clear())
display(button)
"""


def small_notebook():
    """Return a notebook with two outputs of one pad, above much to which one could scroll."""
    cells = [
        nbformat.v4.new_code_cell(WHAT_PYTHON_HAS),
        nbformat.v4.new_code_cell("display(pad)"),
        nbformat.v4.new_markdown_cell("\n\n".join(f"line {number}" for number in range(100))),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


class Pad:
    """A pad in a notebook that runs: its canvases, and what is said beside it."""

    def __init__(self, browser, server, notebook, outputs=1):
        self.browser = browser
        self.outputs = outputs
        self.address = server.format(f"notebooks/{notebook}")
        self.wait = WebDriverWait(browser, 180)
        self.open()
        self.command("notebook:run-all-cells")
        self.find()
        self.wait_for("Draw a digit")

    def open(self):
        self.browser.get(self.address)
        status = f"return {FIRST_PANEL}?.sessionContext?.session?.kernel?.status"
        self.wait.until(lambda _: self.browser.execute_script(status) == "idle")

    def command(self, name, arguments="{}"):
        script = "jupyterapp.commands.execute(arguments[0], JSON.parse(arguments[1]))"
        self.browser.execute_script(f"return {script}.then(() => null)", name, arguments)

    def find(self):
        """Wait for the canvases. Cells out of sight have no elements: go to the one of the pad."""

        def canvases(_):
            self.browser.execute_script(f"""
                const shows = cell => cell.model.sharedModel.source.includes('display(pad)');
                const {{ content }} = {FIRST_PANEL};
                content.scrollToItem(content.widgets.findIndex(shows), 'start');
            """)
            found = self.browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output canvas")
            return found if len(found) == self.outputs and found[0].is_displayed() else None

        canvases = self.wait.until(canvases)
        self.all = [Pointers(self.browser, canvas) for canvas in canvases]
        self.first = self.all[0]

    def said(self):
        texts = self.browser.find_elements(By.CSS_SELECTOR, ".widget-html")
        return " ".join(text.text for text in texts)

    def wait_for(self, *words):
        self.wait.until(lambda _: all(word in self.said() for word in words))

    def wait_for_all(self, strokes):
        """Draw one stroke more, so that nothing can come later, and wait for exactly these."""
        self.first.draw([(250, 250), (250, 260)])
        all_of_it = f"{strokes}; 250,250 to 250,260"
        self.wait.until(lambda _: self.said() == f"{all_of_it} {all_of_it}")  # in two outputs

    def click(self, text):
        self.browser.find_element(By.XPATH, f"//button[text()='{text}']").click()

    def clear(self):
        self.click("Clear")
        self.wait_for("Draw a digit")


def take_screenshot(browser, name):
    """Take a picture of the pad, if a folder for it is named."""
    if "SCREENSHOTS" in os.environ:
        browser.set_window_size(1400, 1400)  # notes of JupyterLab's come up in the lower corner
        pad = browser.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output .jupyter-widgets")
        pad.screenshot(f"{os.environ['SCREENSHOTS']}/{name}.png")


def test_what_is_drawn_on_the_pad_is_read(server, browser):
    pad = Pad(browser, server, "05_read_your_own_digits.ipynb")
    pad.first.draw(SMALL_SEVEN)
    pad.wait_for("a 7 (")
    picture = "return document.querySelector('.widget-image')?.naturalWidth > 100"
    pad.wait.until(lambda _: browser.execute_script(picture))
    take_screenshot(browser, "drawing_pad")
    pad.clear()
    pad.first.draw(ONE)
    pad.wait_for("a 1 (")
    # A click without a move draws a dot, which is answered too.
    pad.clear()
    pad.first.draw([(140, 140)])
    pad.wait.until(lambda _: pad.said() and "Draw a digit" not in pad.said())
    assert pad.first.is_ink((140, 140)) and not pad.first.is_ink((140, 100))


def test_ten_digits_that_are_taught_change_the_answer_to_the_next_one(server, browser):
    pad = Pad(browser, server, "07_teach_it_your_hand.ipynb")
    # A 1 with a long upstroke, which MNIST lacks.
    pad.first.draw(UNKNOWN_ONES[0])
    pad.wait_for("as it ships")
    assert "as it ships: 1 " not in pad.said() and "yours" not in pad.said()
    for number, (digit, points) in enumerate(TEN_TO_TEACH, start=1):
        pad.clear()
        pad.first.draw(points)
        pad.wait_for("as it ships")
        pad.click(str(digit))
        pad.wait_for(f"Examples: {number}" if number < 10 else "Learned from 10 examples")
    pad.first.draw(UNKNOWN_ONES[1])
    pad.wait_for("yours: 1 ")
    assert "as it ships: 1 " not in pad.said()
    take_screenshot(browser, "teaching_pad")


# How one draws ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(copy, server, browser):
    nbformat.write(small_notebook(), copy / "notebooks" / "small.ipynb")
    return Pad(browser, server, "small.ipynb", outputs=2)


@pytest.fixture
def pad(small):
    """That pad, empty."""
    small.find()
    small.clear()
    return small


def test_a_stroke_outlives_the_page(pad):
    pad.first.draw([(60, 40), (60, 240)])
    pad.wait_for("60,40 to 60,240")
    pad.command("docmanager:save")
    pad.open()
    pad.find()
    assert pad.first.is_ink((60, 140))
    pad.first.draw([(160, 40), (160, 240)])
    pad.wait_for("60,40 to 60,240; 160,40 to 160,240")


def test_all_outputs_of_a_pad_hold_the_same(pad):
    one, other = pad.all
    one.draw([(60, 40), (60, 140)])
    pad.wait.until(lambda _: other.is_ink((60, 140)))
    other.draw([(160, 40), (160, 140)])
    pad.wait_for("60,40 to 60,140; 160,40 to 160,140")
    assert one.is_ink((160, 140))
    pad.clear()
    pad.wait.until(lambda _: not other.is_ink((60, 140)))


def test_the_same_notebook_in_another_tab_holds_the_same(pad, browser):
    pad.first.draw([(60, 40), (60, 240)])
    pad.wait_for("60,40 to 60,240")
    pad.command("docmanager:save")
    here = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        pad.open()
        pad.find()
        assert pad.first.is_ink((60, 140))
        pad.first.draw([(160, 40), (160, 240)])
        pad.wait_for("160,40 to 160,240")
    finally:
        browser.close()
        browser.switch_to.window(here)
    pad.find()
    pad.wait_for("160,40 to 160,240")
    assert pad.first.is_ink((160, 140))


def test_what_python_clears_while_it_is_busy_stays_cleared(pad, browser):
    pad.first.draw([(10, 40), (10, 240)])
    button = browser.find_element(By.XPATH, "//button[text()='Python clears']")
    browser.execute_script("arguments[0].click()", button)  # and nothing scrolls
    pad.first.draw([(160, 40), (160, 240)])
    pad.wait_for_all("160,40 to 160,240")
    assert pad.first.is_ink((160, 140)) and not pad.first.is_ink((10, 140))


def test_strokes_that_are_drawn_while_python_is_busy_stay(pad):
    places = (10, 60, 110, 160)
    for x in places:
        pad.first.draw([(x, 40), (x, 240)])
    pad.wait_for("60,40 to 60,240")  # it has answered the second, and not yet the last
    assert all(pad.first.is_ink((x, 140)) for x in places)
    pad.wait_for_all("; ".join(f"{x},40 to {x},240" for x in places))


def test_a_stroke_may_leave_the_pad(pad):
    pad.first.draw([(140, 40), (140, 240), (400, 240)])
    pad.wait_for("140,40 to 400,240")


def test_a_finger_draws_and_does_not_scroll(pad, browser):
    top = "return arguments[0].getBoundingClientRect().top"
    before = browser.execute_script(top, pad.first.canvas)
    pad.first.draw_by_finger([(140, 250), (140, 30)])
    pad.wait_for("140,250 to 140,30")
    assert browser.execute_script(top, pad.first.canvas) == before
    # Chromium alone needs no more than the pad's touchmove; other browsers need this.
    assert pad.first.canvas.value_of_css_property("touch-action") == "none"


def test_a_finger_that_the_system_takes_away_has_lifted_the_pen(pad):
    pad.first.draw_by_finger([(60, 40), (60, 240)], last="touchCancel")
    pad.wait_for("60,40 to 60,240")
    pad.first.draw_by_finger([(160, 40), (160, 240)])
    pad.wait_for("60,40 to 60,240; 160,40 to 160,240")
    assert not pad.first.is_ink((110, 140))  # no line joins them


def test_a_second_finger_draws_nothing(pad):
    pad.first.touch("touchStart", (60, 40))
    pad.first.touch("touchStart", (60, 40), (200, 60))
    pad.first.touch("touchMove", (60, 140), (200, 160))
    pad.first.touch("touchEnd", (200, 160), first=1)
    pad.first.touch("touchMove", (60, 240))
    pad.first.touch("touchEnd")
    pad.wait_for_all("60,40 to 60,240")
    assert not pad.first.is_ink((200, 110)) and not pad.first.is_ink((130, 150))


def test_a_finger_whose_lift_is_lost_has_lifted_the_pen(pad, browser):
    """JupyterLab takes cells that are out of sight out of the page, with the finger on them."""
    pad.first.touch("touchStart", (60, 40))
    pad.first.touch("touchMove", (60, 140))
    take_out = "window.canvas = arguments[0]; window.home = canvas.parentElement; canvas.remove()"
    browser.execute_script(take_out, pad.first.canvas)
    pad.first.touch("touchEnd")
    browser.execute_script("home.prepend(canvas)")
    pad.find()
    pad.first.draw_by_finger([(160, 40), (160, 240)])
    pad.wait_for_all("60,40 to 60,140; 160,40 to 160,240")


def test_a_mouse_whose_release_is_lost_has_lifted_the_pen(pad):
    pad.first.send("mousePressed", (60, 40))
    pad.first.send("mouseMoved", (60, 140))
    pad.first.send("mouseMoved", (100, 200), is_held=False)  # over a menu it was released
    pad.wait_for_all("60,40 to 60,140")


def test_without_python_it_draws_and_says_so(pad, browser):
    restart = f"return {FIRST_PANEL}.sessionContext.restartKernel().then(() => null)"
    browser.execute_script(restart)
    try:
        pad.first.draw([(60, 40), (60, 240)])
        pad.first.draw([(160, 40), (160, 240)])
        note = browser.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output [role=status]")
        assert note.text == "Python has ended: run all cells again."
        assert pad.first.canvas.get_attribute("aria-label").endswith("2 strokes")
        pad.click("Clear")
        assert not pad.first.is_ink((60, 140)) and not pad.first.is_ink((110, 140))
    finally:
        pad.command("notebook:run-all-cells")
        pad.find()
        pad.wait_for("Draw a digit")


@pytest.mark.parametrize("taken_away", [False, True])
def test_a_palm_that_touches_before_the_pen_leaves_nothing(pad, taken_away):
    pad.first.touch("touchStart", (200, 250))
    pad.first.touch("touchMove", (202, 230))
    if taken_away:  # as tablets do, once they see the pen
        pad.first.touch("touchCancel")
    pad.first.draw([(60, 40), (60, 240)], device="pen")
    if not taken_away:
        pad.first.touch("touchEnd")
    pad.wait_for_all("60,40 to 60,240")
    assert not pad.first.is_ink((200, 250))


def test_the_paper_is_white_in_a_dark_theme(pad, browser):
    pad.first.draw([(60, 40), (60, 240)])
    dark = "return document.body.dataset.jpThemeLight === 'false'"
    pad.command("apputils:change-theme", '{"theme": "JupyterLab Dark"}')
    try:
        pad.wait.until(lambda _: browser.execute_script(dark))
        assert pad.first.is_ink((60, 140)) and not pad.first.is_ink((10, 10))
        assert pad.first.canvas.value_of_css_property("opacity") == "1"
    finally:
        pad.command("apputils:change-theme", '{"theme": "JupyterLab Light"}')


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE], ids=["Enter", "Space"])
def test_a_key_clears_the_pad(pad, browser, key):
    pad.first.draw([(60, 40), (60, 240)])
    pad.wait_for("60,40 to 60,240")
    assert pad.first.canvas.get_attribute("aria-label") == "Pad to draw a digit on: 1 stroke"
    notebook = f"const notebook = {FIRST_PANEL}.content;"
    browser.execute_script(f"{notebook} notebook.mode = 'command'; notebook.activate()")
    for _ in range(5):  # from the cell, past its own buttons
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.text == "Clear":
            break
    # A is JupyterLab's key for a new cell, and the button's for nothing.
    browser.switch_to.active_element.send_keys("a", key)
    pad.wait_for("Draw a digit")
    assert not pad.first.is_ink((60, 140))
    assert pad.first.canvas.get_attribute("aria-label") == "Pad to draw a digit on: no strokes"
    assert browser.execute_script(f"{notebook} return notebook.widgets.length") == 3
