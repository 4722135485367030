"""What the notebooks share: the data, two networks, their evaluation, and one grid of digits.

The training loop is not here: it stands in full in notebook 03.
"""

import gzip
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.types import Device
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

# Notebooks find here what is kept on disk, too: mnist.load_checkpoint, mnist.MODEL_PATH, and so on.
from checkpoints import (  # noqa: F401
    AUGMENTED_PATH,
    CHECKPOINT_DIR,
    CHECKPOINT_PATH,
    CONVOLUTIONAL_PATH,
    DATA_DIR,
    FULL,
    MODEL_PATH,
    PAGES_PATH,
    PEOPLE_PATH,
    ROOT,
    Results,
    load_checkpoint,
    save_checkpoint,
)

# Told apart by colour-blind readers too (Okabe and Ito's palette).
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#999999"


def pick_device() -> torch.device:
    """Return the accelerator that PyTorch finds (CUDA, Apple MPS, ...) and can use, else the CPU.

    The environment variable ``MNIST_DEVICE``, such as ``cpu`` or ``cuda:1``, decides if it is set.
    """
    chosen = os.environ.get("MNIST_DEVICE")
    if chosen:
        return torch.device(chosen)
    if not torch.accelerator.is_available():
        return torch.device("cpu")
    device = torch.accelerator.current_accelerator()
    try:
        torch.ones(2, device=device).sum().item()  # some machines report one that can't be used
    except Exception as error:  # each kind of device raises its own
        print(f"The CPU is used, because PyTorch finds {device} and can't compute on it: {error}")
        return torch.device("cpu")
    return device


# Data ---------------------------------------------------------------------------------------------


# Of each archive, as it ships in data/MNIST/raw/, its MD5 sum.
TRAIN_IMAGES = ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873")
TRAIN_LABELS = ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432")
TEST_IMAGES = ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3")
TEST_LABELS = ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c")


