"""Each link of each notebook in JupyterLab, in a real browser: part of ``make browser-test``."""

import posixpath
import re

import nbformat
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from suite import find_notebooks

PANEL = "window.jupyterapp?.shell.currentWidget"


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda p: p.stem)
def test_each_link_opens_the_file_that_it_names(server, browser, path):
    opened = f"return {PANEL}?.context?.isReady && {PANEL}.context.path"
    wait = WebDriverWait(browser, 60)
    home = f"notebooks/{path.name}"
    browser.get(server.format(home))
    clicked = set()
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        links = re.findall(r"(?<!!)\[([^]]+)\]\(([^)]+)\)", cell.source)
        for text, link in links if cell.cell_type == "markdown" else []:
            if (text, link) in clicked:  # the links at the top stand at the end once more
                continue
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
            clicked.add((text, link))
            browser.execute_script(
                f"jupyterapp.commands.execute('docmanager:open', {{path: '{home}'}})"
            )
    assert len(clicked) >= 2
