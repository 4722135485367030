"""Take the pictures and the tables of results in README.md and MODEL_CARD.md from the notebooks.

    python tools/update_readme.py [FOLDER]

A picture comes from the cell with the id ``picture-NAME``, whatever notebook holds it. A table
follows a comment, ``<!-- CELL-ID -->``, and comes from that cell. FOLDER holds both documents; by
default it is this repository.
"""

import base64
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from suite import ROOT, find_notebooks

DOCUMENTS = ("README.md", "MODEL_CARD.md")
MARKED_TABLE = re.compile(r"<!-- (?P<id>table-[\w-]+) -->\n(\|.*\n)*")


def read_cells() -> dict[str, NotebookNode]:
    """Return each code cell of all notebooks by its id."""
    cells = {}
    for path in find_notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                cells[cell.id] = cell
    return cells


def output_of(cell: NotebookNode, mime_type: str) -> str:
    """Return the one output of this type."""
    (found,) = (o.data[mime_type] for o in cell.outputs if mime_type in o.get("data", {}))
    return found


def write_pictures(cells: dict[str, NotebookNode], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for cell_id, cell in cells.items():
        if cell_id.startswith("picture-"):
            name = cell_id.removeprefix("picture-")
            picture = base64.b64decode(output_of(cell, "image/png"))
            (folder / f"{name}.png").write_bytes(picture)


def with_new_tables(text: str, cells: dict[str, NotebookNode]) -> str:
    def new_table(marked: re.Match) -> str:
        comment, _, _ = marked[0].partition("\n")
        return f"{comment}\n{output_of(cells[marked['id']], 'text/markdown').rstrip()}\n"

    return MARKED_TABLE.sub(new_table, text)


def main(folder: Path) -> None:
    cells = read_cells()
    write_pictures(cells, folder / "pictures")
    for name in DOCUMENTS:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        path.write_text(with_new_tables(text, cells), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
