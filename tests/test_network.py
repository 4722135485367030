"""The network: its arithmetic, its dropout, what it refuses, and what can be made of it."""

import ast
import re

import numpy as np
import pytest
import torch
from cells import source_of
from torch import nn

from mnist_helpers import ROOT, Network


def test_network_has_the_documented_parameters():
    assert sum(parameter.numel() for parameter in Network().parameters()) == 717_210


def test_network_computes_what_numpy_computes(loaders):
    torch.manual_seed(0)
    model = Network().eval()
    images = loaders[1].dataset.tensors[0][:50]
    w1, b1, w2, b2, w3, b3 = (p.detach().double().numpy() for p in model.parameters())
    x = images.double().numpy().reshape(50, 784)
    x = np.maximum(x @ w1.T + b1, 0)
    x = np.maximum(x @ w2.T + b2, 0)
    logits = x @ w3.T + b3
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    with torch.no_grad():
        assert np.allclose(model(images).numpy(), expected, atol=1e-5)
        assert torch.allclose(model(images[7]), model(images)[7:8], atol=1e-6)  # one image alone


def test_dropout_erases_a_quarter_of_both_hidden_layers_while_training_only():
    model = Network()
    for hidden in (model.hidden1, model.hidden2):  # all units on, whatever comes in
        nn.init.zeros_(hidden.weight)
        nn.init.ones_(hidden.bias)
    inputs = {}
    model.hidden2.register_forward_pre_hook(lambda _, args: inputs.update(hidden1=args[0]))
    model.output.register_forward_pre_hook(lambda _, args: inputs.update(hidden2=args[0]))
    images = torch.zeros(500, 1, 28, 28)
    torch.manual_seed(0)
    model.train()(images)
    for activations in inputs.values():
        assert set(activations.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
        assert (activations == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    model.eval()(images)
    for activations in inputs.values():
        assert (activations == 1).all()


# What a notebook writes out, so that it can be changed there --------------------------------------


def code_of(source, name):
    """What runs: without comments, docstrings, annotations, and the names of our modules."""
    tree = ast.parse(re.sub(r"\b(mnist|reader|pages)\.", "", source))
    (node,) = [n for n in tree.body if getattr(n, "name", "") == name]
    for part in ast.walk(node):
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
            part.body.pop(0)
        if isinstance(part, ast.FunctionDef):
            part.returns = None
        if isinstance(part, ast.arg):
            part.annotation = None
    return ast.dump(node)


@pytest.mark.parametrize(
    "number, module, start",
    [
        ("02", "mnist_helpers", "class Network("),
        ("06", "mnist_helpers", "def affine("),
        ("06", "mnist_helpers", "def distort("),
        ("09", "mnist_helpers", "class DigitTensors("),
        ("05", "digit_reader", "def as_dark_ink("),
        ("05", "digit_reader", "def grey_of_paper("),
        ("05", "digit_reader", "def find_ink("),
        ("05", "digit_reader", "def as_in_mnist("),
        ("05", "page_reader", "def trace_ink("),
        ("05", "page_reader", "def sort_into_rows("),
    ],
)
def test_what_is_written_in_a_notebook_is_the_modules(number, module, start):
    code = (ROOT / f"{module}.py").read_text(encoding="utf-8")
    name = start.split()[1].rstrip("(")
    assert code_of(source_of(number, start), name) == code_of(code, name)


# Images -------------------------------------------------------------------------------------------

IMAGES = torch.rand(4, 1, 28, 28)
WRONG_IMAGES = {
    "raw uint8 pixels": ((IMAGES * 255).byte(), "torch.uint8.*divide by 255"),
    "float64": (
        IMAGES.double(),
        r"images are torch.float64: convert them with .to\(torch.float32\)$",
    ),
    "RGB": (torch.rand(4, 3, 28, 28), r"\(4, 3, 28, 28\)"),
    "32 × 32": (torch.rand(4, 1, 32, 32), r"\(4, 1, 32, 32\)"),
    "no channel": (torch.rand(4, 28, 28), r"\(4, 28, 28\)"),
    "flat": (torch.rand(4, 784), r"\(4, 784\)"),
    "empty batch": (torch.rand(0, 1, 28, 28), r"\(0, 1, 28, 28\)"),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fault", WRONG_IMAGES)
def test_wrong_images_are_named(fault, training):
    images, what_is_said = WRONG_IMAGES[fault]
    with pytest.raises(ValueError, match=what_is_said):
        Network().train(training)(images)


def test_a_batch_and_a_single_image_pass():
    model = Network().eval()
    for images in (IMAGES, IMAGES[0]):
        assert model(images).shape == (len(images), 10)


# The check of the images stands in nobody's way ---------------------------------------------------


def export(model):
    num_images = torch.export.Dim("num_images", min=2, max=1000)
    shapes = {"images": {0: num_images}}
    return torch.export.export(model, (torch.rand(2, 1, 28, 28),), dynamic_shapes=shapes).module()


def compiled(model):
    return torch.compile(model, fullgraph=True, backend="eager")


def mapped(model):
    return lambda images: torch.vmap(model)(images).squeeze(1)  # one image at a time


@pytest.mark.filterwarnings("default")  # what PyTorch warns of inside is not this test's business
@pytest.mark.parametrize("transform", [export, compiled, mapped])
def test_the_network_can_be_exported_compiled_and_mapped(transform):
    model = Network().eval()
    with torch.no_grad():
        assert torch.allclose(transform(model)(IMAGES), model(IMAGES), atol=1e-6)
