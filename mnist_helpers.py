"""What the notebooks share: data, augmentation, network, evaluation, checkpoints, results, a grid.

The training loop is not here: it stands in full in notebook 03.
"""

import copy
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date
from errno import EACCES
from numbers import Integral, Real
from pathlib import Path
from uuid import uuid4

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torchvision.datasets import MNIST

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODEL_PATH = ROOT / "MNIST_model.pth"  # ships with the project, made by notebook 03
AUGMENTED_PATH = ROOT / "weights" / "MNIST_model_augmented.pth"  # made by notebook 06
CONVOLUTIONAL_PATH = ROOT / "weights" / "MNIST_model_convolutional.pth"  # made by notebook 08
PAGES_PATH = ROOT / "weights" / "MNIST_model_pages.pth"  # made by notebook 09
# What you train yourself. The environment variable is for whoever must not touch that: the tests,
# and `make model`.
CHECKPOINT_DIR = Path(os.environ.get("MNIST_CHECKPOINTS", ROOT / "checkpoints"))
CHECKPOINT_PATH = CHECKPOINT_DIR / "MNIST_model.pth"  # written by notebook 03

FULL = os.environ.get("FULL") == "1"  # a full run: it takes long, and stores what it finds

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


def load_mnist(train: bool) -> MNIST:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    The archives are verified, and unpacked in a temporary folder, of which nothing stays.
    torchvision reads them there, and is told not to download anything.

    Returns:
        A dataset that holds ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
        ``targets``, int64 of shape (N,), values 0-9.

    Raises:
        RuntimeError: it names the first bad archive, or what is wrong with the temporary folder.
    """
    files = {}
    for name, md5 in MNIST.resources:  # torchvision wants all four archives, whatever it reads
        archive = DATA_DIR / "MNIST" / "raw" / name
        files[archive.stem] = unpack(archive, md5)
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
        ValueError: ``batch_size`` or ``validation_fraction`` is out of range.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    batch_size = int(batch_size)  # PyTorch takes no integers of numpy's
    mnist = load_mnist(train=True)
    is_fraction = isinstance(validation_fraction, Real) and 0 < validation_fraction < 1
    num_val = round(validation_fraction * len(mnist)) if is_fraction else 0
    if not 0 < num_val < len(mnist):
        raise ValueError(
            "validation_fraction must lie between 0 and 1 and leave images for both sets, "
            f"not {validation_fraction!r}"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(mnist), generator=generator)
    val_indices = order[:num_val]
    train_indices = order[num_val:]
    train_set = to_dataset(mnist.data[train_indices], mnist.targets[train_indices], device)
    val_set = to_dataset(mnist.data[val_indices], mnist.targets[val_indices], device)
    test_mnist = load_mnist(train=False)
    test_set = to_dataset(test_mnist.data, test_mnist.targets, device)
    return (
        batch_loader(train_set, batch_size, generator),
        batch_loader(val_set, batch_size),
        batch_loader(test_set, batch_size),
    )


# Augmentation -------------------------------------------------------------------------------------


def affine(angle: Tensor, scale_x: Tensor, scale_y: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Return matrices that say, for each place in a new image, where to look in the old one.

    Args:
        angle: in radians. All arguments have the shape (N,).
        scale_x, scale_y: factors by which to look further from the centre.
        right, down: in half-widths of an image, which is 2 wide and 2 high.

    Returns:
        N matrices, of shape (N, 2, 3), as ``torch.nn.functional.affine_grid`` takes them.
    """
    cos, sin = angle.cos(), angle.sin()
    x = torch.stack([cos * scale_x, -sin * scale_y, right], dim=1)
    y = torch.stack([sin * scale_x, cos * scale_y, down], dim=1)
    return torch.stack([x, y], dim=1)  # (N, 2, 3)


