import os
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")  # no test opens a window
# One thread: two of them wait for each other wherever other processes use the cores too.
os.environ["OMP_NUM_THREADS"] = "1"
# So that the processes which tests start find the helper and the tests.
HERE = Path(__file__).resolve().parent
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), str(HERE.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    """Two files run at a time, but notebook 04 only after 03, whose weights it tests."""
    for item in items:
        file = item.path.name
        group = "03 and 04" if file[:3] in ("03_", "04_") else file
        item.add_marker(pytest.mark.xdist_group(group))
