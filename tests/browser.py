"""JupyterLab in a real browser: each link, and notebook 05's drawing pad: ``make browser-test``.

Needs Chromium and its driver (Debian: chromium and chromium-driver), and what
``tests/browser_requirements.txt`` lists. With the environment variable ``SCREENSHOT``, a picture of
the pad in use is written to that path.
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

from mnist_helpers import ROOT

NOTEBOOK = "05_read_your_own_digits.ipynb"
SEVEN = [(85, 75), (195, 65), (150, 140), (125, 225)]
ONE = [(140, 50), (140, 230)]
PANEL = "window.jupyterapp?.shell.currentWidget"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the repository, as `make lab` serves it; yields its address."""
    tmp_path = tmp_path_factory.mktemp("server")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
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


def test_what_is_drawn_on_the_pad_is_read(server, browser):
    browser.get(server.format(f"notebooks/{NOTEBOOK}"))
    wait = WebDriverWait(browser, 180)

    def script(text):
        return browser.execute_script(text)

    panel = PANEL
    status = f"return {panel}?.sessionContext?.session?.kernel?.status"
    wait.until(lambda _: script(status) == "idle")
    script("jupyterapp.commands.execute('notebook:run-all-cells')")
    # Cells out of sight have no elements: go to the one that shows the pad.
    script(f"""
        const shows = cell => cell.model.sharedModel.source.includes('display(pad)');
        window.pad = {panel}.content.widgets.findIndex(shows);
    """)

    def canvas_in_view(_):
        script(f"{panel}.content.scrollToItem(window.pad, 'start')")
        found = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output canvas")
        return found[0] if found and found[0].is_displayed() else None

    canvas = wait.until(canvas_in_view)

    def answer():
        return " ".join(e.text for e in browser.find_elements(By.CSS_SELECTOR, ".widget-html"))

    wait.until(lambda _: "Draw a digit" in answer())
    draw(browser, canvas, SEVEN)
    wait.until(lambda _: "a 7 (" in answer())
    picture = "document.querySelector('.widget-image')"
    wait.until(lambda _: script(f"return {picture}?.naturalWidth > 100"))
    if "SCREENSHOT" in os.environ:
        box = browser.find_element(By.CSS_SELECTOR, ".jp-OutputArea-output .widget-hbox")
        box.screenshot(os.environ["SCREENSHOT"])

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


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
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