def load_mnist(train: bool) -> Dataset:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    The archives are verified, and unpacked in a temporary folder, of which nothing stays.
    torchvision reads them there, and is told not to download anything.

    Returns:
        A dataset that holds ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
        ``targets``, int64 of shape (N,), values 0-9.

    Raises:
        RuntimeError: it names the first bad archive, or what is wrong with the temporary folder.
    """
    from torchvision.datasets import MNIST  # here, as it takes two seconds, and few need it

    # torchvision wants all four archives, whatever it reads.
    files = {
        name.removesuffix(".gz"): unpack(DATA_DIR / "MNIST" / "raw" / name, md5)
        for name, md5 in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
    }
    try:
        with tempfile.TemporaryDirectory(prefix="mnist-notebooks-") as folder:
            raw = Path(folder, "MNIST", "raw")  # where torchvision looks for them
            raw.mkdir(parents=True)
            for name, content in files.items():
                (raw / name).write_bytes(content)
            return MNIST(folder, train, download=False)
    except OSError as error:
        raise RuntimeError(
            f"MNIST is unpacked in a temporary folder (TMPDIR), which takes 55 MB: {error}"
        ) from error


def read_mnist(train: bool) -> tuple[Tensor, Tensor]:
    """Read the pixels and labels that ``load_mnist`` gives, without torchvision.

    Raises:
        RuntimeError: it names the first bad archive.
    """
    images, labels = (TRAIN_IMAGES, TRAIN_LABELS) if train else (TEST_IMAGES, TEST_LABELS)
    pixels = values_of(*images, header=16).view(-1, 28, 28)
    return pixels, values_of(*labels, header=8).long()


def values_of(name: str, md5: str, header: int) -> Tensor:
    """Return all bytes of an archive behind its header, whose length in bytes is known."""
    content = unpack(DATA_DIR / "MNIST" / "raw" / name, md5)
    return torch.tensor(np.frombuffer(content, dtype=np.uint8, offset=header))


def unpack(archive: Path, md5: str) -> bytes:
    """Return what a gzip archive holds, once its MD5 sum is verified.

    Raises:
        RuntimeError: it names an archive that is missing or damaged, and the remedy.
    """
    content = archive.read_bytes() if archive.is_file() else b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise RuntimeError(
            f"{archive} is missing or damaged: run `git restore data` in the top folder of the "
            "repository"
        )
    return gzip.decompress(content)


def to_dataset(pixels: Tensor, labels: Tensor, device: Device) -> TensorDataset:
    """Scale pixels, uint8 (N, 28, 28), to images, float32 (N, 1, 28, 28) in [0, 1], on a device."""
    images = pixels.float() / 255  # before they move: a GPU's division differs in the last bit
    return TensorDataset(images.unsqueeze(1).to(device), labels.to(device))


def batch_loader(
    dataset: TensorDataset, batch_size: int, generator: torch.Generator | None = None
) -> DataLoader:
    """Wrap tensors in a loader that fetches each batch by a single indexing operation.

    ``DataLoader(dataset, batch_size)`` gives the same batches, but it fetches one image at a time
    and then stacks them. Here a whole batch is what the sampler asks for, and nothing is stacked.

    Args:
        generator: shuffles in every epoch; without one, the order is that of the data set.
    """
    if generator is None:
        order = SequentialSampler(dataset)
    else:
        order = RandomSampler(dataset, generator=generator)
    batches = BatchSampler(order, batch_size, drop_last=False)
    # The generator is for the loader too, which would draw from the global one, as dropout does.
    return DataLoader(dataset, sampler=batches, batch_size=None, generator=generator)


def make_loaders(
    batch_size: int = 32, validation_fraction: float = 0.2, seed: int = 0, device: Device = "cpu"
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Split the training images at random and wrap training, validation and test set in loaders.

    Batches are ``(images, labels)`` on ``device``: float32 of shape (N, 1, 28, 28) in [0, 1], and
    int64 of shape (N,). The training loader shuffles in every epoch. The same ``seed`` gives the
    same split and order of training batches.

    Raises:
        ValueError: ``batch_size``, ``validation_fraction`` or ``seed`` is out of range.
        RuntimeError: it names a bad archive.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if not isinstance(seed, Integral):
        raise ValueError(f"seed must be a whole number, not {seed!r}")
    batch_size, seed = int(batch_size), int(seed)  # PyTorch takes no integers of numpy's
    pixels, labels = read_mnist(train=True)
    num_images = len(labels)
    is_fraction = isinstance(validation_fraction, Real) and 0 < validation_fraction < 1
    num_val = round(validation_fraction * num_images) if is_fraction else 0
    if not 0 < num_val < num_images:
        raise ValueError(
            "validation_fraction must lie between 0 and 1 and leave images for both sets, "
            f"not {validation_fraction!r}"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_images, generator=generator)
    val_indices = order[:num_val]
    train_indices = order[num_val:]
    train_set = to_dataset(pixels[train_indices], labels[train_indices], device)
    val_set = to_dataset(pixels[val_indices], labels[val_indices], device)
    test_set = to_dataset(*read_mnist(train=False), device)
    return (
        batch_loader(train_set, batch_size, generator),
        batch_loader(val_set, batch_size),
        batch_loader(test_set, batch_size),
    )


# Networks -----------------------------------------------------------------------------------------


class Network(nn.Module):
    """A fully connected network, 784 → 784 → 128 → 10, with 717,210 parameters.

    Maps a batch of images (N, 1, 28, 28) with values in [0, 1] to log-probabilities (N, 10), and
    one image (1, 28, 28) to (1, 10).
    """

    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(28 * 28, 784)
        self.hidden2 = nn.Linear(784, 128)
        self.output = nn.Linear(128, 10)
        self.dropout = nn.Dropout(p=0.25)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(start_dim=1)  # (N, 784)
        x = self.dropout(torch.relu(self.hidden1(x)))  # (N, 784)
        x = self.dropout(torch.relu(self.hidden2(x)))  # (N, 128)
        return torch.log_softmax(self.output(x), dim=1)  # (N, 10)


class ConvolutionalNetwork(nn.Module):
    """A small convolutional network with 105,866 parameters, which notebook 08 explains.

    Takes and gives what ``Network`` does. Some recipes set the share of units that it drops.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.hidden = nn.Linear(32 * 7 * 7, 64)
        self.output = nn.Linear(64, 10)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(p=0.1)

    def forward(self, images: Tensor) -> Tensor:
        x = images.unsqueeze(0) if images.ndim == 3 else images  # one image: a batch of one
        x = self.conv1(x)  # (N, 16, 28, 28)
        x = torch.relu(self.pool(x))  # (N, 16, 14, 14)
        x = self.conv2(x)  # (N, 32, 14, 14)
        x = torch.relu(self.pool(x))  # (N, 32, 7, 7)
        x = x.flatten(start_dim=1)  # (N, 1568)
        x = self.dropout(torch.relu(self.hidden(x)))  # (N, 64)
        return torch.log_softmax(self.output(x), dim=1)  # (N, 10)


# Evaluation ---------------------------------------------------------------------------------------


def check_images(images: Tensor) -> None:
    """Raise a ValueError for nan, infinity and raw pixels, which no recipe feeds to a network."""
    if not images.isfinite().all():
        raise ValueError("images must be finite: there is nan or infinity among these")
    if (images > 1).any() and (images == images.round()).all():
        raise ValueError(
            f"images are whole numbers up to {images.max():g}, as raw pixels are: divide by 255?"
        )


