"""Write pad.html: a page that reads the digit that one draws, without Python.

    python tools/write_pad.py

It is one file that loads nothing: the pad of the notebooks, what prepares a drawing, and the
network of notebook 08 with the weights of 09, in plain JavaScript.
"""

import base64
import io
import json
import re
from statistics import mean

import torch
from jinja2 import Template
from PIL import Image
from suite import ROOT

WEIGHTS = torch.load(ROOT / "weights" / "MNIST_model_people.pth")
# In the order in which they need each other.
SCRIPTS = ["pad.js", "digit.js", "network.js", "inside.js"]
ONLY_FOR_NOTEBOOKS = re.compile(r"^// In a notebook -.*", re.MULTILINE | re.DOTALL)


def text_of(*path: str) -> str:
    return ROOT.joinpath(*path).read_text(encoding="utf-8")


def script() -> str:
    """Return all scripts as one: a page that is a file may import none."""
    scripts = [ONLY_FOR_NOTEBOOKS.sub("", text_of("handwriting", name)) for name in SCRIPTS]
    return re.sub(r"^import .*\n+", "", "\n".join(scripts), flags=re.MULTILINE)


def reader() -> str:
    """Return the part of a page that reads: its elements, the weights and the script."""
    numbers = torch.cat([tensor.flatten() for tensor in WEIGHTS.values()]).numpy()
    return Template(text_of("tools", "reader.html")).render(
        script=script(),
        shapes=json.dumps({name: tensor.shape for name, tensor in WEIGHTS.items()}),
        weights=base64.b64encode(numbers.astype("<f4").tobytes()).decode(),
    )


def page() -> str:
    """Return the whole page. Its photo is a JPEG, which takes a fifth of the PNG."""
    file = io.BytesIO()
    Image.open(ROOT / "pictures" / "page.png").convert("RGB").save(file, "JPEG", quality=80)
    found = json.loads(text_of("results", "09.json"))["weights"]["found"]
    return Template(text_of("tools", "pad.html"), keep_trailing_newline=True).render(
        reader=reader(),
        parameters=sum(tensor.numel() for tensor in WEIGHTS.values()),
        on_mnist=found["test"],
        on_strangers=mean(found["report"]),
        photo=base64.b64encode(file.getvalue()).decode(),
    )


if __name__ == "__main__":
    (ROOT / "pad.html").write_text(page(), encoding="utf-8")
