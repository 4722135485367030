"""What the notebooks share: paths, data, the network, its evaluation, checkpoints and pictures.

Nothing here does work at import or keeps state, but for the cache of ``dropout_factors``. The
training loop is not here on purpose: it stands in full in notebook 03.
"""

import gzip
import hashlib
import io
import os
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from http.client import HTTPException
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODEL_PATH = ROOT / "MNIST_model.pth"  # ships with the project
CHECKPOINT_PATH = ROOT / "checkpoints" / "MNIST_model.pth"  # written by notebook 03

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # told apart by colour-blind readers too


def pick_device() -> torch.device:
    """Return the accelerator that PyTorch finds (CUDA, Apple MPS, ...), else the CPU."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator()
    return torch.device("cpu")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that at any moment, even if killed, the old or the new one is there, whole.

    The content goes to a file beside it first, which then takes its name in one step.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


# Data ---------------------------------------------------------------------------------------------

EXTRACTED = {  # SHA-256 of each file that belongs in data/MNIST/raw/, as its README lists them
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decompress(archive: Path) -> bytes:
    """Return the content of a .gz archive, empty if that is missing or can't be read."""
    try:
        return gzip.decompress(archive.read_bytes())
    except (OSError, EOFError, zlib.error):
        return b""


def ensure_file(name: str) -> None:
    """See to it that one extracted file is there and is the one that belongs there.

    A bad file is replaced from its archive, and a bad archive by torchvision's download.

    Raises:
        RuntimeError: the file and its archive are bad, and there is nowhere to download from.
    """
    path = DATA_DIR / "MNIST" / "raw" / name
    if path.is_file() and sha256(path.read_bytes()) == EXTRACTED[name]:
        return
    archive = path.with_name(f"{name}.gz")
    content = decompress(archive)
    if sha256(content) != EXTRACTED[name]:
        with tempfile.TemporaryDirectory() as folder:  # so that no half of a file gets into data/
            try:
                MNIST(root=folder, download=True)
            except (RuntimeError, OSError, HTTPException) as error:
                raise RuntimeError(
                    f"{archive.name} in {archive.parent} is missing or damaged, and could not be "
                    f"downloaded. The file in it should have SHA-256 {EXTRACTED[name]}, found "
                    f"{sha256(content) if content else 'nothing'}. Call `git restore data`, or put "
                    f"these four files there by hand: {', '.join(f'{n}.gz' for n in EXTRACTED)}."
                ) from error
            write_whole(archive, Path(folder, "MNIST", "raw", archive.name).read_bytes())
        content = decompress(archive)
    write_whole(path, content)


