"""The pages that `make run` writes, made here of the notebooks as stored."""

import re
import shutil
from html.parser import HTMLParser

import nbformat
import pytest
from suite import find_notebooks

from checkpoints import ROOT

NOTEBOOKS = find_notebooks()
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)


@pytest.fixture(scope="module")
def write_pages():
    import write_pages  # here, as nbconvert takes long and not every process needs it

    return write_pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_pages):
    folder = tmp_path_factory.mktemp("executed")
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    write_pages.write(folder)
    return folder


class Page(HTMLParser):
    """Every attribute and every text of a page, by the element that holds it."""

    def __init__(self, text):
        super().__init__()
        self.attributes, self.texts, self.formulas, self.inside = [], {}, 0, [""]
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.formulas += tag == "math"
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while tag in self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts[self.inside[-1]] = self.texts.get(self.inside[-1], "") + data


@pytest.fixture(scope="module")
def pages(folder):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}


def check_that_nothing_is_loaded(page):
    for tag, name, value in page.attributes:
        if name in ("src", "srcset", "data", "poster") or (tag, name) == ("link", "href"):
            assert value.startswith("data:"), (tag, name, value[:100])
        if not name.startswith("xmlns") and (tag, name) != ("a", "href"):
            assert value.startswith("data:") or "//" not in value, (tag, name, value[:100])
    style = re.sub(r"/\*.*?\*/", "", page.texts.get("style", ""), flags=re.DOTALL)
    assert "@import" not in style
    for address in re.findall(r"url\(([^)]*)\)", style):
        assert address.strip("'\"").startswith("data:"), address[:100]
    script = page.texts.get("script", "")
    loading = r"https?:|\b(fetch|import|src|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b"
    assert not re.search(loading, script)


def test_nothing_is_loaded_from_a_network_or_another_file(pages):
    assert len(pages) == len(NOTEBOOKS) + 2  # and the glossary, and the index
    for name, page in pages.items():
        check_that_nothing_is_loaded(page)
        assert ("script" in page.texts) == (name == "index.html")  # which reads what is drawn


def test_the_page_that_reads_by_itself_loads_nothing_either():
    page = Page((ROOT / "pad.html").read_text(encoding="utf-8"))
    check_that_nothing_is_loaded(page)
    assert "createPad" in page.texts["script"] and ("img", "src") in {
        a[:2] for a in page.attributes
    }


def test_each_picture_says_what_it_shows(pages):
    for name, page in pages.items():
        pictures = sum(tag == "img" and key == "src" for tag, key, _ in page.attributes)
        texts = [value for tag, key, value in page.attributes if (tag, key) == ("img", "alt")]
        assert len(texts) == pictures and (pictures > 0) == (name != "glossary.html")
        # In the index each picture stands above its title, which says enough.
        assert all(len(text) > 20 for text in texts) or name == "index.html"
        assert not any("No description" in text for text in texts)


def test_checks_for_the_tests_are_folded(folder):
    for path in NOTEBOOKS:
        last = nbformat.read(path, as_version=4).cells[-1]
        page = (folder / path.with_suffix(".html").name).read_text(encoding="utf-8")
        assert page.count("<summary>For the automatic tests") == (last.cell_type == "code")


def test_code_that_may_be_skipped_is_folded_and_what_it_shows_is_not(folder):
    number = 0
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        skipped = [c for c in cells if c.source.startswith("# You may skip this code")]
        page = (folder / path.with_suffix(".html").name).read_text(encoding="utf-8")
        folded = re.findall(r"<summary>Code that you may skip</summary>(.*?)</details>", page, re.S)
        assert len(folded) == len(skipped)
        assert all("You may skip this code" in code and "<img" not in code for code in folded)
        number += len(skipped)
    assert number > 10


def test_solutions_are_folded(folder):
    for path in NOTEBOOKS:
        page = (folder / path.with_suffix(".html").name).read_text(encoding="utf-8")
        solutions = re.findall(r"<summary>Solution</summary>(.*?)</details>", page, re.DOTALL)
        assert 2 <= len(solutions) <= 4
        assert all(len(solution) > 100 for solution in solutions), path.name


def test_each_formula_is_typeset(pages):
    count = 0
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", prose, flags=re.DOTALL)
        page = pages[path.with_suffix(".html").name]
        assert page.formulas == len(FORMULA.findall(prose)), path.name
        assert "\\frac" not in page.texts.get("p", "") and "$$" not in page.texts.get("p", "")
        count += page.formulas
    assert count > 10


def test_links_lead_to_pages_and_the_index_to_all(folder, pages):
    for name, page in pages.items():
        links = {value for tag, key, value in page.attributes if (tag, key) == ("a", "href")}
        for link in links:
            file, _, _ = link.partition("#")
            assert re.match("https?://", link) or not file or (folder / file).is_file(), link
        if name == "index.html":
            assert {f"{path.stem}.html" for path in NOTEBOOKS} | {"glossary.html"} == links
            # On a phone the cards stand far below, so the first page is linked above the pad.
            in_order = [v for tag, key, v in page.attributes if key in ("href", "id")]
            assert in_order.index(f"{NOTEBOOKS[0].stem}.html") < in_order.index("pad")
        else:
            assert "index.html" in links
    pictures = [v for tag, key, v in pages["index.html"].attributes if (tag, key) == ("img", "src")]
    assert len(set(pictures)) == len(NOTEBOOKS)


def test_the_index_says_what_each_notebook_answers(pages):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    questions = re.findall(r"\| \[.*?\]\(notebooks/.*?\) \| (.*?) \|", readme)
    assert len(questions) == len(NOTEBOOKS)
    assert pages["index.html"].texts["p"].endswith("".join(questions))


def test_notebooks_of_the_readers_own_get_pages_too(tmp_path, write_pages):
    cells = [
        nbformat.v4.new_markdown_cell(
            "# Mine & yours\n\n$a < b$, [see there](other_notebook.ipynb)"
        )
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "mine.ipynb")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "without cells.ipynb")
    write_pages.write(tmp_path)
    assert "other_notebook" not in (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert "<h2>Mine &amp; yours</h2>" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<math" in (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert "<h2>without cells</h2>" in (tmp_path / "index.html").read_text(encoding="utf-8")
