"""The helper module against calculations made another way: by hand, in NumPy, by torchvision."""

import gzip
import hashlib
import math
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

import ladder
import mnist_helpers
from mnist_helpers import (
    DATA_DIR,
    ROOT,
    FastDropout,
    Network,
    accuracy_by_digit,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
    plot_confusion,
    plot_digits,
    plot_losses,
    plot_network,
    plot_probabilities,
    save_checkpoint,
)


@pytest.fixture(scope="session")
def loaders():
    return make_loaders()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rows(*datasets):
    """Each image with its label as one row of bytes, in sorted order, to compare sets of them."""
    images = torch.cat([dataset.tensors[0] for dataset in datasets])
    labels = torch.cat([dataset.tensors[1] for dataset in datasets])
    pixels = (images * 255).round().byte().flatten(1)
    return np.unique(torch.cat([pixels, labels.byte()[:, None]], dim=1).numpy(), axis=0)


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
    train, val, _ = (loader.dataset for loader in loaders)
    assert (len(train), len(val)) == (48_000, 12_000)
    # No training image of MNIST occurs twice, so equal counts of distinct rows mean disjoint sets.
    everything = rows(mnist_helpers.to_tensors(load_mnist(train=True)))
    assert len(everything) == 60_000
    assert np.array_equal(rows(train, val), everything)


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


def test_validation_fraction_and_batch_size_are_followed():
    train_loader, val_loader, _ = make_loaders(batch_size=100, validation_fraction=0.1)
    assert (len(train_loader.dataset), len(val_loader.dataset)) == (54_000, 6_000)
    assert len(next(iter(train_loader))[0]) == 100


def test_batches_equal_those_of_torchvisions_own_pipeline():
    train_loader, val_loader, test_loader = make_loaders(seed=3)
    # The recipe that everyone copies: ToTensor for each image, collated by the DataLoader.
    train_mnist = MNIST(DATA_DIR, train=True, transform=ToTensor())
    test_mnist = MNIST(DATA_DIR, train=False, transform=ToTensor())
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


@pytest.fixture(scope="module")
def naive_losses():
    """Of 200 steps of rung 0 of notebook 05, which is torchvision's pipeline."""
    return ladder.train(*ladder.make_rung(*ladder.RUNGS["rung 0"]), num_steps=200)


@pytest.mark.parametrize("name", ["rung 1", "rung 2", "rung 3", "rung 4"])
def test_the_rungs_give_the_losses_of_the_naive_recipe(naive_losses, name):
    losses = ladder.train(*ladder.make_rung(*ladder.RUNGS[name]), num_steps=200)
    assert len(naive_losses) == len(losses) == 200
    assert torch.allclose(naive_losses, losses, rtol=1e-3)


@pytest.mark.skipif(ladder.device.type != "cpu", reason="flushing concerns the CPU alone")
def test_flushing_tiny_numbers_reaches_all_threads_and_changes_no_loss(tmp_path):
    """Rung 6 of notebook 05 against its rung 5, each in a process of its own, as there."""
    script = """
import sys, torch, ladder
rung = ladder.make_rung(*ladder.RUNGS[sys.argv[1]])
losses = ladder.train(*rung, num_steps=1000)
states = rung[2].state.values()
bits = torch.cat([state["exp_avg"].flatten() for state in states]).view(torch.int32)
exponent, fraction = bits & 0x7F80_0000, bits & 0x007F_FFFF
torch.save((losses, ((exponent == 0) & (fraction != 0)).sum().item()), sys.argv[2])
"""
    for name in ("rung 5", "rung 6"):
        command = [sys.executable, "-c", script, name, tmp_path / name]
        subprocess.run(command, cwd=ROOT / "notebooks", check=True)
    losses, num_denormal = torch.load(tmp_path / "rung 5")
    losses_flushed, num_denormal_flushed = torch.load(tmp_path / "rung 6")
    assert num_denormal > 10_000 and num_denormal_flushed == 0
    assert torch.allclose(losses, losses_flushed, rtol=1e-3)


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


