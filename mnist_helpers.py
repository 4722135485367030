"""What the notebooks share, but for the training loop: that stands in full in notebook 03."""

import copy
import io
import os
import pickle
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageOps
from skimage import filters, measure, morphology
from torch import Tensor, nn
from torch.types import Device
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODEL_PATH = ROOT / "MNIST_model.pth"  # ships with the project, made by notebook 03
AUGMENTED_PATH = ROOT / "MNIST_model_augmented.pth"  # ships too, made by notebook 06
CHECKPOINT_PATH = ROOT / "checkpoints" / "MNIST_model.pth"  # written by notebook 03

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # told apart by colour-blind readers too


def pick_device() -> torch.device:
    """Return the accelerator that PyTorch finds (CUDA, Apple MPS, ...), else the CPU."""
    found = torch.accelerator.is_available()
    return torch.accelerator.current_accelerator() if found else torch.device("cpu")


def load_mnist(train: bool) -> MNIST:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    torchvision verifies copies of the archives and extracts them in a temporary folder, of which
    nothing stays. It asks the network only in place of an archive that is missing or damaged. A
    RuntimeError names the bad archives, or what is wrong with the temporary folder.

    The dataset holds ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
    ``targets``, int64 of shape (N,), values 0-9.
    """
    source, prefix = DATA_DIR / "MNIST" / "raw", "mnist-notebooks-"
    try:
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):  # by a process that was killed
            with suppress(FileNotFoundError):  # another process was first
                if time.time() - left.lstat().st_mtime > 3600:
                    shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            copies = Path(folder, "MNIST", "raw")
            copies.mkdir(parents=True)
            for archive in source.glob("*.gz"):
                shutil.copyfile(archive, copies / archive.name)  # without a read-only mode
            return MNIST(folder, train=train, download=True)
    except Exception as error:
        bad = [name for name, md5 in MNIST.resources if not check_integrity(source / name, md5)]
        damaged = f"{', '.join(bad)} in {source} missing or damaged: call `git restore data`"
        no_room = f"extracting it in a temporary folder (TMPDIR) takes 80 MB: {error}"
        raise RuntimeError(f"MNIST can't be loaded: {damaged if bad else no_room}") from error


class DigitTensors(TensorDataset):
    """Images and labels in two tensors, of which a ``DataLoader`` fetches a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        index = torch.tensor(indices, device=self.tensors[0].device)
        return tuple(tensor.index_select(0, index) for tensor in self.tensors)


def make_loaders(
    batch_size: int = 32, validation_fraction: float = 0.2, seed: int = 0, device: Device = "cpu"
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Split the training images at random and wrap training, validation and test set in loaders.

    Batches are ``(images, labels)`` on ``device``: float32 of shape (N, 1, 28, 28) in [0, 1], and
    int64 of shape (N,). The training loader shuffles in every epoch. The same ``seed`` gives the
    same split and order of training batches. A setting out of range is a ValueError.
    """
    if batch_size < 1 or batch_size % 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, not {validation_fraction}")
    train, test = load_mnist(train=True), load_mnist(train=False)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)
    num_val = round(validation_fraction * len(train))

    def loader(mnist: MNIST, chosen: Tensor | slice, **options) -> DataLoader:
        images = mnist.data[chosen].to(device).unsqueeze(1).float().div_(255)  # scaled once
        dataset = DigitTensors(images, mnist.targets[chosen].to(device))
        return DataLoader(dataset, int(batch_size), collate_fn=tuple, **options)  # batched

    train_loader = loader(train, order[num_val:], shuffle=True, generator=generator)
    return train_loader, loader(train, order[:num_val]), loader(test, slice(None))


class Network(nn.Module):
    """A fully connected network, 784 → 784 → 128 → 10, with 717,210 parameters.

    Maps a batch of images (N, 1, 28, 28), or one image (1, 28, 28), to log-probabilities (N, 10).
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
    """Raise a ValueError that says what is wrong, unless the model can take these images."""
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or shape[-3:] != (1, 28, 28) or shape[0] == 0:
        raise ValueError(f"images must have shape (N, 1, 28, 28) or (1, 28, 28), not {shape}")
    if images.dtype != next(model.parameters()).dtype:
        scaled = "" if images.is_floating_point() else ", and divide by 255"
        raise ValueError(f"images are {images.dtype}: convert them with .float(){scaled}")
    if not model.training and not ((images >= 0) & (images <= 1)).all():  # reading stalls a GPU
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"pixels must lie in [0, 1], not {low:g} to {high:g}: divide by 255?")


