"""Take the README's pictures and its tables of results from the notebooks, as stored.

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
    "network.png": ("02_define_the_model", '"o", color=BLUE'),
    "losses.png": ("03_train_on_the_gpu", 'label="training loss"'),
    "confusion.png": ("04_test_each_digit", 'cmap="Oranges"'),
    "ladder.png": ("05_train_faster", "ax.barh("),
}


def outputs_of(notebook: str, source: str) -> list:
    """Return the outputs of the one code cell whose source holds ``source``."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    (cell,) = [c for c in cells if c.cell_type == "code" and source in c.source]
    return cell.outputs


def replace_once(pattern: str, replacement: str, text: str) -> str:
    text, count = re.subn(pattern, lambda _: replacement, text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"The README must hold {pattern!r} once, and holds it {count} times")
    return text


def main(readme: Path) -> None:
    folder = readme.parent / "pictures"
    folder.mkdir(exist_ok=True)
    for name, (notebook, source) in PICTURES.items():
        (figure,) = outputs_of(notebook, source)
        (folder / name).write_bytes(base64.b64decode(figure.data["image/png"]))

    (table,) = outputs_of("06_train_better", "Markdown(table)")
    (handwriting,) = outputs_of("07_read_your_own_digits", "display(Markdown(")
    (ladder,) = outputs_of("05_train_faster", "s an epoch {ratio")
    text = readme.read_text(encoding="utf-8")
    text = replace_once(
        r"\| digit \| images .*?(?=\n\n)", table.data["text/markdown"].rstrip(), text
    )
    text = replace_once(
        r"\| digit \| digits .*?(?=\n\n)", handwriting.data["text/markdown"].rstrip(), text
    )
    text = replace_once(r"(?<=```text\n)rung 0.*?(?=```)", ladder.text, text)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "README.md")