def test_fast_dropout_erases_each_value_independently_and_scales_values_and_gradients():
    torch.manual_seed(0)
    x = torch.ones(1000, 83, requires_grad=True)  # 83 is no multiple of 8, the values of one draw
    dropped = FastDropout(p=0.25)(x)
    dropped.sum().backward()
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert torch.equal(x.grad, dropped.detach())  # since x is 1
    erased = (dropped.detach() == 0).double().flatten()[: 83_000 // 8 * 8].view(-1, 8)
    # Within five standard deviations, for each byte of a draw, and for each pair of neighbours.
    tolerance = 5 * (0.25 * 0.75 / len(erased)) ** 0.5
    assert erased.mean(dim=0).sub(0.25).abs().max() < tolerance
    assert (erased * erased.roll(1, dims=1)).mean(dim=0).sub(0.25**2).abs().max() < tolerance


@pytest.mark.parametrize("p", [0.0, 0.001, 0.3, 1.0])
def test_fast_dropout_erases_with_any_probability(p):
    torch.manual_seed(0)
    dropped = FastDropout(p)(torch.ones(100_000))
    tolerance = 5 * (p * (1 - p) / 100_000) ** 0.5  # five standard deviations
    assert (dropped == 0).double().mean().item() == pytest.approx(p, abs=tolerance)
    assert dropped.mean().item() == pytest.approx(1 if p < 1 else 0, abs=0.02)


def test_fast_dropout_follows_its_probability_and_the_type_of_its_input():
    torch.manual_seed(0)
    dropout, x = FastDropout(0.25), torch.ones(1000, dtype=torch.float64)
    assert set(dropout(x).tolist()) == {0.0, 1 / 0.75}
    dropout.p = 0.5
    assert set(dropout(x).tolist()) == {0.0, 2.0}
    assert dropout(x.bfloat16()).dtype == torch.bfloat16


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


def test_a_saved_checkpoint_loads_back_bit_for_bit(tmp_path):
    path = tmp_path / "folder" / "weights.pth"
    saved, loaded = Network(), Network()
    save_checkpoint(saved, path)
    load_checkpoint(loaded, path)
    for name, weights in saved.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name])
    assert [file.name for file in path.parent.iterdir()] == ["weights.pth"]


# Pictures -----------------------------------------------------------------------------------------


def test_plot_digits_pairs_each_image_with_its_title(loaders):
    images, labels = next(iter(loaders[0]))
    axes = plot_digits(images[:11], labels[:11].tolist(), columns=4)
    assert len(axes) == 11
    for ax, image, label in zip(axes, images, labels, strict=False):
        assert np.array_equal(ax.images[0].get_array(), image[0].numpy())
        assert ax.get_title() == str(label.item())


def test_plot_losses_draws_both_curves_and_marks_the_best_epoch():
    train_losses, val_losses = [0.3, 0.2, 0.1], [0.25, 0.15, 0.2]
    train, val, best = plot_losses(train_losses, val_losses).get_lines()
    assert train.get_xydata().tolist() == [[1, 0.3], [2, 0.2], [3, 0.1]]
    assert val.get_xydata().tolist() == [[1, 0.25], [2, 0.15], [3, 0.2]]
    assert set(best.get_xdata()) == {2}


def test_plot_network_writes_every_layers_size():
    written = [text.get_text() for text in plot_network(Network()).texts]
    assert [text for text in written if text.isdigit()] == ["784", "784", "128", "10"]
    weights = [text.split()[0] for text in written if "weights" in text]
    assert weights == ["614,656", "100,352", "1,280"]


def test_plot_confusion_writes_every_count_in_its_cell():
    counts = torch.arange(100).view(10, 10)
    ax = plot_confusion(counts)
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(p, t): str(10 * t + p) for t in range(10) for p in range(10)}
    assert "true" in ax.get_ylabel() and "predicted" in ax.get_xlabel()
    assert counts.diagonal().tolist() == list(range(0, 100, 11)), (
        "the counts must stay as they were"
    )


def test_plot_probabilities_draws_the_ten_probabilities_and_marks_the_true_digit():
    probabilities = torch.linspace(0, 1, 10)
    probabilities /= probabilities.sum()
    left, right = plot_probabilities(torch.rand(1, 28, 28), probabilities, label=4)
    widths = [bar.get_width() for bar in right.patches]
    assert widths == pytest.approx(probabilities.tolist()) and math.isclose(
        sum(widths), 1, rel_tol=1e-6
    )
    colors = [bar.get_facecolor() for bar in right.patches]
    assert [colors.count(color) for color in colors] == [9] * 4 + [1] + [9] * 5
    assert "4" in left.get_title()
