"""The notebooks' own code, for tests that run some of it by itself."""

import nbformat
import torch
from torch import nn

import mnist_helpers
from mnist_helpers import ROOT


def source_of(number: str, text: str) -> str:
    """Return the source of the one code cell of notebook ``number`` that holds ``text``."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and text in c.source]
    return source


def network_of_notebook_08() -> nn.Module:
    scope = {"mnist": mnist_helpers, "nn": nn, "torch": torch, "Tensor": torch.Tensor}
    exec(source_of("08", "class ConvolutionalNetwork("), scope)
    return scope["ConvolutionalNetwork"]()
