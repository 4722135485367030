"""nbval as the Makefile calls it: a kernel that dies or hangs fails in bounded time."""

import shutil
import subprocess
import sys
import time

import nbformat

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


def test_nbval_notices_a_dying_kernel_in_bounded_time_and_names_the_notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell("import os; os._exit(1)", execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "dying.ipynb")
    start = time.perf_counter()
    result = nbval(tmp_path, cell_timeout=5)
    assert result.returncode == 1 and "dying.ipynb::Cell 0" in result.stdout
    assert time.perf_counter() - start < 5 * 12


def test_nbval_fails_when_the_training_runs_into_the_timeout(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "03_train_on_the_gpu.ipynb", as_version=4)
    (loop,) = [i for i, c in enumerate(notebook.cells) if "for epoch in range" in c.source]
    del notebook.cells[loop + 3 :]  # the loop, the prose and the cell after it stay
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "03_train.ipynb")
    shutil.copy(ROOT / "mnist_helpers.py", tmp_path)  # so that the checkpoint is written here
    shutil.copytree(ROOT / "data", tmp_path / "data")
    result = nbval(tmp_path / "notebooks", cell_timeout=6)
    assert result.returncode == 1, result.stdout
    assert "Timeout of 6 seconds exceeded" in result.stdout
