"""The README and the shipped models: every result in the README is computed here once more."""

import gzip
import hashlib
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_helpers import (
    AUGMENTED_PATH,
    DATA_DIR,
    MODEL_PATH,
    ROOT,
    Network,
    accuracy_by_digit,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
    prepare,
)

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOK_04, NOTEBOOK_06, NOTEBOOK_07 = (
    nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for name in ("04_test_each_digit", "06_train_better", "07_read_your_own_digits")
)
SHIPPED = [MODEL_PATH, AUGMENTED_PATH]


@pytest.fixture(scope="module")
def test_loader():
    return make_loaders()[2]


@pytest.fixture(scope="module")
def models():
    """Both networks, with the weights that ship."""
    loaded = {path: Network().eval() for path in SHIPPED}
    for path, model in loaded.items():
        load_checkpoint(model, path)
    return loaded


@pytest.fixture(scope="module")
def tested(models, test_loader):
    """Of each shipped model, loss, predictions and labels of the test images."""
    return {path: evaluate(model, test_loader, nn.NLLLoss()) for path, model in models.items()}


@pytest.fixture(scope="module")
def counts(tested):
    """Of each shipped model, the correct predictions of each digit."""
    return [accuracy_by_digit(*tested[path][1:])[0].tolist() for path in SHIPPED]


@pytest.fixture(scope="module")
def totals(tested):
    return accuracy_by_digit(*tested[MODEL_PATH][1:])[1].tolist()


