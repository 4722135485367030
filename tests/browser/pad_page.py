"""pad.html in a real browser, from the file and without a network: for ``make browser-test``.

With the environment variable ``SCREENSHOTS``, a picture of it is written to that folder.
"""

import os
import re

import pytest
import torch
import write_pages
from javascript import drawings, images_to_read, inks_to_prepare, load_network, stages_of
from pointers import SEVEN, Pointers
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from checkpoints import ROOT
from handwriting.digit import prepare
from handwriting.pad import draw_strokes

TWO_ONES = [[(60, 60), (60, 220)], [(220, 60), (220, 220)]]
EIGHT_AND_DUST = [  # one loop stands above the other
    [(140, 40), (100, 75), (140, 110), (180, 75), (140, 40)],
    [(140, 155), (90, 198), (140, 240), (190, 198), (140, 155)],
    [(250, 250)],
]


class Page:
    """The page that is open: its pad, and what it answers."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )
        browser.get(path.as_uri())
        self.pad = Pointers(browser, browser.find_element(By.CSS_SELECTOR, "#pad canvas"))

    def answer(self):
        return self.browser.find_element(By.ID, "answer").text

    def wait_for(self, words):
        WebDriverWait(self.browser, 10).until(lambda _: words in self.answer())

    def bars(self):
        """Return the probabilities that the ten bars show, by how long they are made."""
        lengths = "return Array.from(document.querySelectorAll('.bar'), (bar) => bar.style.width)"
        return [float(width.strip("%")) / 100 for width in self.browser.execute_script(lengths)]

    def run(self, script, argument):
        """Return what a script returns that takes one argument and may wait."""
        return self.browser.execute_script(
            f"return (async (argument) => {{ {script} }})(arguments[0])", argument
        )


@pytest.fixture
def open_page(browser):
    def open_it(path=ROOT / "pad.html", width=1200):
        browser.set_window_size(width, 900)
        return Page(browser, path)

    yield open_it
    browser.set_window_size(1200, 900)
    browser.execute_cdp_cmd("Network.disable", {})


def take_screenshot(browser, name):
    """Take a picture of the pad and its answer, if a folder for it is named."""
    if "SCREENSHOTS" in os.environ:
        reader = browser.find_element(By.CSS_SELECTOR, ".reader")
        reader.screenshot(f"{os.environ['SCREENSHOTS']}/{name}.png")


def test_a_digit_that_is_drawn_by_mouse_is_read(open_page, browser):
    page = open_page()
    assert page.answer() == "Draw a digit." and page.bars() == [0] * 10
    page.pad.draw(SEVEN)
    page.wait_for("The network reads: 7")
    assert sum(page.bars()) == pytest.approx(1, abs=1e-4) and page.bars()[7] > 0.9
    take_screenshot(browser, "pad_page")


def test_so_does_the_index_of_the_executed_notebooks(open_page, tmp_path):
    write_pages.write(tmp_path)  # of no notebooks
    page = open_page(tmp_path / "index.html")
    page.pad.draw(SEVEN)
    page.wait_for("The network reads: 7")


NOISE = """CanvasRenderingContext2D.prototype.getImageData = (x, y, width, height) =>
  new ImageData(crypto.getRandomValues(new Uint8ClampedArray(4 * width * height)), width, height);
"""


def test_a_browser_that_gives_noise_for_a_canvas_reads_too(open_page, browser):
    """As Tor's does, and Firefox if told to resist fingerprinting."""
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOISE})
    try:
        page = open_page()
        page.wait_for("Draw a digit.")
        page.pad.draw(SEVEN)
        page.wait_for("The network reads: 7")
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_a_page_that_was_saved_has_one_pad_too(open_page, browser, tmp_path):
    page = open_page()
    page.pad.draw(SEVEN)
    page.wait_for("7")
    saved = tmp_path / "saved.html"
    saved.write_text(browser.execute_script("return document.documentElement.outerHTML"))
    page = open_page(saved)
    (button,) = browser.find_elements(By.XPATH, "//button[text()='Clear']")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".maps")) == 5
    page.pad.draw(SEVEN)
    page.wait_for("The network reads: 7")
    button.click()
    page.wait_for("Draw a digit.")


def test_it_needs_no_list_of_moves_since_the_last_frame(open_page, browser):
    """Without https, as where a teacher serves the page, and in older Safaris there is none."""
    page = open_page()
    browser.execute_script("delete PointerEvent.prototype.getCoalescedEvents")
    page.pad.draw(SEVEN)
    page.wait_for("The network reads: 7")


