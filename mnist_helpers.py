"""What the notebooks share: data, augmentation, network, evaluation, checkpoints, a picture grid.

The training loop is not here: it stands in full in notebook 03.
"""

import copy
import glob
import io
import math
import os
import pickle
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from uuid import uuid4

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.types import Device
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODEL_PATH = ROOT / "MNIST_model.pth"  # ships with the project, made by notebook 03
AUGMENTED_PATH = ROOT / "MNIST_model_augmented.pth"  # ships too, made by notebook 06
CONVOLUTIONAL_PATH = ROOT / "MNIST_model_convolutional.pth"  # another network's, of notebook 08
CHECKPOINT_PATH = ROOT / "checkpoints" / "MNIST_model.pth"  # written by notebook 03

# Told apart by colour-blind readers too (Okabe and Ito's palette).
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#999999"


def pick_device() -> torch.device:
    """Return the accelerator that PyTorch finds (CUDA, Apple MPS, ...), else the CPU."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator()
    return torch.device("cpu")


# Data ---------------------------------------------------------------------------------------------


def load_mnist(train: bool) -> MNIST:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    torchvision verifies copies of the archives and extracts them in a temporary folder, of which
    nothing stays. It downloads an archive only if that of the repository is missing or damaged.

    Returns:
        A dataset that holds ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
        ``targets``, int64 of shape (N,), values 0-9.

    Raises:
        RuntimeError: it names the bad archives, or says what is wrong with the temporary folder.
    """
    source = DATA_DIR / "MNIST" / "raw"
    try:
        with tempfile.TemporaryDirectory(prefix="mnist-notebooks-") as folder:
            copies = Path(folder, "MNIST", "raw")  # where torchvision looks for them
            copies.mkdir(parents=True)
            for archive in source.glob("*.gz"):
                # The bytes alone: torchvision can't replace a damaged copy that is read-only too.
                shutil.copyfile(archive, copies / archive.name)
            return MNIST(folder, train=train, download=True)
    except Exception as error:  # torchvision, gzip and the file system raise many kinds
        bad = [name for name, md5 in MNIST.resources if not is_intact(source / name, md5)]
        if bad:
            remedy = "run `git restore data` in the top folder of the repository"
            fault = f"{', '.join(bad)} in {source} missing or damaged: {remedy}"
        else:
            fault = f"it is extracted in a temporary folder (TMPDIR), which takes 80 MB: {error}"
        raise RuntimeError(f"MNIST can't be loaded: {fault}") from error


def is_intact(archive: Path, md5: str) -> bool:
    try:
        return check_integrity(archive, md5)
    except OSError:  # it can't be read
        return False


class DigitTensors(TensorDataset):
    """Images and labels in two tensors, of which a ``DataLoader`` fetches a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        # A DataLoader calls this with all indices of a batch, where there is such a method.
        index = torch.tensor(indices, device=self.tensors[0].device)
        return tuple(tensor.index_select(0, index) for tensor in self.tensors)


def to_dataset(pixels: Tensor, labels: Tensor, device: Device) -> DigitTensors:
    """Scale pixels, uint8 (N, 28, 28), to images, float32 (N, 1, 28, 28) in [0, 1], on a device."""
    images = pixels.to(device).float() / 255
    return DigitTensors(images.unsqueeze(1), labels.to(device))


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
    if not isinstance(validation_fraction, Real) or not 0 < validation_fraction < 1:
        raise ValueError(
            f"validation_fraction must lie between 0 and 1, not {validation_fraction!r}"
        )
    mnist = load_mnist(train=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(mnist), generator=generator)
    num_val = round(validation_fraction * len(mnist))
    val_indices = order[:num_val]
    train_indices = order[num_val:]
    train_set = to_dataset(mnist.data[train_indices], mnist.targets[train_indices], device)
    val_set = to_dataset(mnist.data[val_indices], mnist.targets[val_indices], device)
    test_mnist = load_mnist(train=False)
    test_set = to_dataset(test_mnist.data, test_mnist.targets, device)

    # DigitTensors gives whole batches: there is nothing to collate, and tuple leaves them as is.
    options = {"batch_size": int(batch_size), "collate_fn": tuple}
    return (
        DataLoader(train_set, shuffle=True, generator=generator, **options),
        DataLoader(val_set, **options),
        DataLoader(test_set, **options),
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


def distort(
    images: Tensor,
    angle: float = 10,
    scale: float = 0.2,
    shift: float = 1.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Turn, scale and shift each image of a batch (N, 1, 28, 28) at random, in its own way.

    Args:
        angle: at most, in degrees.
        scale: at most, by a factor between e^-scale and e^scale along each axis.
        shift: at most, in pixels along each axis.
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
        check_images(self, images)
        x = images.flatten(start_dim=1)  # (N, 784)
        x = self.dropout(torch.relu(self.hidden1(x)))  # (N, 784)
        x = self.dropout(torch.relu(self.hidden2(x)))  # (N, 128)
        return torch.log_softmax(self.output(x), dim=1)  # (N, 10)


def check_images(model: nn.Module, images: Tensor) -> None:
    """Raise a ValueError that says what is wrong, unless shape and type suit the model.

    No pixel is read here, so that a model with this check can be exported and compiled.
    """
    shape = tuple(images.shape)
    is_one_image = shape == (1, 28, 28)
    is_batch = len(shape) == 4 and shape[1:] == (1, 28, 28) and shape[0] > 0
    if not is_one_image and not is_batch:
        raise ValueError(f"images must have shape (N, 1, 28, 28) or (1, 28, 28), not {shape}")
    needed = next(model.parameters()).dtype  # all of them have one type
    if images.dtype != needed:
        advice = f"convert them with .to({needed})"
        if not images.is_floating_point():
            advice += ", and divide by 255"
        raise ValueError(f"images are {images.dtype}: {advice}")


# Evaluation ---------------------------------------------------------------------------------------


def check_pixels(images: Tensor) -> None:
    """Raise a ValueError unless all pixels lie in [0, 1]; nan counts as outside."""
    in_range = (images >= 0) & (images <= 1)
    if not in_range.all():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"pixels must lie in [0, 1], not {low:g} to {high:g}: divide by 255?")


def check_labels(labels: Tensor) -> None:
    """Raise a ValueError unless all labels are integers from 0 to 9."""
    in_range = (labels >= 0) & (labels <= 9)
    if labels.is_floating_point() or not in_range.all():
        some = labels.unique()[:12].tolist()  # enough to see what they are
        raise ValueError(
            f"labels must be integers from 0 to 9; these are {labels.dtype}, such as {some}"
        )


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, Tensor, Tensor]:
    """Run the model over every batch of the loader, with dropout off.

    Args:
        loader: anything that gives batches of images and labels, as those of ``make_loaders`` do.

    Returns:
        The mean of ``loss_fn`` over all images, and in the loader's order the predicted and the
        true digits, two int64 tensors of shape (N,).

    Raises:
        ValueError: the loader is empty, a pixel lies outside of [0, 1], or a label is no digit.
    """
    log_probs_of_batches = []
    labels_of_batches = []
    was_training = model.training
    model.eval()
    try:
        for images, labels in loader:
            check_pixels(images)
            log_probs_of_batches.append(model(images))
            labels_of_batches.append(labels)
    finally:
        model.train(was_training)
    if not labels_of_batches:
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


def save_checkpoint(model: nn.Module, path: Path | str = CHECKPOINT_PATH, **more) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing.

    Given ``more``, such as an optimizer's state, the file holds a dict instead: the weights under
    "model", and each item of ``more`` under its own name.

    At any moment, even if the process is killed, the old file is there or the new one: the new one
    is written under another name first, and then renamed in one step.

    Raises:
        OSError: the file can't be written. It names the path; what was there before stays.
    """
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    content = io.BytesIO()
    if more:
        torch.save({"model": weights, **more}, content)
    else:
        torch.save(weights, content)

    write_whole(content.getvalue(), path)


