"""What must hold on machines that CI lacks: with a GPU of NVIDIA's, of Apple's, or a broken one."""

import re

import nbformat
import pytest
import torch
from suite import ROOT, find_notebooks
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mnist_helpers import Network, accuracy_by_digit, evaluate, pick_device
from training import augment

FOLDERS = (ROOT, ROOT / "handwriting", ROOT / "handwriting" / "composed", ROOT / "notebooks")
MODULES = [path for folder in FOLDERS for path in folder.glob("*.py")]
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in MODULES}
for path in find_notebooks():  # with the solutions, which are Markdown
    SOURCES[path.name] = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells)


# The choice ---------------------------------------------------------------------------------------


@pytest.fixture
def find(monkeypatch):
    """Have PyTorch find an accelerator, or none."""

    def find(device):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: device is not None)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device))

    monkeypatch.delenv("MNIST_DEVICE", raising=False)
    return find


def test_the_accelerator_is_taken_if_it_can_be_used(find, capsys):
    find("cpu:0")  # the one device that surely computes
    assert pick_device() == torch.device("cpu:0")
    find(None)
    assert pick_device() == torch.device("cpu")
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="here such a GPU can be used")
def test_an_accelerator_that_cannot_compute_is_left_with_a_sentence_that_says_why(find, capsys):
    find("mps")
    assert pick_device() == torch.device("cpu")
    said = capsys.readouterr().out
    assert said.startswith("The CPU is used, because PyTorch finds mps and can't compute on it: ")


def test_an_environment_variable_decides(find, monkeypatch):
    find("mps")
    monkeypatch.setenv("MNIST_DEVICE", "cpu:0")
    assert pick_device() == torch.device("cpu:0")
    monkeypatch.setenv("MNIST_DEVICE", "gpu")
    with pytest.raises(RuntimeError, match="gpu"):
        pick_device()


# No float64, which Apple's GPUs lack --------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_asks_for_float64_tensors(name):
    assert not re.search(r"\.double\(|torch\.(float64|double)\b", SOURCES[name])


class NoFloat64(TorchDispatchMode):
    """Fails where any operation gives a tensor of float64."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            assert getattr(value, "dtype", None) != torch.float64, operation
        return result


def test_training_and_evaluation_compute_no_float64(loaders):
    images, labels = next(iter(loaders[0]))
    with NoFloat64():
        model = Network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
        loss = nn.NLLLoss()(model(augment(images)), labels)
        loss.backward()
        optimizer.step()
        _, predicted, true = evaluate(model, [(images, labels)], nn.NLLLoss())
        correct, total = accuracy_by_digit(predicted, true)
        assert (correct / total).shape == (10,)


def test_channels_last_is_for_the_cpu_only():
    """On Apple's GPUs it has had wrong gradients, without a word."""
    for stem in ("08_share_the_weights", "09_learn_from_more_people", "10_find_the_digits"):
        name = f"{stem}.ipynb"
        assert set(re.findall(r"memory_format=([\w.]+)", SOURCES[name])) == {"layout"}
        (line,) = re.findall("layout = .*", SOURCES[name])
        for kind, layout in (("cpu", torch.channels_last), ("mps", torch.contiguous_format)):
            scope = {"torch": torch, "device": torch.device(kind)}
            exec(line, scope)
            assert scope["layout"] is layout
    others = [name for name in SOURCES if "memory_format=torch" in SOURCES[name]]
    assert others == ["page.py"]  # which reads, and on the CPU


# Little memory ------------------------------------------------------------------------------------


class NoneAsLarge(TorchDispatchMode):
    """Fails where any operation gives a tensor of so many numbers."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            assert not isinstance(value, torch.Tensor) or value.numel() < self.limit, operation
        return result


def test_the_nearest_images_are_found_without_all_distances_at_once():
    (source,) = re.findall(
        r"def find_nearest\(.*?\n\n\n", SOURCES["01_explore_the_data.ipynb"], re.S
    )
    scope = {"torch": torch}
    exec(source, scope)
    torch.manual_seed(0)
    images, others = torch.rand(250, 1, 2, 2), torch.rand(1000, 1, 2, 2)
    with NoneAsLarge(250 * 1000):
        distances, places = scope["find_nearest"](images, others)
    expected = torch.cdist(images.flatten(1), others.flatten(1)).min(dim=1)
    assert torch.allclose(distances, expected.values) and torch.equal(places, expected.indices)
