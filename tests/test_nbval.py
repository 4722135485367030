"""nbval as the Makefile calls it: a kernel that dies or hangs fails in bounded time."""

import subprocess
import sys
import time

import nbformat
import pytest

from mnist_helpers import ROOT


def nbval(folder, cell_timeout):
    """Run nbval as the Makefile does, with another timeout."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (flags,) = [line.split(":=")[1].split() for line in makefile.splitlines() if "NBVAL " in line]
    timeout = flags.index("--nbval-cell-timeout") + 1
    assert float(flags[timeout]) <= 300
    flags[timeout] = str(cell_timeout)
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", folder]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *settings, folder],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("source", ["import os; os._exit(1)", "while True: pass"])
def test_a_kernel_that_dies_or_hangs_fails_in_bounded_time_and_names_the_cell(tmp_path, source):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "broken.ipynb")
    start = time.perf_counter()
    result = nbval(tmp_path, cell_timeout=3)
    assert result.returncode == 1 and "broken.ipynb::Cell 0" in result.stdout
    assert "Timeout of 3 seconds exceeded" in result.stdout or "os._exit" in source
    assert time.perf_counter() - start < 60
