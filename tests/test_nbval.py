"""nbval with this project's settings: a kernel that dies or hangs fails in bounded time."""

import subprocess
import sys
import time

import nbformat
import pytest

from mnist_helpers import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", ["import os; os._exit(1)", "while True: pass"])
def test_a_kernel_that_dies_or_hangs_fails_in_bounded_time_and_names_the_cell(tmp_path, source):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "broken.ipynb")
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-cell-timeout=3", *settings]
    start = time.perf_counter()
    result = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert result.returncode == 1 and "broken.ipynb::Cell 0" in result.stdout
    assert "Timeout of 3 seconds exceeded" in result.stdout or "os._exit" in source
    assert time.perf_counter() - start < 60
