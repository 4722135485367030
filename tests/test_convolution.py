"""Notebook 08: its cells move digits as said, and the helper serves its network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from cells import source_of
from torch import nn

import mnist_helpers as mnist

STARTS = ("def move(", "def moved_batches(", "def slide(")


@pytest.fixture(scope="module")
def notebook():
    """What the cells leave behind that define the functions."""
    scope = {"F": F, "mnist": mnist, "torch": torch}
    for start in STARTS:
        exec(source_of("08", start), scope)
    return scope


@pytest.fixture
def model():
    torch.manual_seed(0)
    return mnist.ConvolutionalNetwork().eval()


@pytest.fixture
def images():
    return torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def dot(row, column):
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, row, column] = 1
    return image


# What is moved ------------------------------------------------------------------------------------


@pytest.mark.parametrize("right, down", [(0, 0), (3, 0), (-3, 0), (0, 2), (0, -2), (4, -1)])
def test_each_pixel_goes_where_it_is_sent(notebook, right, down):
    moved = notebook["move"](dot(10, 12), right, down)
    assert torch.equal(moved, dot(10 + down, 12 + right))


def test_what_passes_the_edge_is_lost_and_paper_follows(notebook):
    assert not notebook["move"](dot(5, 27), 1, 0).any()
    moved = notebook["move"](torch.ones(1, 1, 28, 28), 2, -3)
    assert not moved[..., :2].any() and not moved[:, :, -3:].any()
    assert moved.sum() == 26 * 25


def test_a_quarter_of_a_batch_goes_each_way_and_each_image_keeps_its_label(notebook):
    images = dot(14, 14).repeat(10, 1, 1, 1) * torch.arange(1.0, 11).view(-1, 1, 1, 1)
    labels = torch.arange(10)
    ((moved, moved_labels),) = notebook["moved_batches"]([(images, labels)], 3)
    assert torch.equal(moved.amax(dim=(1, 2, 3)), moved_labels + 1.0)  # an image's ink is its name
    places = [tuple(image[0].nonzero()[0].tolist()) for image in moved]
    ways = {place: places.count(place) for place in places}
    assert ways == {(14, 17): 3, (14, 11): 3, (17, 14): 2, (11, 14): 2}


# The network --------------------------------------------------------------------------------------


def test_the_loops_compute_what_pytorch_does(notebook, images):
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    expected = F.conv2d(images[:1], weights.view(1, 1, 3, 3))[0, 0]
    assert torch.allclose(notebook["slide"](images[0, 0], weights), expected, atol=1e-5)


def test_gives_log_probabilities_for_a_batch_and_for_one_image(model, images):
    log_probs = model(images)
    assert log_probs.shape == (12, 10)
    assert torch.allclose(log_probs.exp().sum(dim=1), torch.ones(12))
    assert torch.allclose(model(images[3]), log_probs[3:4], atol=1e-6)


def test_has_no_more_weights_than_a_sixth_of_the_fully_connected_network(model):
    def size(network):
        return sum(parameter.numel() for parameter in network.parameters())

    assert size(model) <= 120_000 and 6 * size(model) < size(mnist.Network())


@pytest.mark.parametrize("shape", [(28, 28), (3, 1, 14, 14), (2, 3, 28, 28)])
def test_images_of_another_size_get_no_answer(model, shape):
    with pytest.raises(RuntimeError, match=r"shape|channels|input"):
        model(torch.zeros(shape))


# The helper with another network ------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(model, images, tmp_path):
    path = tmp_path / "weights.pth"
    mnist.save_checkpoint(model, path, epoch=3)
    other = mnist.ConvolutionalNetwork().eval()
    assert not torch.equal(other(images), model(images))
    assert mnist.load_checkpoint(other, path) == {"epoch": 3}
    assert torch.equal(other(images), model(images))


def test_the_weights_of_another_network_are_refused_and_change_nothing(model, images):
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"(?s)no checkpoint of this network.*conv1\.weight"):
        mnist.load_checkpoint(model, mnist.MODEL_PATH)
    assert torch.equal(model(images), before(images))
    with pytest.raises(ValueError, match=r"(?s)no checkpoint of this network.*hidden1\.weight"):
        mnist.load_checkpoint(mnist.Network(), mnist.CONVOLUTIONAL_PATH)


def test_evaluate_and_accuracy_by_digit_count_what_it_reads(model, loaders):
    images, labels = loaders[1].dataset.tensors
    few = [(images[:50], labels[:50]), (images[50:80], labels[50:80])]
    model.train()
    loss, predicted, true = mnist.evaluate(model, few, nn.NLLLoss())
    assert model.training
    with torch.inference_mode():
        log_probs = model.eval()(images[:80])  # with dropout, the loss would be another
    assert loss == pytest.approx(F.nll_loss(log_probs, labels[:80]).item(), rel=1e-5)
    expected = log_probs.argmax(dim=1)
    assert torch.equal(predicted, expected) and torch.equal(true, labels[:80])
    correct, total = mnist.accuracy_by_digit(predicted, true)
    assert correct.sum() == (expected == labels[:80]).sum() and total.sum() == 80
