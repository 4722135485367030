"""The notebooks as files: what nbval cannot notice.

nbval never compares a cell that was stored without having been run, ignores tags it doesn't know,
and reads no prose. So these tests read the notebooks as they are stored.
"""

import ast
import base64
import builtins
import io
import itertools
import re
import subprocess
import sys

import matplotlib.image
import nbformat
import pytest
from suite import find_notebooks

from checkpoints import ROOT

PATHS = find_notebooks()
MACHINE_PATH = re.compile(
    r"/(home|Users|root|tmp|var|opt|work|mnt|content)/|[A-Z]:\\\\|site-packages"
)


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def checks_of(notebook):
    """The folded cell after the closing one, with what must hold of outputs that are ignored."""
    last = notebook.cells[-1]
    return last if last.cell_type == "code" else None


def closing_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"][-1].source


def may_fold(cell):
    """Tell whether a cell's code is for the tests, or only draws or computes what is then seen."""
    return cell.source.startswith(("# For the automatic tests: ", "# You may skip this code: "))


def texts(cell):
    """Every text that the cell's outputs hold, pictures left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        else:
            yield from (data for mime, data in output.data.items() if mime.startswith("text/"))


def test_each_notebook_has_a_number_of_its_own_and_leads_to_the_next():
    numbers = [path.name[:3] for path in PATHS]
    assert numbers == sorted(set(numbers)) and numbers[0] == "01_"
    for before, after in itertools.pairwise(PATHS):
        assert f"→]({after.name})" in nbformat.read(before, as_version=4).cells[0].source
        assert f"[← {before.name[:2]} " in nbformat.read(after, as_version=4).cells[0].source


def test_all_begin_with_the_same_cell_and_then_import_the_helper():
    cells = [code_cells(nbformat.read(path, as_version=4)) for path in PATHS]
    (source,) = {first.source for first, *_ in cells}
    assert 'sys.path[:0] = ["..", "mnist"]' in source
    assert all("import mnist_helpers as mnist" in second.source for _, second, *_ in cells)


@pytest.mark.parametrize("place", ["notebooks", ""])
def test_the_first_cell_finds_the_helper_one_folder_up_or_in_a_clone_beside(tmp_path, place):
    clone = tmp_path / "mnist"
    (clone / "notebooks").mkdir(parents=True)
    (clone / "mnist_helpers.py").write_text("print('found')")
    first = code_cells(nbformat.read(PATHS[0], as_version=4))[0].source
    folder = clone / place if place else tmp_path
    # Isolated (-I), as no folder of the tests may help.
    command = [sys.executable, "-I", "-c", f"{first}\nimport mnist_helpers"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.stdout == "found\n", result.stderr


def test_was_executed_top_to_bottom_in_a_fresh_kernel(notebook):
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert any(cell.outputs for cell in code_cells(notebook))
    # Anything else, such as the times of execution, would differ after every run.
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "alt"} | ({"jupyter"} if may_fold(cell) else set())


def test_stores_no_error_no_warning_and_no_path_of_a_machine(notebook):
    for cell in code_cells(notebook):
        allowed = "nbval-raises-exception" in cell.metadata.get("tags", [])
        for output in cell.outputs:
            assert output.output_type != "error" or allowed, cell.source
            assert output.get("name") != "stderr", cell.source
            # Of a widget only its name is stored; but the drawing pad is for those who run it.
            is_widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
            assert not is_widget or "display(pad)" in cell.source, cell.source
            if output.output_type == "error":
                assert not MACHINE_PATH.search("\n".join(output.traceback)), cell.source
                continue
        if not allowed:
            for text in texts(cell):
                assert not MACHINE_PATH.search(text) and "Warning" not in text, cell.source
                assert "\r" not in text, "a progress bar was stored step by step: " + cell.source


def test_tags_are_known_to_nbval_and_an_ignored_output_is_asserted(notebook):
    checked = names_in_asserts(checks_of(notebook).source) if checks_of(notebook) else set()
    for cell in code_cells(notebook):
        tags = cell.metadata.get("tags", [])
        assert set(tags) <= {"nbval-ignore-output", "nbval-raises-exception"}
        if "nbval-ignore-output" in tags:
            assert "assert " in cell.source or names_assigned(cell.source) & checked, cell.source
        # A comment works as a marker too, if it stands alone; one way to say it is enough.
        assert "NBVAL" not in cell.source


def names_in_asserts(source):
    asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return {
        node.id
        for one in asserts
        for node in ast.walk(one.test)
        if isinstance(node, ast.Name) and node.id not in ("torch", "mnist", "math")
    }


def names_assigned(source):
    """What a cell gives a value, or adds to, as the loop does with its lists of losses."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        is_append = isinstance(node, ast.Attribute) and node.attr == "append"
        if is_append and isinstance(node.value, ast.Name):
            names.add(node.value.id)
    return names


def test_the_cell_of_checks_is_folded_and_says_what_it_is_for(notebook):
    checks = checks_of(notebook)
    if checks is not None:
        assert checks.metadata == {"jupyter": {"source_hidden": True}} and not checks.outputs
        assert checks.source.startswith("# For the automatic tests: ")
        assert names_in_asserts(checks.source)