def check_labels(labels: Tensor) -> None:
    """Raise a ValueError unless all labels are integers from 0 to 9."""
    integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    if labels.dtype not in integers or (labels < 0).any() or (labels > 9).any():
        first = labels.unique()[:12].tolist()  # enough to see what they are
        raise ValueError(
            f"labels must be integers from 0 to 9; these are {labels.dtype}, such as {first}"
        )


@torch.no_grad()  # and not inference_mode: what is returned may be trained with
def evaluate(
    model: nn.Module, loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, Tensor, Tensor]:
    """Run the model over every batch of the loader, with dropout off.

    Args:
        loader: anything that gives batches of images and labels, as those of ``make_loaders`` do.

    Returns:
        The mean of ``loss_fn`` over all images, and in the loader's order the predicted and the
        true digits, two integer tensors of shape (N,).

    Raises:
        ValueError: the loader is empty, images are not finite or raw pixels, there is not one label
            for each image, a label is no digit, or ``loss_fn`` gives no mean.
    """
    if getattr(loss_fn, "reduction", "mean") != "mean":
        raise ValueError(f"loss_fn must have reduction='mean', not {loss_fn.reduction!r}")
    log_probs_of_batches = []
    labels_of_batches = []
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for images, labels in loader:
            if labels.shape != images.shape[:1]:
                raise ValueError(
                    f"labels must have shape ({len(images)},), one for each image, "
                    f"not {tuple(labels.shape)}"
                )
            check_images(images)
            log_probs_of_batches.append(model(images))
            labels_of_batches.append(labels)
    finally:
        for module, mode in was_training.items():  # some may have been set to eval() before
            module.training = mode
    if sum(map(len, labels_of_batches)) == 0:
        raise ValueError("the loader holds no images: there is nothing to evaluate")
    log_probs = torch.cat(log_probs_of_batches)  # (N, 10)
    labels = torch.cat(labels_of_batches)  # (N,)
    check_labels(labels)
    loss = loss_fn(log_probs, labels).item()
    predicted = log_probs.argmax(dim=1)
    return loss, predicted, labels


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of images whose digit was predicted.

    Args:
        predicted, labels: integer tensors of shape (N,), N ≥ 1, on one device.

    Raises:
        ValueError: a tensor has another shape, or there is no image.
    """
    check_pairs(predicted, labels)
    if len(labels) == 0:
        raise ValueError("there are no images: they have no accuracy")
    return (predicted == labels).float().mean().item()


def accuracy_on(model: nn.Module, loader: Iterable) -> float:
    """Return the share of a loader's images that the model reads correctly, with dropout off.

    Takes and raises what ``evaluate`` does.
    """
    _, predicted, labels = evaluate(model, loader, nn.NLLLoss())
    return accuracy(predicted, labels)


def accuracy_by_digit(predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Count, for each digit, its images and those classified correctly.

    Args:
        predicted, labels: integer tensors of shape (N,), values 0-9, on one device.

    Returns:
        ``(correct, total)``, two int64 tensors of shape (10,).

    Raises:
        ValueError: a tensor has another shape or other values.
    """
    check_pairs(predicted, labels)
    check_labels(predicted)
    check_labels(labels)
    correct = torch.bincount(labels[predicted == labels], minlength=10)
    total = torch.bincount(labels, minlength=10)
    return correct, total


def check_pairs(predicted: Tensor, labels: Tensor) -> None:
    """Raise a ValueError unless there is one label for each prediction."""
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        shapes = f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"predicted and labels must both have shape (N,), not {shapes}")


def interval(right: int, of: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of an accuracy, Wilson's, between 0 and 1."""
    from scipy.stats import binomtest  # here, as few need it

    low, high = binomtest(right, of).proportion_ci(confidence_level=0.95, method="wilson")
    return float(low), float(high)


# Pictures -----------------------------------------------------------------------------------------


def plot_digits(images: Tensor, titles: Sequence, columns: int = 8) -> list[plt.Axes]:
    """Draw images (N, 1, 28, 28) as ink on paper in a grid, each under its title."""
    rows = math.ceil(len(images) / columns)
    # In inches: one for each image, and a quarter for its title.
    figure = plt.figure(figsize=(columns, 1.25 * rows), layout="constrained")
    for place, (image, title) in enumerate(
        zip(images.detach().cpu().float(), titles, strict=True), start=1
    ):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.spines[:].set_color("lightgrey")  # where the image ends
    return figure.axes
