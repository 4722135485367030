"""The README and the shipped model: every result in the README is computed here once more."""

import re
import subprocess
import sys

import nbformat
import pytest
import torch
from torch import nn

from mnist_helpers import (
    MODEL_PATH,
    ROOT,
    Network,
    accuracy_by_digit,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
)

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOK_04 = nbformat.read(ROOT / "notebooks" / "04_test_each_digit.ipynb", as_version=4)


@pytest.fixture(scope="module")
def tested():
    """Loss, predictions and labels of the shipped model on the test images."""
    model = Network()
    load_checkpoint(model, MODEL_PATH)
    return evaluate(model, make_loaders()[2], nn.NLLLoss())


@pytest.fixture(scope="module")
def table(tested):
    """The table of results, from the shipped weights."""
    _, predicted, labels = tested
    lines = ["| digit | correct | total | accuracy |", "|---|---:|---:|---:|"]
    correct, total = (counts.tolist() for counts in accuracy_by_digit(predicted, labels))
    for digit, (right, of) in enumerate(zip(correct, total, strict=True)):
        lines.append(f"| {digit} | {right:,} | {of:,} | {right / of:.2%} |")
    right, of = sum(correct), sum(total)
    lines.append(f"| **all** | **{right:,}** | **{of:,}** | **{right / of:.2%}** |")
    return "\n".join(lines)


def test_the_shipped_model_clears_the_bar(tested):
    _, predicted, labels = tested
    assert len(labels) == 10_000
    assert (predicted == labels).double().mean() >= 0.978


def test_the_shipped_models_table_stands_in_readme_and_notebook_04(table):
    assert table in README
    stored = [
        output.data["text/markdown"]
        for cell in NOTEBOOK_04.cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    assert stored == [table]


def test_the_shipped_models_table_does_not_hang_on_rounding(tested):
    """No test image is so close to a tie that another processor could read it otherwise."""
    model = Network().eval()
    load_checkpoint(model, MODEL_PATH)
    with torch.inference_mode():
        log_probs = torch.cat([model(images) for images, _ in make_loaders()[2]])
    first, second = log_probs.topk(2, dim=1).values.unbind(dim=1)
    assert (first - second).min() > 1e-4


def test_the_shipped_file_is_a_plain_state_dict_of_cpu_tensors():
    weights = torch.load(MODEL_PATH)
    assert list(weights) == list(Network().state_dict())
    for tensor in weights.values():
        assert type(tensor) is torch.Tensor and tensor.device.type == "cpu"
        assert tensor.dtype == torch.float32 and not tensor.requires_grad


def test_every_percentage_and_loss_of_the_readme_is_computed(tested):
    loss, predicted, labels = tested
    known = {f"{loss:.4f}"}
    known |= set(re.findall(r"\d\d\.\d\d%", "".join(str(cell) for cell in NOTEBOOK_04.cells)))
    known.add("97.52%")  # the project that this one re-implements
    stated = set(re.findall(r"\d\d\.\d+%|\b0\.0\d+", README)) - {"0.001"}  # a learning rate
    assert f"{(predicted == labels).double().mean():.2%}" in stated
    assert stated <= known, stated - known


def test_the_readmes_python_snippet_runs_as_it_stands():
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    program = snippet + "\nprint('prediction', pred_label.item(), proba.shape)\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    label = load_mnist(train=False).targets[0].item()
    assert f"prediction {label} torch.Size([1, 10])" in result.stdout


def test_the_readmes_links_and_pictures_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert len(links) > 5
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readmes_pictures_are_those_of_the_notebooks(tmp_path):
    command = [sys.executable, ROOT / "pictures" / "from_notebooks.py", tmp_path / "README.md"]
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    subprocess.run(command, check=True)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
    made = sorted((tmp_path / "pictures").glob("*.png"))
    assert made and [p.name for p in made] == sorted(
        path.name for path in (ROOT / "pictures").glob("*.png")
    )
    for picture in made:
        assert picture.read_bytes() == (ROOT / "pictures" / picture.name).read_bytes()
        assert f"](pictures/{picture.name})" in README


def test_every_notebook_stands_in_the_map():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"](notebooks/{path.name})" in README


def test_conda_reads_the_one_list_of_requirements():
    assert "- -r requirements.txt" in (ROOT / "environment.yml").read_text(encoding="utf-8")
