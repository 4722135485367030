"""The notebooks as files: what nbval cannot notice.

nbval never compares a cell that was stored without having been run, ignores tags it doesn't know,
and reads no prose. So these tests read the notebooks as they are stored.
"""

import base64
import io
import re
import sys

import matplotlib.image
import nbformat
import pytest

from mnist_helpers import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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


def texts(cell):
    """Every text that the cell's outputs hold, pictures left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        else:
            yield from (data for mime, data in output.data.items() if mime.startswith("text/"))


def test_the_notebooks_are_numbered_in_order():
    assert PATHS and [path.name[:3] for path in PATHS] == [
        f"{number:02}_" for number in range(1, len(PATHS) + 1)
    ]


@pytest.fixture(scope="module")
def first_cells():
    """The one source of all first cells: of two, which come before anything else is imported."""
    cells = [code_cells(nbformat.read(path, as_version=4))[:2] for path in PATHS]
    (source,) = {f"{first.source}\n{second.source}" for first, second in cells}
    return source


def test_all_begin_with_the_same_two_cells_before_torch_is_imported(first_cells):
    """They find the helper and limit how long a thread spins, which counts before that import."""
    assert 'setdefault("GOMP_SPINCOUNT"' in first_cells and "sys.path.insert(0" in first_cells
    assert "torch" not in first_cells and "mnist_helpers import" not in first_cells


@pytest.mark.parametrize("place", ["", "notebooks", "notebooks/deeper", "elsewhere", "above"])
def test_the_first_cells_find_the_helper_from_any_folder(tmp_path, monkeypatch, first_cells, place):
    clone = tmp_path / "above" / "clone"
    for folder in (clone / "notebooks" / "deeper", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (clone / "mnist_helpers.py").touch()
    known = {}
    if place == "elsewhere":  # as VS Code may be set, which then says where the notebook lies
        known["__vsc_ipynb_file__"] = str(clone / "notebooks" / "01.ipynb")
    monkeypatch.chdir(tmp_path / place if place in ("elsewhere", "above") else clone / place)
    monkeypatch.setattr(sys, "path", [])
    exec(first_cells, known)
    assert sys.path == [str(clone)]


def test_the_first_cells_alone_say_in_one_sentence_what_is_missing(
    tmp_path, monkeypatch, first_cells
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError) as caught:
        exec(first_cells, {})
    (sentence,) = str(caught.value).splitlines()
    assert "mnist_helpers.py" in sentence and "`git clone`" in sentence
    assert sentence.count(". ") == 0 and sentence.endswith(".")


def test_was_executed_top_to_bottom_in_a_fresh_kernel(notebook):
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert any(cell.outputs for cell in code_cells(notebook))
    # Anything else, such as the times of execution, would differ after every run.
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


def test_stores_no_error_no_warning_and_no_path_of_a_machine(notebook):
    for cell in code_cells(notebook):
        allowed = "nbval-raises-exception" in cell.metadata.get("tags", [])
        for output in cell.outputs:
            assert output.output_type != "error" or allowed, cell.source
            assert output.get("name") != "stderr", cell.source
            # Of a widget only its name is stored; but the drawing pad is for those who run it.
            is_widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
            assert not is_widget or "pad.canvas" in cell.source, cell.source
            if output.output_type == "error":
                assert not MACHINE_PATH.search("\n".join(output.traceback)), cell.source
                continue
        if not allowed:
            for text in texts(cell):
                assert not MACHINE_PATH.search(text) and "Warning" not in text, cell.source
                assert "\r" not in text, "a progress bar was stored step by step: " + cell.source


def test_tags_are_known_to_nbval_and_an_ignored_output_is_asserted(notebook):
    for cell in code_cells(notebook):
        tags = cell.metadata.get("tags", [])
        assert set(tags) <= {"nbval-ignore-output", "nbval-raises-exception"}
        assert "nbval-ignore-output" not in tags or "assert " in cell.source, cell.source
        # A comment works as a marker too, if it stands alone; one way to say it is enough.
        assert "NBVAL" not in cell.source


def test_every_figure_shows_something(notebook):
    for cell in code_cells(notebook):
        pictures = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        assert bool(pictures) == ("plt.show()" in cell.source), cell.source
        for picture in pictures:
            pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)), format="png")
            assert 0.01 < (pixels[..., :3].min(axis=2) < 0.9).mean() < 0.9, "a blank figure?"


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
    opening, closing = notebook.cells[0].source, notebook.cells[-1].source
    title, links, *about = opening.splitlines()
    number = path.name[:2]
    assert title.startswith(f"# {number} · ") and "](../README.md#the-notebooks)" in links
    about = "\n".join(about)
    assert len(about.split()) <= 120
    for word in ("**Needs:**", "**Makes:**", "**Time:**"):
        assert word in about
    assert closing.startswith("## Recap") and closing.splitlines()[-1] == links
    assert closing.count("\n- ") + 1 <= 6
    assert 2 <= closing.count("<summary>Solution</summary>") == closing.count("</details>") <= 4


def test_every_number_of_the_recap_was_printed_by_the_notebook(notebook):
    recap = notebook.cells[-1].source.partition("## Exercises")[0]
    printed = {
        number
        for cell in code_cells(notebook)
        for text in texts(cell)
        for number in re.findall(r"\d[\d,.]*\d|\d", text)
    }
    numbers = re.findall(r"\d[\d,.]*\d|\d", recap)
    assert numbers
    # Counts up to ten and round hundredths are words of the prose rather than results.
    results = {number for number in numbers if len(number) >= 3 or "." in number}
    assert results <= printed, results - printed


def test_reads_in_one_sitting(notebook):
    lines = sorted(len(cell.source.splitlines()) for cell in code_cells(notebook))
    assert lines[len(lines) // 2] <= 6
    for previous, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if cell.cell_type == "code":
            is_loop = "for epoch in" in cell.source
            assert len(cell.source.splitlines()) <= (22 if is_loop else 25), cell.source
            if previous is not None and previous.cell_type == "code":
                lengths = [len(c.source.splitlines()) for c in (previous, cell)]
                assert min(lengths) <= 8, "two long cells without prose between: " + cell.source


def test_solutions_are_python(path, notebook):
    for solution in re.findall(r"```python\n(.*?)```", notebook.cells[-1].source, re.DOTALL):
        compile(solution, path.name, "exec")


def test_the_test_images_stay_closed_until_results_are_final(path, notebook):
    """Until notebook 04, and in 06 until every setting was chosen on the validation images."""
    opened = path.name.startswith("04")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            opened |= path.name.startswith("06") and "\n## The result\n" in cell.source
        else:
            evaluates = re.search(r"(evaluate\([^)]*|in |iter\()test_loader", cell.source)
            assert opened or not evaluates, cell.source


def test_the_second_half_of_semeion_stays_closed_until_all_is_chosen():
    (path,) = (path for path in PATHS if path.name.startswith("07"))
    cells = nbformat.read(path, as_version=4).cells
    (end,) = (i for i, cell in enumerate(cells) if "\n## The other half\n" in f"\n{cell.source}")
    sources = [cell.source for cell in cells[:end] if cell.cell_type == "code"]
    (names,) = (source for source in sources if "second_half" in source)
    assert names.startswith("first_half, second_half = slice(")
    for source in sources:  # images are read by halves
        assert not re.search(r"(read|cover)\(\w+, (naive|prepared)[,)]", source), source