def test_it_answers_before_the_pen_is_lifted(open_page):
    page = open_page()
    page.pad.send("mousePressed", (140, 50))
    page.pad.send("mouseMoved", (140, 150))
    page.pad.send("mouseMoved", (140, 230))
    page.wait_for("The network reads: 1")
    page.pad.send("mouseReleased", (140, 230))


def test_on_a_phone_a_finger_draws_and_does_not_scroll(open_page, browser):
    page = open_page(width=390)
    size = "const { clientWidth, scrollWidth, scrollHeight } = document.documentElement;"
    assert browser.execute_script(f"{size} return scrollWidth <= clientWidth")
    assert browser.execute_script(f"{size} return scrollHeight > innerHeight")
    page.pad.draw_by_finger([(140, 240), (140, 40)])
    page.wait_for("The network reads: 1")
    assert browser.execute_script("return scrollY") == 0


def test_what_is_not_one_digit_is_said(open_page, browser):
    page = open_page()
    for stroke in TWO_ONES:
        page.pad.draw(stroke)
    page.wait_for("These are 2 digits: draw one.")
    assert page.bars() == [0] * 10
    browser.find_element(By.XPATH, "//button[text()='Clear']").click()
    page.wait_for("Draw a digit.")


def test_strokes_that_are_near_are_one_digit_and_a_speck_is_none(open_page):
    page = open_page()
    for stroke in EIGHT_AND_DUST:
        page.pad.draw(stroke)
    page.wait_for("The network reads: 8")


def test_what_is_left_out_and_a_pad_that_is_full_are_spoken_of(open_page):
    page = open_page()
    page.pad.draw([(180, 40), (180, 240)])
    page.pad.draw([(50, 140), (110, 140)])  # a minus
    page.wait_for("The network reads: 1. What is too small or too wide for a digit is left out.")
    for y in range(0, 280, 14):
        page.pad.draw([(1, y), (279, y)])
    page.wait_for("Hardly any paper is left: clear the pad.")
    assert page.bars() == [0] * 10


def test_a_key_clears_it(open_page, browser):
    page = open_page()
    page.pad.draw(SEVEN)
    page.wait_for("7")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Clear"
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    page.wait_for("Draw a digit.")
    assert not page.pad.is_ink((140, 70)) and page.bars() == [0] * 10


def hand_out(folder, names):
    """Return a copy of the page that hands out names: those in a module are its own."""
    text = (ROOT / "pad.html").read_text(encoding="utf-8")
    copy = folder / "pad.html"
    end = "\n</script>"
    copy.write_text(
        text.replace(end, f"\nObject.assign(window, {{ {names} }});{end}"), encoding="utf-8"
    )
    return copy


def test_its_probabilities_are_those_of_pytorch(open_page, tmp_path):
    images, expected = images_to_read(200)
    found = open_page(hand_out(tmp_path, "lookInside, layers")).run(
        "return argument.map((image) => lookInside(image, layers).probabilities)", images
    )
    assert (torch.tensor(found) - expected).abs().max() <= 1e-4


def test_ink_becomes_the_image_that_python_makes_of_it(open_page, tmp_path):
    inks, expected = inks_to_prepare()
    made = open_page(hand_out(tmp_path, "digitsIn, asInMnist")).run(
        "return argument.map((ink) => asInMnist(digitsIn(ink).digits[0]))", inks
    )
    assert len(expected) > 45 and (torch.tensor(made) - expected).abs().max() <= 1e-4


# Inside the network -------------------------------------------------------------------------------


class Inside:
    """The page's look inside, of a drawn 7, and what PyTorch computes of the same image."""

    def __init__(self, page):
        self.browser = page.browser
        self.page = page
        page.pad.draw(SEVEN)
        made = page.run("return prepare([argument]).image", SEVEN)
        self.image = torch.tensor(made)[None]  # (1, 28, 28)
        self.stages = stages_of(self.image)
        page.browser.execute_script("document.getElementById('inside').open = true")
        shown = "return document.querySelector('.edges .strongest').textContent"
        WebDriverWait(page.browser, 10).until(lambda _: page.browser.execute_script(shown))

    def canvas(self, name):
        return self.browser.find_element(By.CSS_SELECTOR, f".{name} .maps")

    def place(self, name, column_of_maps, row_of_maps, row, column):
        """Return where on the canvas of a stage the middle of a place is."""
        side = len(self.stages[name][0]) + 1  # and the gap
        x, y = (1 + side * column_of_maps + column + 0.5, 1 + side * row_of_maps + row + 0.5)
        scale = "const [c] = arguments; return c.getBoundingClientRect().width / c.width"
        scale = self.browser.execute_script(scale, self.canvas(name))
        return x * scale, y * scale

    def words(self, section):
        return self.browser.find_element(By.CSS_SELECTOR, f".{section} .why p").text

    def sum_in(self, section):
        """Return the sum that the words of a section end with."""
        return float(re.search(r"together (−?\d+\.\d+)", self.words(section))[1].replace("−", "-"))

    def table(self, section, number):
        cells = self.browser.find_elements(By.CSS_SELECTOR, f".{section} .numbers")[number]
        texts = [cell.text for cell in cells.find_elements(By.TAG_NAME, "td")]
        return torch.tensor([float(text.replace("−", "-")) for text in texts]).view(3, 3)


