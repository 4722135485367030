"""The helper module against calculations made another way: by hand, in NumPy, by torchvision."""

import ast
import gzip
import hashlib
import os
import stat
import threading
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from cells import source_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import ToTensor

import mnist_helpers
from mnist_helpers import (
    DATA_DIR,
    ROOT,
    Network,
    accuracy_by_digit,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
    plot_digits,
    save_checkpoint,
)


@pytest.fixture(scope="module", autouse=True)
def load_once():
    """Have make_loaders load each part once for all tests of this file."""
    mnist_helpers.load_mnist = cache(load_mnist)
    yield
    mnist_helpers.load_mnist = load_mnist


@pytest.fixture(scope="module")
def loaders(load_once):
    return make_loaders()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rows(images, labels):
    """Each image (28, 28) of bytes with its label as one string of bytes, as a set."""
    pairs = zip(images.numpy(), labels.tolist(), strict=True)
    return {image.tobytes() + bytes([label]) for image, label in pairs}


# Data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train, prefix", [(True, "train"), (False, "t10k")])
def test_load_mnist_gives_the_archives_pixels_and_labels(train, prefix):
    mnist = load_mnist(train)
    raw = DATA_DIR / "MNIST" / "raw"
    images = gzip.decompress((raw / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((raw / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert mnist.data.numpy().tobytes() == images
    assert mnist.targets.byte().numpy().tobytes() == labels


def test_the_archives_readme_states_their_sizes_and_checksums():
    raw = DATA_DIR / "MNIST" / "raw"
    table = [line for line in (raw / "README.md").read_text("utf-8").splitlines() if ".gz`" in line]
    assert len(table) == 4
    for line in table:
        name, size, md5, extracted_size, sha256 = line.strip("| ").replace("`", "").split(" | ")
        archive = (raw / name).read_bytes()
        extracted = gzip.decompress(archive)
        assert (size, md5) == (f"{len(archive):,}", hashlib.md5(archive).hexdigest())
        assert extracted_size == f"{len(extracted):,}"
        assert sha256 == hashlib.sha256(extracted).hexdigest()


def test_the_digits_of_the_test_set_are_counted():
    counts = torch.bincount(load_mnist(train=False).targets).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_split_is_disjoint_and_covers_the_training_images(loaders):
    mnist = load_mnist(train=True)
    everything = rows(mnist.data, mnist.targets)
    assert len(everything) == 60_000  # no training image of MNIST occurs twice
    train, val = (
        rows((loader.dataset.tensors[0] * 255).round().byte(), loader.dataset.tensors[1])
        for loader in loaders[:2]
    )
    assert (len(train), len(val)) == (48_000, 12_000)
    assert train | val == everything


def test_the_seed_decides_split_and_order(loaders):
    def first_epoch(seed):
        train_loader, val_loader, _ = make_loaders(seed=seed)
        return [labels for _, labels in train_loader], val_loader.dataset.tensors[0]

    (order, val), (same_order, same_val), (other_order, other_val) = map(first_epoch, (0, 0, 1))
    assert torch.equal(torch.cat(order), torch.cat(same_order)) and torch.equal(val, same_val)
    assert not torch.equal(torch.cat(order), torch.cat(other_order))
    assert not torch.equal(val, other_val)


def test_every_epoch_shuffles_anew_and_shows_each_training_image_once(loaders):
    train_loader = loaders[0]
    shown = [torch.cat([images.sum(dim=(1, 2, 3)) for images, _ in train_loader]) for _ in range(2)]
    assert not torch.equal(shown[0], shown[1])
    every_image = train_loader.dataset.tensors[0].sum(dim=(1, 2, 3)).sort().values
    for epoch in shown:
        assert torch.equal(epoch.sort().values, every_image)


@pytest.mark.parametrize("number", [int, np.int64])
def test_validation_fraction_and_batch_size_are_followed(number):
    train_loader, val_loader, _ = make_loaders(batch_size=number(100), validation_fraction=0.1)
    assert (len(train_loader.dataset), len(val_loader.dataset)) == (54_000, 6_000)
    assert len(next(iter(train_loader))[0]) == 100


def test_batches_equal_those_of_torchvisions_own_pipeline():
    train_loader, val_loader, test_loader = make_loaders(seed=3)
    # The recipe that everyone copies: ToTensor for each image, collated by the DataLoader.
    train_mnist, test_mnist = load_mnist(train=True), load_mnist(train=False)
    train_mnist.transform = test_mnist.transform = ToTensor()
    # The indices, drawn as make_loaders documents it: one permutation, validation images first.
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(60_000, generator=generator).tolist()
    val, train = order[:12_000], order[12_000:]
    theirs = [
        DataLoader(
            torch.utils.data.Subset(train_mnist, train), 32, shuffle=True, generator=generator
        ),
        DataLoader(torch.utils.data.Subset(train_mnist, val), 32),
        DataLoader(test_mnist, 32),
    ]
    for our_loader, their_loader in zip(
        (train_loader, val_loader, test_loader), theirs, strict=True
    ):
        assert isinstance(our_loader, DataLoader) and our_loader.batch_size == 32
        assert len(our_loader) == len(their_loader)
        for _, ours, other in zip(range(40), our_loader, their_loader, strict=False):
            assert torch.equal(ours[0], other[0]) and ours[0].dtype == other[0].dtype
            assert torch.equal(ours[1], other[1]) and ours[1].dtype == other[1].dtype


def test_the_last_test_batch_holds_16_images(loaders):
    *_, (images, labels) = loaders[2]
    assert images.shape == (16, 1, 28, 28) and labels.shape == (16,)


# Model --------------------------------------------------------------------------------------------


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


def class_in_notebook(number, name):
    """The source of a class that a cell of a notebook defines, and the helper's."""
    helper = (ROOT / "mnist_helpers.py").read_text(encoding="utf-8")
    return source_of(number, f"class {name}("), helper


@pytest.mark.parametrize("number, name", [("02", "Network"), ("05", "DigitTensors")])
def test_a_class_written_in_a_notebook_is_the_helpers(number, name):
    def code(source):
        """What runs: without comments, docstrings and annotations."""
        (node,) = [n for n in ast.parse(source).body if getattr(n, "name", "") == name]
        for part in ast.walk(node):
            if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
                part.body.pop(0)
            if isinstance(part, ast.FunctionDef):
                part.returns = None
            if isinstance(part, ast.arg):
                part.annotation = None
        return ast.dump(node)

    in_notebook, in_helper = class_in_notebook(number, name)
    assert code(in_notebook) == code(in_helper)


def test_the_network_written_in_notebook_02_gives_the_helpers_losses(loaders):
    cell, _ = class_in_notebook("02", "Network")
    scope = {"torch": torch, "nn": nn, "Tensor": torch.Tensor, **vars(mnist_helpers)}
    exec(cell, scope)
    assert scope["Network"] is not Network
    images, labels = next(iter(loaders[1]))
    losses = []
    for network in (Network, scope["Network"]):
        torch.manual_seed(0)
        losses.append(nn.NLLLoss()(network()(images), labels).item())
    assert losses[0] == losses[1]


# Evaluation ---------------------------------------------------------------------------------------


class Recorded(nn.Module):
    """A model that gives fixed log-probabilities, found by the number written in pixel 0."""

    def __init__(self, log_probs):
        super().__init__()
        self.log_probs = log_probs

    def forward(self, images):
        assert not self.training, "evaluate must switch dropout off"
        return self.log_probs[images[:, 0, 0, 0].long()]


def test_evaluate_is_right_with_a_last_batch_of_16():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(80, 10, generator=generator).mul(5).log_softmax(dim=1)
    labels = torch.randint(10, (80,), generator=generator)
    images = torch.arange(80.0)[:, None, None, None].expand(80, 1, 28, 28)
    model = Recorded(log_probs).train()
    loader = DataLoader(TensorDataset(images, labels), batch_size=32)  # 32 + 32 + 16
    loss, predicted, true = evaluate(model, loader, nn.NLLLoss())
    exact = -log_probs.double().numpy()[np.arange(80), labels.numpy()].mean()
    batch_means = [
        -log_probs[i : i + 32][range(len(labels[i : i + 32])), labels[i : i + 32]].mean()
        for i in (0, 32, 64)
    ]
    assert loss == pytest.approx(exact, rel=1e-6)
    assert loss != pytest.approx(sum(batch_means).item() / 3, rel=1e-3)  # the common mistake
    assert predicted.tolist() == log_probs.numpy().argmax(axis=1).tolist()
    assert true.tolist() == labels.tolist()
    assert model.training, "the training mode must be put back"


def test_accuracy_by_digit_counts_as_by_hand():
    labels = torch.tensor([0, 0, 1, 9, 9, 9, 3])
    predicted = torch.tensor([0, 1, 1, 9, 3, 9, 9])
    correct, total = accuracy_by_digit(predicted, labels)
    assert correct.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert total.tolist() == [2, 1, 0, 1, 0, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((2, 1), (2, 1)), ((), ())])
def test_accuracy_by_digit_names_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        accuracy_by_digit(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))


# Checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"losses": ([0.5, 0.25], [1.0]), "best": torch.ones(2)}])
def test_a_saved_checkpoint_loads_back_bit_for_bit(tmp_path, more):
    path = tmp_path / "folder" / "weights.pth"
    saved, loaded = Network(), Network()
    save_checkpoint(saved, path, **more)
    beside = load_checkpoint(loaded, path)
    for name, weights in saved.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name])
    assert (beside is None) if not more else (list(beside) == list(more))
    assert not more or (beside["losses"] == more["losses"] and beside["best"].equal(more["best"]))
    assert [file.name for file in path.parent.iterdir()] == ["weights.pth"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_saved_checkpoint_has_the_permissions_that_a_plain_write_gives(tmp_path):
    path, plain = tmp_path / "weights.pth", tmp_path / "plain"
    plain.touch()
    save_checkpoint(Network(), path)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    save_checkpoint(Network(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = tmp_path / "link.pth"
    link.symlink_to(path)
    save_checkpoint(Network(), link)
    assert link.is_symlink() and not path.is_symlink()


def test_threads_that_save_to_one_path_do_not_disturb_each_other(tmp_path):
    path, failures = tmp_path / "weights.pth", []

    def save():
        try:
            for _ in range(10):
                save_checkpoint(Network(), path)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    load_checkpoint(Network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


# Pictures -----------------------------------------------------------------------------------------


def test_plot_digits_pairs_each_image_with_its_title(loaders):
    images, labels = next(iter(loaders[0]))
    axes = plot_digits(images[:11], labels[:11].tolist(), columns=4)
    assert len(axes) == 11
    for ax, image, label in zip(axes, images, labels, strict=False):
        assert np.array_equal(ax.images[0].get_array(), image[0].numpy())
        assert ax.get_title() == str(label.item())