def load_mnist(train: bool) -> MNIST:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    What is on disk is verified first, and mended from the archives where it is bad; the network is
    asked only where an archive is bad too.

    Returns:
        A dataset with ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
        ``targets``, int64 of shape (N,), values 0-9.

    Raises:
        RuntimeError: a file is bad and can't be mended; the message says what to do.
    """
    legacy = DATA_DIR / "MNIST" / "processed"
    if legacy.exists():
        raise RuntimeError(f"{legacy} would be read in place of the verified files: remove it.")
    for name in EXTRACTED:
        ensure_file(name)
    return MNIST(root=DATA_DIR, train=train)


class DigitTensors(TensorDataset):
    """Images and labels in two tensors, fetched a batch at a time.

    A ``DataLoader`` asks ``__getitems__`` for a whole batch: one indexing operation in place of 32
    fetches and a stack.
    """

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        index = torch.tensor(indices, device=self.tensors[0].device)
        return tuple(tensor.index_select(0, index) for tensor in self.tensors)


def to_tensors(mnist: MNIST, device: torch.device | str = "cpu") -> DigitTensors:
    """Scale all pixels to [0, 1] once, and keep images and labels on ``device``.

    Returns:
        A dataset of images, float32 of shape (N, 1, 28, 28), and labels, int64 of shape (N,): the
        values that ``torchvision.transforms.ToTensor`` gives, image by image.
    """
    images = mnist.data.to(device).unsqueeze(1).float().div_(255)  # (N, 1, 28, 28)
    return DigitTensors(images, mnist.targets.to(device))


def make_loaders(
    batch_size: int = 32,
    validation_fraction: float = 0.2,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Split the training images at random and wrap training, validation and test set in loaders.

    The same ``seed`` gives the same split and the same order of training batches. The training
    loader shuffles anew in every epoch; the other two keep their order.

    Args:
        batch_size: images in a batch; the last one of a set may be smaller.
        validation_fraction: share of the 60,000 training images held out for validation.
        seed: of the split and of the shuffling.
        device: where the batches live; no batch is copied there while you iterate.

    Returns:
        ``(train_loader, val_loader, test_loader)``. Each batch is ``(images, labels)``: float32 in
        [0, 1] of shape (N, 1, 28, 28), and int64 of shape (N,).

    Raises:
        ValueError: the batch size is no whole number above 0, or the fraction not within 0 and 1.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, not {validation_fraction}")
    images, labels = to_tensors(load_mnist(train=True), device).tensors
    generator = torch.Generator().manual_seed(seed)
    num_val = round(validation_fraction * len(labels))
    order = torch.randperm(len(labels), generator=generator)
    val, train = order[:num_val], order[num_val:]

    def loader(dataset: DigitTensors, **options) -> DataLoader:
        # A batch comes assembled from __getitems__, so there is nothing left to collate.
        return DataLoader(dataset, batch_size=batch_size, collate_fn=tuple, **options)

    return (
        loader(DigitTensors(images[train], labels[train]), shuffle=True, generator=generator),
        loader(DigitTensors(images[val], labels[val])),
        loader(to_tensors(load_mnist(train=False), device)),
    )


# Model --------------------------------------------------------------------------------------------


@cache
def dropout_factors(p: float, dtype: torch.dtype) -> Tensor:
    """For each value of a byte, what dropout multiplies by: 0 for the first 256 p, else 1/(1-p)."""
    return (torch.arange(256) >= 256 * p).to(dtype) / (1 - p)


class FastDropout(nn.Dropout):
    """``nn.Dropout`` with cheaper random numbers on a CPU: one random byte a value.

    A value is erased when its byte is below 256 p, which is exact for p = 0.25. A draw of 64 bits
    serves eight values, where ``nn.Dropout`` makes a draw for each.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or self.p * 256 % 1 or self.p == 1:
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        bytes_ = draws.view(torch.uint8)[: x.numel()].int()
        return x * dropout_factors(self.p, x.dtype).index_select(0, bytes_).view(x.shape)


class Network(nn.Module):
    """A fully connected network, 784 → 784 → 128 → 10, with 717,210 parameters.

    Maps a batch of images (N, 1, 28, 28), or one image (1, 28, 28), to log-probabilities (N, 10).
    Images of another shape, type or range of values raise a ValueError.
    """

    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(28 * 28, 784)
        self.hidden2 = nn.Linear(784, 128)
        self.output = nn.Linear(128, 10)
        self.dropout = FastDropout(p=0.25)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, values=not self.training)  # reading values would stall a GPU
        x = images.flatten(start_dim=1)  # (N, 784)
        x = self.dropout(F.relu(self.hidden1(x)))  # (N, 784)
        x = self.dropout(F.relu(self.hidden2(x)))  # (N, 128)
        return F.log_softmax(self.output(x), dim=1)  # (N, 10)


def check_images(images: Tensor, values: bool) -> None:
    """Raise a ValueError that says what is wrong, if these are not images as the network wants."""
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or shape[-3:] != (1, 28, 28) or shape[0] == 0:
        raise ValueError(f"images must have shape (N, 1, 28, 28) or (1, 28, 28), not {shape}")
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}: convert them to float and divide by 255")
    if values and not ((images >= 0) & (images <= 1)).all():
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"pixels must lie in [0, 1], not {low:g} to {high:g}: divide by 255?")


def check_labels(labels: Tensor) -> None:
    """Raise a ValueError unless all labels are integers from 0 to 9."""
    if labels.is_floating_point() or not ((labels >= 0) & (labels <= 9)).all():
        values = labels.unique()[:12].tolist()
        raise ValueError(f"labels must be integers from 0 to 9; these are {labels.dtype}: {values}")


