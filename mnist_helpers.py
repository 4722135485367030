"""What the notebooks share: paths, data, the network, its evaluation, checkpoints and pictures.

Nothing here keeps state or does work at import. The training loop is not here on purpose: it stands
in full in notebook 03.
"""

import os
from collections.abc import Callable, Sequence
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


# Data ---------------------------------------------------------------------------------------------


def load_mnist(train: bool) -> MNIST:
    """Load the 60,000 training images or the 10,000 test images that ship in ``data/``.

    torchvision verifies the archives' MD5 sums and extracts them on first use; it asks the network
    only for an archive that is missing.

    Returns:
        A dataset with ``data``, uint8 of shape (N, 28, 28), 0 (paper) to 255 (ink), and
        ``targets``, int64 of shape (N,), values 0-9.
    """
    return MNIST(root=DATA_DIR, train=train, download=True)


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
    """
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


class FastDropout(nn.Dropout):
    """``nn.Dropout`` with cheaper random numbers on a CPU: one random byte a value.

    A value is erased when its byte is below 256 p, which is exact for p = 0.25. A draw of 64 bits
    serves eight values, where ``nn.Dropout`` makes a draw for each.
    """

    def forward(self, x: Tensor) -> Tensor:
        erasing = self.p * 256  # of the 256 values of a byte
        if not self.training or x.device.type != "cpu" or erasing % 1 or erasing == 256:
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        bytes_ = draws.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (bytes_ >= erasing).to(x.dtype).mul_(1 / (1 - self.p))


class Network(nn.Module):
    """A fully connected network, 784 → 784 → 128 → 10, with 717,210 parameters.

    Maps a batch of images (N, 1, 28, 28), or one image (1, 28, 28), to log-probabilities (N, 10).
    """

    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(28 * 28, 784)
        self.hidden2 = nn.Linear(784, 128)
        self.output = nn.Linear(128, 10)
        self.dropout = FastDropout(p=0.25)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(start_dim=1)  # (N, 784)
        x = self.dropout(F.relu(self.hidden1(x)))  # (N, 784)
        x = self.dropout(F.relu(self.hidden2(x)))  # (N, 128)
        return F.log_softmax(self.output(x), dim=1)  # (N, 10)


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
    """
    was_training = model.training
    model.eval()
    loss_sum, predicted, labels = 0.0, [], []
    for batch_images, batch_labels in loader:
        log_probs = model(batch_images)
        # Weighted by the batch's size: the last batch may be smaller than the others.
        loss_sum += loss_fn(log_probs, batch_labels) * len(batch_labels)
        predicted.append(log_probs.argmax(dim=1))
        labels.append(batch_labels)
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
        ValueError: the two shapes differ, or are not one-dimensional.
    """
    if predicted.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(
            "predicted and labels must both have shape (N,): got "
            f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        )
    correct = torch.bincount(labels[predicted == labels], minlength=10)
    return correct, torch.bincount(labels, minlength=10)


# Checkpoints --------------------------------------------------------------------------------------


def save_checkpoint(model: nn.Module, path: Path | str = CHECKPOINT_PATH) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing.

    The file is written beside its final place and then renamed: whoever reads ``path`` finds the
    old weights or the new ones, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(weights, unfinished)
    os.replace(unfinished, path)


def load_checkpoint(model: nn.Module, path: Path | str = MODEL_PATH) -> None:
    """Load weights that ``save_checkpoint`` wrote into ``model``, on whatever device that is.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the weights are those of another network.
    """
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))


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
