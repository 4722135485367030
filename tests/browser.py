"""JupyterLab in a real browser: each link, and both drawing pads: ``make browser-test``.

Needs Chromium and its driver (Debian: chromium and chromium-driver), and what
``tests/browser_requirements.txt`` lists. With the environment variable ``SCREENSHOT``, a picture of
notebook 05's pad in use is written to that path.
"""

import os
import posixpath
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import nbformat
import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from suite import find_notebooks

from mnist_helpers import ROOT

SEVEN = [(85, 75), (195, 65), (150, 140), (125, 225)]
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
PANEL = "window.jupyterapp?.shell.currentWidget"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the repository, as `make lab` serves it; yields its address."""
    tmp_path = tmp_path_factory.mktemp("server")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "checkpoints"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--ServerApp.root_dir={tmp_path / 'copy'}", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", "--IdentityProvider.token=pad", "--expose-app-in-browser"),
    ]
    # The theme that a test chooses must not become that of the person who runs it.
    own_settings = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own_settings)
    try:
        for _ in range(120):
            try:
                urlopen(f"http://127.0.0.1:{port}/api?token=pad").close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=pad&reset"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--window-size=1200,900"):
        options.add_argument(option)
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def draw(browser, canvas, points):
    """Press, move through the points (pixels from the canvas's corner) and let go."""
    width, height = canvas.size["width"], canvas.size["height"]
    actions = ActionChains(browser, duration=50)
    for number, (x, y) in enumerate(points):
        if number:
            for step in range(1, 9):  # a mouse reports places on its way
                last_x, last_y = points[number - 1]
                at = (last_x + (x - last_x) * step / 8, last_y + (y - last_y) * step / 8)
                place = (round(at[0] - width / 2), round(at[1] - height / 2))
                actions.move_to_element_with_offset(canvas, *place)
        else:
            start = (round(x - width / 2), round(y - height / 2))
            actions.move_to_element_with_offset(canvas, *start).click_and_hold()
    actions.release().perform()


def open_pad(server, browser, notebook):
    """Run all cells of a notebook with a pad; return its canvas, and what says the answer."""
    browser.get(server.format(f"notebooks/{notebook}"))
    wait = WebDriverWait(browser, 180)
    status = f"return {PANEL}?.sessionContext?.session?.kernel?.status"
    wait.until(lambda _: browser.execute_script(status) == "idle")
    browser.execute_script("jupyterapp.commands.execute('notebook:run-all-cells')")
    # Cells out of sight have no elements: go to the one that shows the pad.
    browser.execute_script(f"""
        const shows = cell => cell.model.sharedModel.source.includes('display(pad)');
        window.pad = {PANEL}.content.widgets.findIndex(shows);
    """)

    def canvas_in_view(_):
        browser.execute_script(f"{PANEL}.content.scrollToItem(window.pad, 'start')")
        found = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output canvas")
        return found[0] if found and found[0].is_displayed() else None

    def answer():
        return " ".join(e.text for e in browser.find_elements(By.CSS_SELECTOR, ".widget-html"))

    canvas = wait.until(canvas_in_view)
    wait.until(lambda _: "Draw a digit" in answer())
    return canvas, answer, wait


def take_screenshot(browser, name):
    """Take a picture of the pad, if a folder for it is named."""
    if "SCREENSHOTS" in os.environ:
        browser.set_window_size(1400, 1400)  # notes of JupyterLab's come up in the lower corner
        pad = browser.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output .jupyter-widgets")
        pad.screenshot(f"{os.environ['SCREENSHOTS']}/{name}.png")


def test_what_is_drawn_on_the_pad_is_read(server, browser):
    canvas, answer, wait = open_pad(server, browser, "05_read_your_own_digits.ipynb")

    def script(text):
        return browser.execute_script(text)

    draw(browser, canvas, SMALL_SEVEN)
    wait.until(lambda _: "a 7 (" in answer())
    picture = "document.querySelector('.widget-image')"
    wait.until(lambda _: script(f"return {picture}?.naturalWidth > 100"))
    take_screenshot(browser, "drawing_pad")

    browser.find_element(By.XPATH, "//button[text()='Clear']").click()
    wait.until(lambda _: "Draw a digit" in answer())
    draw(browser, canvas, ONE)
    wait.until(lambda _: "a 1 (" in answer())

    # A click without a move draws a dot, which is answered too.
    browser.find_element(By.XPATH, "//button[text()='Clear']").click()
    wait.until(lambda _: "Draw a digit" in answer())
    pixel = "arguments[0].getContext('2d').getImageData({0}, {0}, 1, 1).data"

    def colour_at(place):
        drawn = browser.execute_script(f"return Array.from({pixel.format(place)})", canvas)
        return drawn[:3]

    draw(browser, canvas, [(140, 140)])
    wait.until(lambda _: answer() and "Draw a digit" not in answer())
    assert colour_at(140) == [0, 0, 0]

    # The paper stays white in the dark theme.
    script("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    wait.until(lambda _: script("return document.body.dataset.jpThemeLight") == "false")
    assert colour_at(10) == [255, 255, 255] and canvas.value_of_css_property("opacity") == "1"


def test_ten_digits_that_are_taught_change_the_answer_to_the_next_one(server, browser):
    canvas, answer, wait = open_pad(server, browser, "07_teach_it_your_hand.ipynb")

    def click(text):
        browser.find_element(By.XPATH, f"//button[text()='{text}']").click()

    # A 1 with a long upstroke, which MNIST lacks.
    draw(browser, canvas, UNKNOWN_ONES[0])
    wait.until(lambda _: "as it ships" in answer())
    assert "as it ships: 1 " not in answer() and "yours" not in answer()
    for number, (digit, points) in enumerate(TEN_TO_TEACH, start=1):
        click("Clear")
        wait.until(lambda _: "Draw a digit" in answer())
        draw(browser, canvas, points)
        wait.until(lambda _: "as it ships" in answer())
        click(str(digit))
        said = f"Examples: {number}" if number < 10 else "Learned from 10 examples"
        wait.until(lambda _, said=said: said in answer())
    draw(browser, canvas, UNKNOWN_ONES[1])
    wait.until(lambda _: "yours: 1 " in answer())
    assert "as it ships: 1 " not in answer()
    take_screenshot(browser, "teaching_pad")


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda p: p.stem)
def test_each_link_opens_the_file_that_it_names(server, browser, path):
    opened = f"return {PANEL}?.context?.isReady && {PANEL}.context.path"
    wait = WebDriverWait(browser, 60)
    home = f"notebooks/{path.name}"
    browser.get(server.format(home))
    clicked = 0
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        links = re.findall(r"(?<!!)\[([^]]+)\]\(([^)]+)\)", cell.source)
        for text, link in links if cell.cell_type == "markdown" else []:
            wait.until(lambda _: browser.execute_script(opened) == home)

            def shown(_, index=index, text=text):
                browser.execute_script(f"{PANEL}.content.scrollToItem({index}, 'start')")
                # A link in a folded solution shows when the solution is open.
                browser.execute_script(
                    "document.querySelectorAll('details').forEach(solution => solution.open = true)"
                )
                found = browser.find_elements(By.PARTIAL_LINK_TEXT, text.strip("`*"))
                return next((link for link in found if link.is_displayed()), None)

            element = wait.until(shown)
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            if link.startswith("https://"):
                assert element.get_attribute("href") == link
                continue
            element.click()
            target = posixpath.normpath(posixpath.join("notebooks", link.partition("#")[0]))
            wait.until(lambda _, target=target: browser.execute_script(opened) == target)
            clicked += 1
            browser.execute_script(
                f"jupyterapp.commands.execute('docmanager:open', {{path: '{home}'}})"
            )
    assert clicked >= 4
