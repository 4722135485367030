"""Take the README's pictures and its table of results from the notebooks, as stored.

    python pictures/from_notebooks.py [README.md]

Writes the pictures into the folder ``pictures`` beside the README named.
"""

import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {  # file: notebook, call that draws it
    "digits.png": ("01_explore_the_data", "plot_digits(images"),
    "network.png": ("02_define_the_model", "plot_network("),
    "losses.png": ("03_train_on_the_gpu", "plot_losses("),
    "confusion.png": ("04_test_each_digit", "plot_confusion("),
}


def output_of(notebook: str, source: str, mime: str) -> str:
    """Return the first output of type ``mime`` of the cell whose source holds ``source``."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    (cell,) = [c for c in cells if c.cell_type == "code" and source in c.source]
    return next(o.data[mime] for o in cell.outputs if mime in o.get("data", {}))


def main(readme: Path) -> None:
    folder = readme.parent / "pictures"
    folder.mkdir(exist_ok=True)
    for name, (notebook, source) in PICTURES.items():
        png = output_of(notebook, source, "image/png")
        (folder / name).write_bytes(base64.b64decode(png))

    table = output_of("04_test_each_digit", "Markdown(table)", "text/markdown")
    text = readme.read_text(encoding="utf-8")
    text, tables = re.subn(
        r"\| digit \| correct .*?(?=\n\n)", lambda _: table, text, flags=re.DOTALL
    )
    if tables != 1:
        sys.exit(f"{readme}: expected one table that starts '| digit | correct', found {tables}")
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "README.md")
