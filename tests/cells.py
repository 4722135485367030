"""The notebooks' own code, for tests that run some of it by itself."""

import nbformat

from checkpoints import ROOT


def source_of(number: str, text: str) -> str:
    """Return the source of the one code cell of notebook ``number`` that holds ``text``."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and text in c.source]
    return source
