"""Evaluation: losses and accuracies against calculations made another way."""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnist_helpers import Network, accuracy, accuracy_by_digit, accuracy_on, evaluate, interval

IMAGES = torch.rand(4, 1, 28, 28)
LABELS = torch.tensor([0, 1, 2, 3])


class Recorded(nn.Module):
    """A model that gives fixed log-probabilities, found by pixel 0: 0.07 is number 7."""

    def __init__(self, log_probs):
        super().__init__()
        self.log_probs = log_probs

    def forward(self, images):
        assert not self.training, "evaluate must switch dropout off"
        return self.log_probs[(100 * images[:, 0, 0, 0]).round().long()]


def test_evaluate_is_right_with_a_last_batch_of_16():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(80, 10, generator=generator).mul(5).log_softmax(dim=1)
    labels = torch.randint(10, (80,), generator=generator)
    images = (torch.arange(80) / 100)[:, None, None, None].expand(80, 1, 28, 28)
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


def test_accuracy_is_the_share_that_was_predicted():
    labels, predicted = torch.tensor([0, 0, 1, 9]), torch.tensor([0, 1, 1, 9])
    assert accuracy(predicted, labels) == 0.75
    for shapes in ((3,), (2,)), ((2, 1), (2,)), ((2,), (2, 1)):
        with pytest.raises(ValueError, match=r"shape \(N,\)"):
            accuracy(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))
    with pytest.raises(ValueError, match="no images"):
        accuracy(labels[:0], labels[:0])
    log_probs = torch.eye(10).log_softmax(dim=1)[predicted]
    images = (torch.arange(4) / 100)[:, None, None, None].expand(4, 1, 28, 28)
    model = Recorded(log_probs).train()
    assert accuracy_on(model, [(images[:3], labels[:3]), (images[3:], labels[3:])]) == 0.75
    assert model.training


def test_the_interval_is_wilsons():
    """By his formula, with the 97.5 % quantile of the normal distribution."""
    z, right, of = 1.959964, 9823, 10_000
    p = right / of
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * (p * (1 - p) / of + z**2 / (4 * of**2)) ** 0.5
    assert interval(right, of) == pytest.approx((middle - half, middle + half), abs=1e-7)
    assert interval(0, 10)[0] == 0 and interval(10, 10)[1] == 1


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((2, 1), (2, 1)), ((), ())])
def test_accuracy_by_digit_names_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        accuracy_by_digit(*(torch.zeros(shape, dtype=torch.int64) for shape in shapes))


@pytest.mark.parametrize("labels", [LABELS + 7, LABELS - 1, LABELS.float(), LABELS == 1])
def test_wrong_labels_are_named(labels):
    with pytest.raises(ValueError, match="labels must be integers from 0 to 9"):
        evaluate(Network(), DataLoader(TensorDataset(IMAGES, labels)), nn.NLLLoss())
    for arguments in [(labels, LABELS), (LABELS, labels)]:
        with pytest.raises(ValueError, match="labels must be integers from 0 to 9"):
            accuracy_by_digit(*arguments)


@pytest.mark.parametrize("labels", [LABELS[:, None], torch.eye(10, dtype=torch.int64)[:4]])
def test_labels_of_another_shape_are_named(labels):
    with pytest.raises(ValueError, match=r"shape \(4,\), one for each image, not \(4, \d+\)"):
        evaluate(Network(), DataLoader(TensorDataset(IMAGES, labels), 4), nn.NLLLoss())


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_loss_that_is_no_mean_is_named(reduction):
    loader = DataLoader(TensorDataset(IMAGES, LABELS), 4)
    with pytest.raises(ValueError, match=f"reduction='mean', not '{reduction}'"):
        evaluate(Network(), loader, nn.NLLLoss(reduction=reduction))


@pytest.mark.parametrize("fault", [None, ValueError])
def test_each_module_gets_its_own_mode_back(fault):
    """Also after an error. Some layers may be frozen, as in fine-tuning."""
    model = Network().train()
    model.dropout.eval()
    images = IMAGES if fault is None else IMAGES * torch.nan
    with contextlib.nullcontext() if fault is None else pytest.raises(fault):
        evaluate(model, [(images, LABELS)], nn.NLLLoss())
    assert model.training and model.hidden1.training and not model.dropout.training


def test_what_evaluate_returns_can_be_trained_with():
    """As in self-training, whose labels are predictions."""
    _, predicted, _ = evaluate(Network(), DataLoader(TensorDataset(IMAGES, LABELS)), nn.NLLLoss())
    model = Network()
    nn.NLLLoss()(model(IMAGES), predicted).backward()
    weights = torch.ones(4, requires_grad=True)
    (weights * predicted).sum().backward()  # for which autograd keeps them
    assert torch.equal(weights.grad, predicted.float())


@pytest.mark.parametrize("loader", [[], [(IMAGES[:0], LABELS[:0])]], ids=["no batch", "no image"])
def test_an_empty_loader_is_named(loader):
    with pytest.raises(ValueError, match="no images"):
        evaluate(Network(), loader, nn.NLLLoss())


BYTES = (IMAGES * 255).byte()


@pytest.mark.parametrize(
    "images, what_is_said",
    [
        (BYTES, "whole numbers up to 25.*divide by 255"),
        (BYTES.float(), "whole numbers up to 25.*divide by 255"),
        (IMAGES / 0, "finite"),
        (IMAGES * torch.nan, "finite"),
    ],
    ids=["bytes", "up to 255", "infinite", "nan"],
)
def test_what_no_recipe_can_mean_is_named(images, what_is_said):
    loader = DataLoader(TensorDataset(images, LABELS), 4)
    with pytest.raises(ValueError, match=what_is_said):
        evaluate(Network(), loader, nn.NLLLoss())


@pytest.mark.parametrize(
    "images",
    [(IMAGES > 0.5).float(), (IMAGES - 0.1307) / 0.3081, 2 * IMAGES - 1, torch.zeros_like(IMAGES)],
    ids=["0 and 1", "normalised", "from -1 to 1", "blank"],
)
def test_images_may_be_normalised_as_the_model_wants_them(images):
    evaluate(Network(), DataLoader(TensorDataset(images, LABELS)), nn.NLLLoss())


def test_another_network_with_other_images_is_evaluated_too():
    """Nothing here is about 28 × 28 pixels or one channel."""
    colour = torch.rand(4, 3, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.LogSoftmax(dim=1))
    loss, predicted, labels = evaluate(
        model, DataLoader(TensorDataset(colour, LABELS)), nn.NLLLoss()
    )
    assert loss == pytest.approx(-model(colour)[range(4), LABELS].mean().item(), rel=1e-5)
    assert predicted.shape == (4,) and torch.equal(labels, LABELS)