@torch.inference_mode()
def evaluate(
    model: nn.Module, loader: DataLoader, loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, Tensor, Tensor]:
    """Run the model over every batch of the loader, with dropout off.

    Args:
        model: maps images (N, 1, 28, 28) to log-probabilities (N, 10). Its training mode is put
            back as it was.
        loader: gives ``(images, labels)`` on the model's device.
        loss_fn: gives the mean loss of a batch, as ``nn.NLLLoss()`` does.

    Returns:
        ``(loss, predicted, labels)``: the mean loss over all examples, and for each of them, in the
        loader's order, the predicted and the true digit, two int64 tensors of shape (N,).

    Raises:
        ValueError: the loader is empty, or gives images or labels that aren't what they should be.
    """
    if len(loader) == 0:
        raise ValueError("the loader holds no images: there is nothing to evaluate")
    was_training = model.training
    model.eval()
    loss_sum, predicted, labels = 0.0, [], []
    try:
        for batch_images, batch_labels in loader:
            check_labels(batch_labels)
            log_probs = model(batch_images)
            # Weighted by the batch's size: the last batch may be smaller than the others.
            loss_sum += loss_fn(log_probs, batch_labels) * len(batch_labels)
            predicted.append(log_probs.argmax(dim=1))
            labels.append(batch_labels)
    finally:
        model.train(was_training)
    predicted, labels = torch.cat(predicted), torch.cat(labels)
    return float(loss_sum) / len(labels), predicted, labels