def test_code_that_may_be_skipped_is_folded_and_no_other(notebook):
    for cell in code_cells(notebook):
        folded = cell.metadata.get("jupyter", {})
        assert folded == ({"source_hidden": True} if may_fold(cell) else {}), cell.source


def test_every_figure_shows_something(notebook):
    for cell in code_cells(notebook):
        pictures = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        assert pictures or "plt.show()" not in cell.source, cell.source
        for picture in pictures:
            pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)), format="png")
            assert 0.01 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.9, "a blank figure?"


def test_every_figure_has_a_text_of_its_own_for_those_who_cannot_see_it(notebook):
    """In the pages, tools/write_pages.py puts it in the figure's place."""
    texts = []
    for cell in code_cells(notebook):
        has_figure = any("image/png" in output.get("data", {}) for output in cell.outputs)
        assert has_figure == ("alt" in cell.metadata), cell.source
        if has_figure:
            texts.append(cell.metadata.alt)
    assert all(40 < len(text) < 200 for text in texts)
    assert len(set(texts)) == len(texts) > 0


def test_links_lead_somewhere(path, notebook):
    links = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            links.update(re.findall(r"\]\(([^)]+)\)", cell.source))
    assert "../README.md#the-notebooks" in links
    assert "\n## The notebooks\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    for link in links:
        assert (path.parent / link.partition("#")[0]).is_file(), link


def test_opens_with_its_title_and_links_and_closes_with_recap_exercises_and_links(path, notebook):
    opening, closing = notebook.cells[0].source, closing_of(notebook)
    title, links, *_ = opening.splitlines()
    number = path.name[:2]
    assert title.startswith(f"# {number} · ") and "](../README.md#the-notebooks)" in links
    for word in ("**Needs:**", "**Makes:**", "**Time:**"):
        assert word in opening
    assert closing.startswith("## Recap") and closing.splitlines()[-1] == links
    assert 2 <= closing.count("<summary>Solution</summary>") == closing.count("</details>") <= 4


def test_each_ends_with_a_link_to_the_glossary(notebook):
    assert "[glossary](glossary.md)" in closing_of(notebook)


def test_each_word_of_the_glossary_is_set_apart_first_in_the_notebook_it_names():
    """A word is set in italics where it is explained."""
    glossary = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| .+ \| \[(\d\d)\]\((.+?)\) \|$", glossary, re.M)
    words = [word for word, _, _ in rows]
    assert len(rows) == glossary.count("| **") > 50 and words == sorted(words, key=str.lower)
    in_italics = {}
    for path in PATHS:
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        found = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", prose)
        in_italics[path.name] = {text.lower() for text in found}
    for word, number, name in rows:
        forms = {word.lower() + end for end in ("", "s", "es")}
        holding = [name for name, italics in in_italics.items() if italics & forms]
        assert name.startswith(number) and holding[0] == name, (word, holding)


def results_in(prose):
    """Counts up to ten and round hundredths are words of the prose rather than results."""
    return {number for number in numbers_in(prose) if len(number) >= 3 or "." in number}


def numbers_in(text):
    return re.findall(r"\d[\d,.]*\d|\d", text)


def printed_by(notebook):
    printed = (text for cell in code_cells(notebook) for text in texts(cell))
    return {number for text in printed for number in numbers_in(text)}


def test_every_number_of_the_recap_was_printed_by_the_notebook(notebook):
    recap = closing_of(notebook).partition("## Exercises")[0]
    assert numbers_in(recap)
    assert results_in(recap) <= printed_by(notebook), results_in(recap) - printed_by(notebook)


def test_every_measured_percentage_of_the_short_path_was_printed_by_the_notebook():
    """In its prose, 97.3% is what it printed, and 97.3 % what was said before."""
    for path in PATHS[:5]:
        notebook = nbformat.read(path, as_version=4)
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
        measured = set(re.findall(r"\d[\d.]*(?=%)", prose))
        assert measured and measured <= printed_by(notebook), measured - printed_by(notebook)


def test_every_number_of_the_recipe_to_take_home_was_printed_by_the_notebook_it_names():
    notebooks = {path.name: nbformat.read(path, as_version=4) for path in PATHS}
    (recipe,) = [c for n in notebooks.values() for c in n.cells if c.id == "take-home"]
    rows = [line for line in recipe.source.splitlines() if re.match(r"\| \d+ \|", line)]
    for row in rows:
        named = re.findall(r"\[\d\d\]\((.+?)\)", row)
        printed = set().union(*(printed_by(notebooks[name]) for name in named))
        results = results_in(re.sub(r"\[\d\d\]\(.+?\)", "", row))
        assert results and results <= printed, (row, results - printed)
    assert len(rows) >= 10


def test_solutions_are_python_and_use_what_the_notebook_has(notebook):
    sources = [re.sub(r"^%.*", "", cell.source, flags=re.M) for cell in code_cells(notebook)]
    known = set(dir(builtins)).union(*map(names_defined, sources))
    for solution in re.findall(r"```python\n(.*?)```", closing_of(notebook), re.DOTALL):
        known |= names_defined(solution)
        used = {n.id for n in ast.walk(ast.parse(solution)) if isinstance(n, ast.Name)}
        assert used <= known, used - known


def names_defined(source):
    """What code gives a value, imports, or takes as an argument."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names
