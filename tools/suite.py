"""Print the notebooks of this suite, in their order, as the Makefile takes them.

    python tools/suite.py

A learner's own notebooks, and copies that JupyterLab makes (03_…-Copy1.ipynb), are left alone.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"\d\d_[a-z_]+\.ipynb")


def find_notebooks(root: Path = ROOT) -> list[Path]:
    """Return the paths of the suite's notebooks, in their order."""
    return sorted(path for path in (root / "notebooks").iterdir() if NAME.fullmatch(path.name))


if __name__ == "__main__":
    print(*(path.relative_to(ROOT) for path in find_notebooks()))