def accuracy_by_digit(predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Count, for each digit, its images and those classified correctly.

    Args:
        predicted, labels: integer tensors of shape (N,), values 0-9, on one device.

    Returns:
        ``(correct, total)``, two int64 tensors of shape (10,).

    Raises:
        ValueError: the two shapes differ, are not one-dimensional, or a value is not 0-9.
    """
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(
            "predicted and labels must both have shape (N,): got "
            f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    check_labels(predicted)
    check_labels(labels)
    correct = torch.bincount(labels[predicted == labels], minlength=10)
    return correct, torch.bincount(labels, minlength=10)


# Checkpoints --------------------------------------------------------------------------------------


def check_writable(path: Path | str = CHECKPOINT_PATH) -> None:
    """Raise an OSError now if a checkpoint could not be written there after an epoch."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"Can't write to {folder}: free it, or choose another folder.") from error


def save_checkpoint(model: nn.Module, path: Path | str = CHECKPOINT_PATH) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing."""
    content = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, content)
    write_whole(Path(path), content.getvalue())


def load_checkpoint(model: nn.Module, path: Path | str = MODEL_PATH) -> None:
    """Load weights that ``save_checkpoint`` wrote into ``model``, on whatever device that is.

    PyTorch does not notice a damaged file. So all is checked before the model is touched: the
    checksums in the file, that names, shapes and types are the model's, and that all is finite.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is something else than whole weights of this network.
    """
    remedy = "Make one with notebook 03, or get the one that ships: `git restore MNIST_model.pth`."
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. {remedy}")
    content = Path(path).read_bytes()
    fault = fault_of_file(content)
    if fault:
        raise ValueError(f"{path} {fault}. {remedy}")
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        fault = fault_of_weights(weights, model.state_dict())
    except pickle.UnpicklingError:  # its text, which advises to load unsafely, stays out
        fault = "holds other things than weights, which could run code: don't load it"
    except Exception:
        fault = "is an archive, but no checkpoint"
    if fault:
        raise ValueError(f"{path} {fault}. {remedy}")
    model.load_state_dict(weights)


def fault_of_file(content: bytes) -> str:
    """Say what a file is if it is no whole archive, as checkpoints are; nothing if it is one."""
    if content.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: call `git lfs pull`"
    if content.lstrip().startswith(b"<"):
        return "is an HTML page: a page was saved in place of the file that it links to"
    if not content.startswith(b"PK"):
        return "is empty" if not content else "is not a checkpoint"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises many kinds, and each means the same
        damaged = error
    return "is a truncated or damaged checkpoint" if damaged else ""


def fault_of_weights(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """Say what keeps weights from a model whose own are ``expected``; nothing if they fit."""
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        return "holds no state_dict, which is a dict of tensors"
    for name in expected | weights:
        found, wanted = (str(d[name].shape) if name in d else "none" for d in (weights, expected))
        if found != wanted:
            return f"holds another network's weights: {name} has {found}, expected {wanted}"
        if weights[name].dtype != expected[name].dtype:
            return f"holds {name} as {weights[name].dtype}, expected {expected[name].dtype}"
        if not weights[name].isfinite().all():
            return f"holds values in {name} that are not finite"
    return ""


# Pictures -----------------------------------------------------------------------------------------


def plot_digits(images: Tensor, titles: Sequence, columns: int = 8) -> list[Axes]:
    """Show images (N, 1, 28, 28) as ink on paper in a grid, each under its title."""
    rows = -(-len(images) // columns)  # rounded up
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns, 1.25 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(images) :]:
        ax.remove()
    for ax, image, title in zip(axes.flat, images.cpu(), titles, strict=False):
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("lightgrey")  # where the image ends
    return figure.axes


def plot_network(model: nn.Module) -> Axes:
    """Draw the model's linear layers as columns of dots, with their sizes and weights written."""
    layers = [layer for layer in model.children() if isinstance(layer, nn.Linear)]
    sizes = [layers[0].in_features] + [layer.out_features for layer in layers]
    names = ["input", *["hidden: ReLU, dropout"] * (len(layers) - 1), "output: LogSoftmax"]
    shown = [torch.linspace(-1, 1, min(size, 16)) * min(size, 16) / 16 for size in sizes]

    _, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    for x, (size, name, dots) in enumerate(zip(sizes, names, shown, strict=True)):
        ax.plot([x] * len(dots), dots, "o", color=BLUE, markersize=6, zorder=2)
        ax.text(x, 1.15, f"{size:,}", ha="center", fontsize=14, weight="bold")
        ax.text(x, -1.4, name, ha="center")
    for x, layer in enumerate(layers):
        for left in shown[x]:
            for right in shown[x + 1]:
                ax.plot([x, x + 1], [left, right], color=GREY, linewidth=0.2, zorder=1)
        count = f"{layer.weight.numel():,} weights\n+ {layer.bias.numel():,} biases"
        ax.text(x + 0.5, -1.75, count, ha="center", color="dimgrey")
    ax.set(xlim=(-0.5, len(layers) + 0.5), ylim=(-1.8, 1.35))
    ax.axis("off")
    return ax


def plot_losses(train_losses: Sequence[float], val_losses: Sequence[float]) -> Axes:
    """Plot the loss of each epoch, training and validation, and mark the best epoch."""
    if len(val_losses) == 0:
        raise ValueError("there is no epoch to plot yet: run the training loop")
    epochs = range(1, len(val_losses) + 1)
    best = min(epochs, key=lambda epoch: val_losses[epoch - 1])
    _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    ax.plot(epochs, train_losses, "o-", color=BLUE, label="training loss")
    ax.plot(epochs, val_losses, "s--", color=ORANGE, label="validation loss")
    ax.axvline(best, color=GREY, linestyle=":", label=f"lowest validation loss: epoch {best}")
    ax.set(xlabel="epoch", ylabel="loss (mean over images)", xticks=epochs, ylim=(0, None))
    ax.legend()
    return ax


def plot_confusion(counts: Tensor) -> Axes:
    """Show how often each true digit (row) was read as each digit (column), counts (10, 10)."""
    mistakes = counts.float().fill_diagonal_(torch.nan)  # the diagonal would outshine them
    darkest = 1.5 * mistakes.nan_to_num(0).max().item()  # light enough for black text
    _, ax = plt.subplots(figsize=(6.5, 6), layout="constrained")
    ax.imshow(mistakes.numpy(), cmap="Oranges", vmin=0, vmax=darkest)
    for true, row in enumerate(counts.tolist()):
        for predicted, count in enumerate(row):
            weight = "bold" if true == predicted else "normal"
            ax.text(predicted, true, count, ha="center", va="center", weight=weight)
    ax.set(xlabel="predicted digit", ylabel="true digit", xticks=range(10), yticks=range(10))
    return ax


def plot_probabilities(image: Tensor, probabilities: Tensor, label: int) -> tuple[Axes, Axes]:
    """Show one image (1, 28, 28) beside its ten class probabilities (10,)."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", width_ratios=(1, 2))
    left.imshow(image[0].cpu().numpy(), cmap="gray_r", vmin=0, vmax=1)
    left.set_title(f"true digit: {label}")
    left.axis("off")
    colors = [BLUE if digit == label else ORANGE for digit in range(10)]
    bars = right.barh(range(10), probabilities.tolist(), color=colors)
    right.bar_label(bars, fmt="{:.1%}", padding=3)
    right.set(xlabel="probability", ylabel="digit", xlim=(0, 1.15), yticks=range(10))
    right.invert_yaxis()
    return left, right