@pytest.fixture
def look_inside(open_page, tmp_path):
    return lambda **size: Inside(open_page(hand_out(tmp_path, "prepare"), **size))


def test_pointing_at_a_place_shows_patch_filter_and_sum(look_inside):
    inside = look_inside()
    for number, (row, column) in ((1, (8, 15)), (10, (14, 13)), (12, (0, 0))):
        point = inside.place("edges", number % 8, number // 8, row, column)
        Pointers(inside.browser, inside.canvas("edges")).send("mouseMoved", point, is_held=False)
        assert inside.words("edges").startswith(
            f"Map {number + 1}, row {row + 1}, column {column + 1}:"
        )
        expected = inside.stages["edges"][number, row, column].item()
        assert inside.sum_in("edges") == pytest.approx(expected, abs=0.006)
        padded = torch.nn.functional.pad(inside.image[0], (1, 1, 1, 1))
        patch = padded[row : row + 3, column : column + 3]
        weights = load_network().conv1.weight[number, 0].detach()
        for place, table in enumerate((patch, weights, patch * weights)):
            assert (inside.table("edges", place) - table).abs().max() < 0.006


def test_tapping_a_place_shows_the_sum_of_all_its_maps_and_what_it_sees_of_the_image(look_inside):
    inside = look_inside(width=500)
    fingers = Pointers(inside.browser, inside.canvas("shapes"))
    number, row, column = 9, 6, 7
    fingers.touch("touchStart", inside.place("shapes", number % 4, number // 4, row, column))
    fingers.touch("touchEnd")
    assert inside.words("shapes").startswith("Map 10, row 7, column 8: the 144 products add up to")
    expected = inside.stages["shapes"][number, row, column].item()
    assert inside.sum_in("shapes") == pytest.approx(expected, abs=0.006)
    box = inside.browser.find_element(By.CSS_SELECTOR, ".shapes .shown .mark")
    # Its rows 5 to 7 were rows 10 to 15, which see the pixels of rows 9 to 16, of columns 11 to 18.
    left, top, size = (f"{100 * pixels / 30:.6g}%" for pixels in (1 + 11, 1 + 9, 8))
    sides = f"left: {left}; top: {top}; height: {size}; width: {size};"
    assert box.get_attribute("style") == sides
    caption = inside.browser.find_element(By.CSS_SELECTOR, ".shapes figcaption").text
    assert caption == "8 × 8 pixels of the image"


def test_keys_go_from_place_to_place(look_inside):
    inside = look_inside()
    browser = inside.browser
    browser.find_element(By.XPATH, "//button[text()='Clear']").send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.TAB)  # behind the words "Look inside"
    assert browser.switch_to.active_element == inside.canvas("edges")
    edges = inside.stages["edges"]
    number, row, column = (int(i) for i in (edges == edges.max()).nonzero()[0])
    for key, right in ((None, 0), (Keys.ARROW_RIGHT, 1), (Keys.ARROW_RIGHT, 2)):
        if key:
            browser.switch_to.active_element.send_keys(key)
        place = f"Map {number + 1}, row {row + 1}, column {column + 1 + right}:"
        assert inside.words("edges").startswith(place)
        expected = edges[number, row, column + right].item()
        assert inside.sum_in("edges") == pytest.approx(expected, abs=0.006)
    for _ in range(4):
        browser.switch_to.active_element.send_keys(Keys.TAB)
    units = inside.stages["units"]
    assert inside.words("units").startswith(f"Hidden unit {units.argmax() + 1}:")
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    strongest = units.argmax().item()
    below = strongest + 16 if strongest < 48 else strongest
    assert inside.words("units").startswith(f"Hidden unit {below + 1}:")
    assert inside.sum_in("units") == pytest.approx(
        inside.stages["unitSums"][below].item(), abs=0.006
    )


def test_the_smaller_maps_keep_the_largest_of_four(look_inside):
    inside = look_inside()
    inside.canvas("first").send_keys(Keys.ARROW_LEFT, Keys.ARROW_RIGHT)
    first = inside.stages["first"]
    number, row, column = (int(i) for i in (first == first.max()).nonzero()[0])
    assert inside.words("first") == (
        f"Map {number + 1}, row {row + 1}, column {column + 1}: "
        f"the largest of four is {first.max():.2f}, and it stays."
    )


def test_a_digit_says_which_units_speak_for_it_and_against_it(look_inside):
    inside = look_inside()
    output = load_network().output
    sums, units = inside.stages["sums"], inside.stages["units"]
    assert inside.words("answers").startswith("The 7:")  # that which is read, to begin with
    for digit in (7, 1):
        inside.browser.find_elements(By.CSS_SELECTOR, ".digit")[digit].click()
        assert inside.words("answers").startswith(f"The {digit}:")
        assert inside.sum_in("answers") == pytest.approx(sums[digit].item(), abs=0.006)
        products = (output.weight[digit] * units).detach()
        lists = inside.browser.find_elements(By.CSS_SELECTOR, ".answers ul")
        for shown, unit in zip(lists, (products.argmax(), products.argmin()), strict=True):
            line = f"unit {unit + 1}: {units[unit]:.2f} × {output.weight[digit, unit]:.3f}"
            assert shown.text.startswith(line.replace("-", "−"))
        lists[0].find_element(By.CSS_SELECTOR, ".unit").click()
        assert inside.words("units").startswith(f"Hidden unit {products.argmax() + 1}:")


def test_the_next_drawing_is_explained_by_what_is_read_of_it(look_inside):
    inside = look_inside()
    browser = inside.browser
    browser.find_elements(By.CSS_SELECTOR, ".digit")[1].click()
    assert inside.words("answers").startswith("The 1:")
    spoken = browser.find_element(By.CSS_SELECTOR, ".spoken")
    assert spoken.get_attribute("textContent").startswith("The 1:")
    browser.find_element(By.XPATH, "//button[text()='Clear']").click()
    gone = "return document.querySelector('.stages').hidden"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(gone))
    inside.page.pad.draw(SEVEN)
    WebDriverWait(browser, 10).until(lambda _: not browser.execute_script(gone))
    assert inside.words("answers").startswith("The 7:")


def test_on_a_phone_it_is_folded_and_opens(open_page, browser):
    page = open_page(width=390)
    page.pad.draw_by_finger([(140, 240), (140, 40)])
    page.wait_for("The network reads: 1")
    assert not browser.find_element(By.CSS_SELECTOR, ".maps").is_displayed()
    browser.find_element(By.TAG_NAME, "summary").click()
    shown = "return document.querySelector('.answers .read .digit')?.textContent"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(shown) == "1")
    size = "const { clientWidth, scrollWidth } = document.documentElement;"
    assert browser.execute_script(f"{size} return scrollWidth <= clientWidth")
    browser.find_element(By.XPATH, "//button[text()='Clear']").click()
    gone = "return document.querySelector('.stages').hidden"
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(gone))