def check_labels(labels: Tensor) -> None:
    """Raise a ValueError unless all labels are integers from 0 to 9."""
    if labels.is_floating_point() or not ((labels >= 0) & (labels <= 9)).all():
        found = f"{labels.dtype}: {labels.unique()[:12].tolist()}"
        raise ValueError(f"labels must be integers from 0 to 9; these are {found}")


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: DataLoader, loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, Tensor, Tensor]:
    """Run the model over every batch of the loader, with dropout off.

    Returns the mean of ``loss_fn`` over all images, and in the loader's order the predicted and the
    true digits, two int64 tensors of shape (N,). A loader that is empty, or gives other images or
    labels than ``make_loaders`` does, is a ValueError.
    """
    was_training = model.training
    model.eval()
    try:
        batches = [(model(images), labels) for images, labels in loader]
    finally:
        model.train(was_training)
    if not batches:
        raise ValueError("the loader holds no images: there is nothing to evaluate")
    log_probs, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    check_labels(labels)
    return loss_fn(log_probs, labels).item(), log_probs.argmax(dim=1), labels


def accuracy_by_digit(predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Count, for each digit, its images and those classified correctly.

    Takes integer tensors of shape (N,) with values 0-9 (anything else is a ValueError), and returns
    ``(correct, total)``, two int64 tensors of shape (10,).
    """
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(f"predicted, labels: shape (N,), not {predicted.shape}, {labels.shape}")
    check_labels(torch.cat([predicted, labels]))
    correct = torch.bincount(labels[predicted == labels], minlength=10)
    return correct, torch.bincount(labels, minlength=10)


def save_checkpoint(model: nn.Module, path: Path | str = CHECKPOINT_PATH, **more) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing.

    With ``more``, such as an optimizer's state, they are one entry beside it, called "model". At
    any moment, even if killed, the old or the new file is there: one step renames a whole one.
    """
    path = Path(path).resolve()  # where a link leads
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.unfinished")
    try:
        with open(unfinished, "xb") as file:
            weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
            torch.save({"model": weights, **more} if more else weights, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, unfinished)  # as if written in place
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_checkpoint(model: nn.Module, path: Path | str = MODEL_PATH) -> dict | None:
    """Load weights that ``save_checkpoint`` wrote into ``model``; return what it wrote beside them.

    PyTorch checks no checksums, so it gets a new archive, made of entries whose checksums hold. A
    copy of the model takes the weights first: if they don't fit, the model stays as it is. Raises a
    FileNotFoundError, or a ValueError that names the file, its fault and the remedy.
    """
    remedy = "Make one with notebook 03, or get those that ship: `git restore '*.pth'`."
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. {remedy}")
    content, verified = Path(path).read_bytes(), io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(verified, "w") as new:
            for name in set(old.namelist()):
                new.writestr(name, old.read(name))
        verified.seek(0)
        loaded = torch.load(verified, map_location="cpu", weights_only=True)
        weights = loaded.pop("model", loaded)
        if any(name.startswith(("module.", "_orig_mod.")) for name in weights):
            raise ValueError("the network was wrapped (DataParallel, compile): save the inner one")
        trial = copy.deepcopy(model)
        trial.load_state_dict(weights)  # PyTorch names what doesn't fit
        for name, tensor in trial.state_dict().items():
            if weights[name].dtype != tensor.dtype or not tensor.isfinite().all():
                raise ValueError(f"{name}, {weights[name].dtype}, must be finite {tensor.dtype}")
        model.load_state_dict(weights)
        return None if weights is loaded else loaded
    except pickle.UnpicklingError:  # its text advises to load unsafely
        fault = "it holds other things than weights, which could run code: don't load it"
    except Exception as error:  # zipfile and PyTorch raise many kinds
        fault = str(error).rstrip(". ")
        fault += "" if content[:2] == b"PK" else f"; it starts with {content[:30]}"
    raise ValueError(f"{path} is damaged, or no checkpoint of this network: {fault}. {remedy}")


def plot_digits(images: Tensor, titles: Sequence, columns: int = 8) -> list[plt.Axes]:
    """Show images (N, 1, 28, 28) as ink on paper in a grid, each under its title."""
    rows = -(-len(images) // columns)  # rounded up
    figure = plt.figure(figsize=(columns, 1.25 * rows), layout="constrained")
    for place, (image, title) in enumerate(zip(images.cpu(), titles, strict=True), start=1):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.spines[:].set_color("lightgrey")  # where the image ends
    return figure.axes


def load_grey(picture, side: int) -> np.ndarray:
    """Return a path, a PIL image or an array as grey pixels (H, W), the longer side ``side``."""
    if isinstance(picture, str | os.PathLike):
        name, file = picture, io.BytesIO(Path(picture).read_bytes())
        try:
            picture = ImageOps.exif_transpose(Image.open(file))
        except Exception as error:  # Pillow raises many kinds
            raise ValueError(f"{name} can't be read: save it as JPEG or PNG ({error})") from error
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)  # as the camera was held
        if picture.mode[0] not in "IF":  # those are grey, with more than 8 bits
            picture = picture.convert("RGBA")
            picture.thumbnail((side, side))
    grey = pixels = np.squeeze(np.asarray(picture, dtype=np.float32))
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        grey, full = pixels[..., :3] @ np.float32([0.2125, 0.7154, 0.0721]), pixels.max() or 1
        opacity = pixels[..., 3] / full if pixels.shape[2] == 4 else np.float32(1)
        light = np.mean(opacity * (2 * grey - full)) > 0  # then it lies on dark paper
        grey = opacity * grey + (1 - opacity) * (0 if light else full)
    if grey.ndim != 2 or min(grey.shape) < 8 or not np.isfinite(grey).all():
        needed = "finite pixels of shape (H, W), (H, W, 3) or (H, W, 4), 8 × 8 or more"
        raise ValueError(f"a picture has {needed}; this one has shape {pixels.shape}")
    size = [max(8, round(side * length / max(grey.shape))) for length in grey.shape[::-1]]
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(size))


