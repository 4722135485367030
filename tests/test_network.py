"""The network: its arithmetic, its dropout, what it refuses, and what can be made of it."""

import ast
import re

import numpy as np
import pytest
import torch
from cells import source_of
from torch import nn

from checkpoints import ROOT
from mnist_helpers import Network


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
    tree = ast.parse(re.sub(r"\b(mnist|reader)\.", "", source))
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
        ("08", "mnist_helpers", "class ConvolutionalNetwork("),
        ("11", "mnist_helpers", "def batch_loader("),
        ("06", "training", "def affine("),
        ("06", "training", "def augment("),
        ("06", "training", "class Recipe"),
        ("06", "training", "def train_epoch("),
        ("06", "training", "def best_epochs("),
        ("07", "handwriting/teaching", "def teach("),
        ("05", "handwriting/digit", "def as_in_mnist("),
        ("10", "handwriting/page", "def convolution("),
        ("10", "handwriting/page", "class PageNetwork("),
    ],
)
def test_what_is_written_in_a_notebook_is_the_modules(number, module, start):
    code = (ROOT / f"{module}.py").read_text(encoding="utf-8")
    name = start.split()[1].rstrip("(:")
    assert code_of(source_of(number, start), name) == code_of(code, name)


# Images -------------------------------------------------------------------------------------------

IMAGES = torch.rand(4, 1, 28, 28)


def test_a_batch_and_a_single_image_pass():
    model = Network().eval()
    for images in (IMAGES, IMAGES[0]):
        assert model(images).shape == (len(images), 10)


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (4, 1, 32, 32), (28, 28)])
def test_images_of_another_size_get_no_answer(shape):
    with pytest.raises(RuntimeError, match="shape"):
        Network()(torch.rand(shape))


# What can be made of a network --------------------------------------------------------------------


def test_the_network_can_be_compiled():
    """In one piece: nothing in it makes PyTorch go back to Python."""
    model = Network().eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(IMAGES), model(IMAGES), atol=1e-6)


def test_images_of_lower_precision_pass_under_autocast():
    model = Network().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        log_probs = model(IMAGES.bfloat16())
    assert torch.allclose(log_probs.float(), model(IMAGES), atol=0.1)
