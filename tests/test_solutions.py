"""The solutions of the exercises print what the notebooks say that they print."""

import contextlib
import io
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from suite import find_notebooks

from checkpoints import ROOT

SOLUTION = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
# Elsewhere a solution depends on a training, and last digits differ from machine to machine.
NUMBERS = ("01", "02", "04", "05")


def solutions_of(notebook):
    """Return each solution's code, and what it is said to print: nothing, if it says nothing."""
    closing = [cell for cell in notebook.cells if cell.cell_type == "markdown"][-1].source
    folded = re.findall(r"<summary>Solution</summary>(.*?)</details>", closing, re.DOTALL)
    return [found for text in folded for found in SOLUTION.findall(text)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as in a notebook
@pytest.mark.parametrize("number", NUMBERS)
def test_each_solution_prints_what_stands_below_it(number, monkeypatch):
    (path,) = (path for path in find_notebooks() if path.name.startswith(number))
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    scope = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source.replace("display(pad)", ""), scope)
    compared = 0
    for solution, expected in solutions_of(notebook):
        printed = io.StringIO()
        if expected:
            with contextlib.redirect_stdout(printed):
                exec(solution, scope)
            assert printed.getvalue().strip() == expected.strip()
            compared += 1
    assert compared >= 2


def test_a_solution_that_prints_says_what():
    for path in find_notebooks()[:5]:
        for solution, expected in solutions_of(nbformat.read(path, as_version=4)):
            is_whole_program = "import mnist_helpers" in solution
            assert bool(expected) == ("print(" in solution) or is_whole_program, (path, solution)
