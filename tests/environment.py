"""The environment of all tests, and of the kernels and processes that they start.

Each ``conftest.py`` imports this before anything is tested.
"""

import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# One thread: two of them wait for each other wherever other processes use the cores too.
os.environ["OMP_NUM_THREADS"] = "1"
# No test makes a full run, which would replace what is stored.
os.environ.pop("FULL", None)

# What a learner has trained stays as it is: each process of pytest has a folder of its own, which
# is removed at its end. Notebook 04 finds weights there as if notebook 03 had been run before.
CHECKPOINTS = tempfile.TemporaryDirectory(prefix="mnist-notebooks-tests-")
shutil.copy(ROOT / "MNIST_model.pth", CHECKPOINTS.name)
os.environ["MNIST_CHECKPOINTS"] = CHECKPOINTS.name

# So that the processes which tests start find the helper and the tests.
folders = [str(ROOT / "tests"), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