def write_whole(content: bytes, path: Path | str) -> None:
    """Write a file as ``save_checkpoint`` does: all of it or nothing. Raises what that raises."""
    path = Path(path).resolve()  # follow a link: it would be replaced itself
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path)
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


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left when they saved to ``path``, once it is an hour old."""
    any_uuid = "[0-9a-f]" * 32  # as a pattern for file names, which matches no other name
    for unfinished in path.parent.glob(f"{glob.escape(path.name)}.{any_uuid}.unfinished"):
        with suppress(OSError):  # another process was first, or it is another user's
            age = time.time() - unfinished.lstat().st_mtime
            if age > 3600:  # no save takes an hour
                unfinished.unlink()


def load_checkpoint(model: nn.Module, path: Path | str = MODEL_PATH) -> dict | None:
    """Load weights that ``save_checkpoint`` wrote into ``model``, after they were verified.

    Returns:
        What was saved beside the weights, or None if they were saved alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names the file, its fault and the remedy. The model stays as it was.
    """
    remedy = (
        "Make one (notebooks 03, 06 and 08), or get those that ship: `git restore '*.pth'` in the "
        "top folder of the repository."
    )
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. {remedy}")
    content = path.read_bytes()
    try:
        loaded = torch.load(verified_archive(content), map_location="cpu", weights_only=True)
        weights, more = split_checkpoint(loaded)
        check_weights(model, weights)
    except pickle.UnpicklingError:  # its text advises to load unsafely
        fault = "it holds other things than weights, which could run code: don't load it"
    except Exception as error:  # zipfile and PyTorch raise many kinds
        fault = str(error).rstrip(". ")
        if not content.startswith(b"PK"):  # as every zip archive does
            fault += f"; it starts with {content[:30]}"  # enough to see what it is
    else:
        model.load_state_dict(weights)
        return more
    raise ValueError(
        f"{path} is damaged, or no checkpoint of this network: {fault}. {remedy} "
        "TROUBLESHOOTING.md says more."
    )


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
    if any(str(name).startswith(("module.", "_orig_mod.")) for name in weights):
        raise ValueError("the network was wrapped (DataParallel, compile): save the inner one")
    trial = copy.deepcopy(model)  # the model itself stays as it is until all is well
    trial.load_state_dict(weights)  # PyTorch names what doesn't fit
    for name, tensor in trial.state_dict().items():
        if weights[name].dtype != tensor.dtype:
            raise ValueError(f"{name} must be {tensor.dtype}, not {weights[name].dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite: the training that made it has failed")


# Pictures -----------------------------------------------------------------------------------------


def plot_digits(images: Tensor, titles: Sequence, columns: int = 8) -> list[plt.Axes]:
    """Show images (N, 1, 28, 28) as ink on paper in a grid, each under its title."""
    rows = math.ceil(len(images) / columns)
    # In inches: one for each image, and a quarter for its title.
    figure = plt.figure(figsize=(columns, 1.25 * rows), layout="constrained")
    for place, (image, title) in enumerate(zip(images.cpu(), titles, strict=True), start=1):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.spines[:].set_color("lightgrey")  # where the image ends
    return figure.axes
