"""nbval with this project's settings: a kernel that dies or hangs fails in bounded time."""

import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

from checkpoints import ROOT

pytestmark = pytest.mark.slow


def nbval(folder, *options):
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", folder]
    command = [sys.executable, "-m", "pytest", "--nbval", *options, *settings, folder]
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MNIST_CHECKPOINTS"):  # they must not come from here
        del environment[name]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_kernels_have_one_thread_and_a_checkpoint_folder_of_the_tests(tmp_path):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    source = "import os; print(os.environ['OMP_NUM_THREADS'], 'MNIST_CHECKPOINTS' in os.environ)"
    cell = nbformat.v4.new_code_cell(source, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", text="1 True\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "settings.ipynb")
    result = nbval(tmp_path)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("source", ["import os; os._exit(1)", "while True: pass"])
def test_a_kernel_that_dies_or_hangs_fails_in_bounded_time_and_names_the_cell(tmp_path, source):
    cells = [nbformat.v4.new_code_cell(source, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "broken.ipynb")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (timeout,) = re.findall(r"--nbval-cell-timeout=(\d+)", pyproject)
    assert int(timeout) <= 300  # tried here with another one
    start = time.perf_counter()
    result = nbval(tmp_path, "--nbval-cell-timeout=3")
    assert result.returncode == 1 and "broken.ipynb::Cell 0" in result.stdout
    assert "Timeout of 3 seconds exceeded" in result.stdout or "os._exit" in source
    assert time.perf_counter() - start < 60