def find_ink(grey: np.ndarray) -> np.ndarray:
    """Return where ink is, bool (H, W): not in shadows, nor on ruled lines, which are fainter."""
    paper = np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    if grey.max() - paper > paper - grey.min():
        grey = -grey  # light ink
    wide = min(grey.shape) // 2 | 1  # than a stroke, so that closing paints over the strokes
    depth = morphology.closing(grey, np.ones((wide, wide))) - grey
    dark = depth > filters.threshold_otsu(depth)
    contrast = depth[dark].mean() - depth[~dark].mean() if dark.any() else 0
    if contrast <= max(4 * depth[~dark].std(), np.ptp(grey) / 5):
        raise ValueError("no ink stands out from the paper: the page is blank, or all noise")
    return depth > (np.median(depth[~dark]) + np.quantile(depth[dark], 0.95)) / 2


def cut_digits(ink: np.ndarray) -> Tensor:
    """Cut a line of digits, bool (H, W), at its gaps, into images as in MNIST (N, 1, 28, 28)."""
    strokes = measure.regionprops(labels := measure.label(ink))
    tall = max(stroke.image.shape[0] for stroke in strokes)
    ink = np.isin(labels, [s.label for s in strokes if max(s.image.shape) > tall / 8])  # no specks
    joined = measure.label(morphology.dilation(ink, np.ones((tall // 3 | 1, tall // 16 | 1)))) * ink
    digits = sorted(measure.regionprops(joined), key=lambda digit: digit.bbox[1])
    digits = [d for d in digits if d.image.shape[0] > 0.4 * tall > 0.13 * d.image.shape[1]]
    if tall < 8 or not digits:
        raise ValueError(f"no digit found: the tallest stroke of ink has {tall} pixels")
    for one, other in pairwise(d.bbox for d in digits):  # top, left, bottom, right
        if one[3] > other[1] and (one[2] < other[0] or other[2] < one[0]):
            raise ValueError("digits stand above each other: give one line at a time")
    images = torch.zeros(len(digits), 1, 28, 28)
    for image, digit in zip(images, digits, strict=True):
        h, w = (max(1, round(20 * n / max(digit.image.shape))) for n in digit.image.shape)
        small = np.asarray(Image.fromarray(digit.image.astype(np.float32)).resize((w, h))).clip(0)
        row, column = (np.average(index, weights=small) for index in np.indices(small.shape))
        top, left = min(max(round(14 - row), 0), 28 - h), min(max(round(14 - column), 0), 28 - w)
        image[0, top : top + h, left : left + w] = torch.from_numpy(small / small.max())
    return images


def prepare(picture) -> Tensor:
    """Make a picture of one digit a float32 image (1, 28, 28) as in MNIST; else a ValueError."""
    images = cut_digits(find_ink(load_grey(picture, side=200)))
    if len(images) > 1:
        raise ValueError(f"{len(images)} digits stand side by side: read a line with read_digits")
    return images[0]


@torch.inference_mode()
def read_digits(picture) -> list[tuple[int, float]]:
    """Read a line of digits with notebook 06's weights: each digit and its probability."""
    load_checkpoint(model := Network().eval(), AUGMENTED_PATH)
    images = cut_digits(find_ink(load_grey(picture, side=1000)))
    sure, digits = model(images).exp().max(dim=1)
    return list(zip(digits.tolist(), sure.tolist(), strict=True))