def markdown_outputs(notebook):
    return [
        output.data["text/markdown"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]


def wilson(right, n):
    """The interval's ends are where (p - p̂)² = z² p (1 - p) / n: the roots of a quadratic."""
    z2, p = 1.96**2, right / n
    return sorted(np.roots([1 + z2 / n, -2 * p - z2 / n, p * p]))


@pytest.mark.parametrize("path, bar", [(MODEL_PATH, 0.978), (AUGMENTED_PATH, 0.993)])
def test_the_shipped_models_clear_their_bars(tested, path, bar):
    _, predicted, labels = tested[path]
    assert len(labels) == 10_000
    assert (predicted == labels).double().mean() >= bar


def test_the_first_models_table_stands_in_notebook_04(counts, totals):
    lines = ["| digit | correct | total | accuracy |", "|---|---:|---:|---:|"]
    for digit, (right, of) in enumerate(zip(counts[0], totals, strict=True)):
        lines.append(f"| {digit} | {right:,} | {of:,} | {right / of:.2%} |")
    right, of = sum(counts[0]), sum(totals)
    lines.append(f"| **all** | **{right:,}** | **{of:,}** | **{right / of:.2%}** |")
    assert markdown_outputs(NOTEBOOK_04) == ["\n".join(lines)]


def test_both_models_table_stands_in_notebook_06_and_in_the_readme(tested, counts, totals):
    lines = [f"| digit | images | {MODEL_PATH.name} | {AUGMENTED_PATH.name} |"]
    lines += ["|---|---:|---:|---:|"]
    for digit, of in enumerate(totals):
        first, second = (f"{c[digit]:,} ({c[digit] / of:.2%})" for c in counts)
        lines.append(f"| {digit} | {of:,} | {first} | {second} |")
    n, rights = sum(totals), [sum(c) for c in counts]
    first, second = (f"**{right:,} ({right / n:.2%})**" for right in rights)
    lines.append(f"| **all** | {n:,} | {first} | {second} |")
    first, second = ("{:.2%} to {:.2%}".format(*wilson(right, n)) for right in rights)
    lines.append(f"| 95 % interval | | {first} | {second} |")
    first, second = (f"{tested[path][0]:.4f}" for path in SHIPPED)
    lines.append(f"| mean loss | | {first} | {second} |")
    table = "\n".join(lines)
    assert markdown_outputs(NOTEBOOK_06) == [table]
    assert table in README


@pytest.fixture(scope="module")
def semeion():
    """The second half of the Semeion digits, and their labels."""
    content = gzip.decompress((DATA_DIR / "semeion" / "semeion.data.gz").read_bytes())
    assert hashlib.md5(content).hexdigest() == "cb545d371d2ce14ec121470795a77432"
    rows = torch.tensor([[float(x) for x in row.split()] for row in content.splitlines()])
    assert rows.shape == (1593, 256 + 10)
    return rows[797:, :256].view(-1, 1, 16, 16), rows[797:, 256:].argmax(dim=1)


def ways_to_read(scans, models):
    """The log-probabilities of each combination of images and weights."""
    prepared = torch.zeros(len(scans), 1, 28, 28)
    for image, scan in zip(prepared, F.pad(scans, [2, 2, 2, 2]), strict=True):
        try:
            image[:] = prepare(scan)
        except ValueError as error:
            assert "digit" in str(error)
    naive = F.interpolate(scans, size=(28, 28), mode="bilinear", antialias=True)
    with torch.inference_mode():
        return [models[path](images) for images in (naive, prepared) for path in SHIPPED]


def test_other_peoples_handwriting_stands_in_notebook_07_and_in_the_readme(semeion, models):
    scans, labels = semeion
    ways, totals = ways_to_read(scans, models), labels.bincount().tolist()
    names = [f"{how}, {name}" for how in ("naive", "prepared") for name in ("plain", "augmented")]
    lines = [f"| digit | digits | {' | '.join(names)} |", "|---|---:|---:|---:|---:|---:|"]
    rights = [accuracy_by_digit(way.argmax(dim=1), labels)[0].tolist() for way in ways]
    for digit, of in enumerate(totals):
        cells = " | ".join(f"{right[digit]} ({right[digit] / of:.1%})" for right in rights)
        lines.append(f"| {digit} | {of} | {cells} |")
    sums = [sum(right) for right in rights]
    cells = " | ".join(f"**{right} ({right / len(labels):.1%})**" for right in sums)
    lines.append(f"| **all** | {len(labels)} | {cells} |")
    assert markdown_outputs(NOTEBOOK_07) == ["\n".join(lines)]
    assert "\n".join(lines) in README
    assert sums[3] / len(labels) >= 0.88
    for way in ways:  # no digit is so close to a tie that another processor could read it otherwise
        first, second = way.topk(2, dim=1).values.unbind(dim=1)
        assert (first - second).min() > 1e-4


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_models_tables_do_not_hang_on_rounding(models, test_loader, path):
    """No test image is so close to a tie that another processor could read it otherwise."""
    with torch.inference_mode():
        log_probs = torch.cat([models[path](images) for images, _ in test_loader])
    first, second = log_probs.topk(2, dim=1).values.unbind(dim=1)
    assert (first - second).min() > 1e-4


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_file_is_a_plain_state_dict_of_cpu_tensors(path):
    weights = torch.load(path)
    assert list(weights) == list(Network().state_dict())
    for tensor in weights.values():
        assert type(tensor) is torch.Tensor and tensor.device.type == "cpu"
        assert tensor.dtype == torch.float32 and not tensor.requires_grad


def test_every_percentage_and_loss_of_the_readme_is_computed(tested):
    cells = NOTEBOOK_04.cells + NOTEBOOK_06.cells + NOTEBOOK_07.cells
    printed = "".join(str(cell.get("outputs")) for cell in cells)
    known = set(re.findall(r"\d\d\.\d+%", printed))
    known.add("97.52%")  # the project that this one re-implements
    stated = set(re.findall(r"\d\d\.\d+%|\b0\.0\d+", README)) - {"0.001", "0.003"}  # learning rates
    for loss, predicted, labels in tested.values():
        known.add(f"{loss:.4f}")
        assert f"{(predicted == labels).double().mean():.2%}" in stated
    assert len(stated) > 20
    assert stated <= known, stated - known


def test_the_readmes_python_snippet_runs_as_it_stands():
    snippet = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[-1]
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
        path.name
        for path in (ROOT / "pictures").glob("*.png")
        if path.name != "drawing_pad.png"  # a photo of the screen, by tests/browser.py
    )
    for picture in made:
        assert picture.read_bytes() == (ROOT / "pictures" / picture.name).read_bytes()
        assert f"](pictures/{picture.name})" in README


def test_every_notebook_stands_in_the_map():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"](notebooks/{path.name})" in README


def test_conda_reads_the_one_list_of_requirements():
    assert "- -r requirements.txt" in (ROOT / "environment.yml").read_text(encoding="utf-8")
