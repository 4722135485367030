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


@pytest.fixture(scope="session")
def loaders():
    """The three loaders, with the seed 0 and batches of 32."""
    from mnist_helpers import make_loaders

    return make_loaders()