def augment(
    images: Tensor,
    angle: float = 10,
    scale: float = 0.2,
    shift: float = 1.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Turn, scale and shift each image of a batch (N, 1, 28, 28) at random, in its own way.

    Args:
        angle: the largest, in degrees.
        scale: the largest, as factors between e^-scale and e^scale along each axis.
        shift: the largest, in pixels along each axis.
        generator: of random numbers; without one, ``torch.manual_seed`` decides.
    """
    n = len(images)  # (N, 1, 28, 28)

    def uniform():  # a random number between -1 and 1 for each image
        return 2 * torch.rand(n, device=images.device, generator=generator) - 1

    matrices = affine(
        math.radians(angle) * uniform(),
        (scale * uniform()).exp(),
        (scale * uniform()).exp(),
        shift / 14 * uniform(),
        shift / 14 * uniform(),
    )
    grid = F.affine_grid(matrices, images.shape, align_corners=False)  # (N, 28, 28, 2)
    return F.grid_sample(images, grid, align_corners=False)


# Network ------------------------------------------------------------------------------------------


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
        some = labels.unique()[:12].tolist()  # enough to see what they are
        raise ValueError(
            f"labels must be integers from 0 to 9; these are {labels.dtype}, such as {some}"
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
            for each image, or a label is no digit.
    """
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


def accuracy_by_digit(predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Count, for each digit, its images and those classified correctly.

    Args:
        predicted, labels: integer tensors of shape (N,), values 0-9, on one device.

    Returns:
        ``(correct, total)``, two int64 tensors of shape (10,).

    Raises:
        ValueError: a tensor has another shape or other values.
    """
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        shapes = f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"predicted and labels must both have shape (N,), not {shapes}")
    check_labels(predicted)
    check_labels(labels)
    correct = torch.bincount(labels[predicted == labels], minlength=10)
    total = torch.bincount(labels, minlength=10)
    return correct, total


# Checkpoints --------------------------------------------------------------------------------------


def save_checkpoint(model: nn.Module, path: Path | str, **more) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing.

    Given ``more``, such as an optimizer's state, the file holds a dict instead: the weights under
    "model", and each item of ``more`` under its own name.

    At any moment, even if the process is killed, the old file is there or the new one: the new one
    is written under another name first, and then renamed in one step.

    Raises:
        ValueError: ``load_checkpoint`` would refuse it: weights that are not finite, or those of a
            wrapped network, or something in ``more`` that could run code when it is loaded.
        OSError: the file can't be written. It names the path; what was there before stays.
    """
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({"model": weights, **more} if more else weights, content)
    try:
        read_checkpoint(model, content.getvalue())
    except ValueError as error:
        raise ValueError(f"Nothing was saved to {path}: {error}") from None
    write_whole(content.getvalue(), path)


def write_whole(content: bytes, path: Path | str) -> None:
    """Write a file as ``save_checkpoint`` does: all of it, or nothing and an OSError."""
    path = Path(path).resolve()  # of a link its target: the link itself would be replaced
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not may_be_written(path):  # to rename needs no permission
            raise PermissionError(EACCES, "The file is write-protected")
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # wait until the bytes are on the disk
        if path.exists():
            shutil.copymode(path, unfinished)  # keep the old file's permissions
        os.replace(unfinished, path)
    except OSError as error:  # some, such as that of a full disk, don't name the file
        fault = f"{error.strerror}, so nothing was saved"
        raise OSError(error.errno, fault, str(path)) from error
    finally:
        with suppress(OSError):  # the error above tells more than that of a clean-up
            unfinished.unlink(missing_ok=True)


def may_be_written(path: Path) -> bool:
    """Tell whether the file's permissions allow it, also to root, whom nothing else stops."""
    somebody_may = path.stat().st_mode & 0o222 != 0
    return somebody_may and os.access(path, os.W_OK)


def load_checkpoint(model: nn.Module, path: Path | str) -> dict | None:
    """Load into ``model`` the weights that ``save_checkpoint`` wrote, once they are verified.

    Returns:
        What was saved beside the weights, or None if they were saved alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names the file, its fault and the remedy. The model stays as it was.
    """
    remedy = (
        "Make it anew or, if it ships, get it back by `git restore '*.pth'` in the top folder of "
        "the repository. TROUBLESHOOTING.md says more."
    )
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. {remedy}")
    try:
        weights, more = read_checkpoint(model, path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, or no checkpoint of this network: {error}. {remedy}"
        ) from None
    model.load_state_dict(weights)
    return more


def read_checkpoint(model: nn.Module, content: bytes) -> tuple[dict, dict | None]:
    """Return verified weights for the model, and what was saved beside them.

    Raises:
        ValueError: it says what is wrong with the content.
    """
    try:
        loaded = torch.load(verified_archive(content), map_location="cpu", weights_only=True)
        weights, more = split_checkpoint(loaded)
        check_weights(model, weights)
        return weights, more
    except pickle.UnpicklingError:  # its text advises to load unsafely
        fault = "it holds other things than tensors, numbers and text, and these could run code"
        raise ValueError(fault) from None
    except Exception as error:  # zipfile and PyTorch raise many kinds
        fault = str(error).rstrip(". ")
        if not content.startswith(b"PK"):  # as every zip archive does
            fault += f"; it starts with {content[:30]}"  # enough to see what it is
        raise ValueError(fault) from None


def verified_archive(content: bytes) -> io.BytesIO:
    """Pack the entries of a zip archive anew, each read with its checksum verified.

    PyTorch reads no checksums, so it gets an archive of which no byte is unverified.
    """
    verified = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(verified, "w") as new:
        each_name_once = dict.fromkeys(old.namelist())  # a damaged directory may repeat one
        for name in each_name_once:
            new.writestr(name, old.read(name))
    verified.seek(0)
    return verified


def split_checkpoint(loaded) -> tuple[dict, dict | None]:
    """Return the weights, and what was saved beside them, or None if nothing was."""
    if isinstance(loaded, dict) and "model" in loaded:
        more = {name: value for name, value in loaded.items() if name != "model"}
        return loaded["model"], more
    return loaded, None


def check_weights(model: nn.Module, weights) -> None:
    """Raise an error that says what is wrong, unless the weights fit the model and are finite."""
    if not isinstance(weights, dict):
        raise ValueError(f"it holds a {type(weights).__name__} in place of a dict of weights")
    for wrapper, prefix in ("DataParallel", "module."), ("compile", "_orig_mod."):
        if weights and all(str(name).startswith(prefix) for name in weights):
            raise ValueError(f"the network was wrapped by {wrapper}: save the inner one")
    trial = copy.deepcopy(model)  # the model itself stays as it is until all is well
    trial.load_state_dict(weights)  # PyTorch names what doesn't fit
    for name, tensor in trial.state_dict().items():
        if weights[name].dtype != tensor.dtype:
            raise ValueError(f"{name} must be {tensor.dtype}, not {weights[name].dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite: the training that made it has failed")


# Results ------------------------------------------------------------------------------------------


def stored_results(name: str) -> dict:
    """Return what a full run has stored in ``results/``, under a name such as ``06``."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


def store_results(name: str, found: dict, device: Device = "cpu") -> None:
    """Store what a full run found, with the day and the machine, in place of an earlier run's."""
    run = {
        "date": date.today().isoformat(),
        "processor": processor_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "pytorch": torch.__version__.split("+")[0],
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (found | run).items()]
    content = "{\n" + ",\n".join(lines) + "\n}\n"  # a line for each entry
    write_whole(content.encode(), ROOT / "results" / f"{name}.json")


def processor_name(device: torch.device) -> str:
    """Return what a device is called, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:  # no Linux
        names = []
    name = names[0] if names else platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{name.replace('(R)', '')} with {instructions}"


def about_run(results: dict) -> str:
    """Say when, and on what machine, stored results were found."""
    return "{date}, {processor}, {threads} threads, PyTorch {pytorch}".format(**results)


# Pictures -----------------------------------------------------------------------------------------


def plot_digits(images: Tensor, titles: Sequence, columns: int = 8) -> list[plt.Axes]:
    """Draw images (N, 1, 28, 28) as ink on paper in a grid, each under its title."""
    rows = math.ceil(len(images) / columns)
    # In inches: one for each image, and a quarter for its title.
    figure = plt.figure(figsize=(columns, 1.25 * rows), layout="constrained")
    for place, (image, title) in enumerate(
        zip(images.detach().cpu(), titles, strict=True), start=1
    ):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.spines[:].set_color("lightgrey")  # where the image ends
    return figure.axes