# Send pointer events at the places of all strokes; the words change when the page has read them.
DRAW = """
const pad = document.querySelector("#pad canvas");
const { left, top } = pad.getBoundingClientRect();
const send = (kind, [x, y]) => pad.dispatchEvent(
  new PointerEvent(kind, { pointerId: 1, clientX: left + x, clientY: top + y }),
);
const answer = document.getElementById("answer");
const answers = [];
for (const strokes of argument) {
  document.querySelector("#pad button").click();
  for (const points of strokes) {
    send("pointerdown", points[0]);
    for (const point of points.slice(1)) send("pointermove", point);
    send("pointerup", points.at(-1));
  }
  answer.textContent = "";
  while (!answer.textContent) await new Promise((resolve) => setTimeout(resolve));
  answers.push(answer.textContent);
}
return answers;
"""


def test_it_reads_what_is_drawn_as_python_does(open_page):
    network, expected = load_network(), []
    for strokes in drawings():
        try:
            image = prepare(draw_strokes(strokes))
        except ValueError:  # it is drawn in two parts
            expected.append("These are 2 digits: draw one.")
            continue
        with torch.inference_mode():
            expected.append(f"The network reads: {network(image)[0].argmax()}")
    read = open_page().run(DRAW, drawings())
    same = sum(one.startswith(other) for one, other in zip(read, expected, strict=True))
    assert len(expected) == 200 and same >= 199
