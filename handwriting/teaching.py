"""Teach a network one person's digits, from a pad, a photo or a tablet: notebook 07 explains it."""

import copy
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from checkpoints import CHECKPOINT_DIR, load_checkpoint, save_checkpoint
from handwriting.data import PenDigit, Written
from handwriting.digit import load_picture, prepare, prepare_box
from handwriting.examples import Examples, check_examples
from handwriting.pad import SIDE, Point, TeachingPad, draw_strokes
from handwriting.page import PICTURE_SIDE, rows_of
from mnist_helpers import BLUE, ORANGE
from training import augment, train_epoch


def teach(
    images: Tensor,
    labels: Tensor,
    base: nn.Module,
    old: tuple[Tensor, Tensor],
    seed: int = 0,
    num_steps: int = 150,
    max_lr: float = 3e-4,
    num_old: int = 96,
) -> nn.Module:
    """Return a network that has learned examples (N, 1, 28, 28) with labels (N,).

    Args:
        base: the network to start from, which stays as it is.
        old: images and labels that the network has learned from before; so many of them as
            ``num_old`` says are in each batch, and keep it from forgetting.

    Raises:
        ValueError: the examples, or those in ``old``, are no images, or have no labels that fit.
    """
    check_examples(images, labels)
    check_examples(*old)
    old_images, old_labels = old
    torch.manual_seed(seed)
    model = copy.deepcopy(base)  # so that an interrupt, or a bad result, costs nothing
    optimizer = AdamW(model.parameters(), lr=max_lr, fused=True)
    schedule = OneCycleLR(optimizer, max_lr, total_steps=num_steps)

    def batches():
        for _ in range(num_steps):
            new = torch.randint(len(labels), (32,))
            replayed = torch.randint(len(old_labels), (num_old,))
            yield (
                torch.cat([images[new], old_images[replayed]]),
                torch.cat([labels[new], old_labels[replayed]]),
            )

    train_epoch(model, batches(), nn.NLLLoss(), optimizer, schedule, augment=augment)
    return model.eval()


# The pad ------------------------------------------------------------------------------------------


def teaching_pad(
    base: nn.Module, old: tuple[Tensor, Tensor], folder: Path = CHECKPOINT_DIR
) -> TeachingPad:
    """Return a pad that asks a network, and what was made of it by teaching, once there is one.

    Args:
        base: the network to start from.
        old: as for ``teach``.
        folder: what is drawn is kept here as ``my_digits.npz``, and the weights that learned from
            it as ``MNIST_model_mine.pth``.

    Raises:
        ValueError: the drawings that are kept there can't be used.
    """
    weights = folder / "MNIST_model_mine.pth"
    networks = {"as it ships": base}
    if weights.exists():
        mine = copy.deepcopy(base)
        try:
            load_checkpoint(mine, weights)
            networks["yours"] = mine.eval()
        except ValueError as error:
            print(f"Your network can't be used; click Teach, which makes a new one. ({error})")

    def learn(images: list[Tensor], labels: list[int]) -> str:
        start = time.perf_counter()
        model = teach(torch.stack(images), torch.tensor(labels), base, old)
        seconds = time.perf_counter() - start
        save_checkpoint(model, weights)
        networks["yours"] = model
        return f"Learned from {len(labels)} examples in {seconds:.1f} s. Draw another digit."

    def answer(drawing: Image.Image) -> tuple[str, Figure | None]:
        try:
            image = prepare(drawing)  # (1, 28, 28)
        except ValueError as error:  # two digits, say
            return str(error), None
        lines, probabilities = [], {}
        for name, network in networks.items():
            with torch.inference_mode():
                probabilities[name] = network(image)[0].exp()  # (10,)
            sure, digit = probabilities[name].max(dim=0)
            lines.append(f"{name}: <b>{digit}</b> ({sure:.1%})")
        return "<br>".join(lines), figure_of_answer(image, probabilities)

    return TeachingPad(answer, prepare, Examples(folder / "my_digits.npz"), learn)


def figure_of_answer(image: Tensor, probabilities: dict[str, Tensor]) -> Figure:
    """Draw an image (1, 28, 28), and what each network says of it, (10,), as bars."""
    figure = Figure(figsize=(5.5, 2.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 4])
    left.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
    left.set(xticks=[], yticks=[], title="seen by the network")
    for number, (name, of_network) in enumerate(probabilities.items()):
        places = np.arange(10) + 0.4 * number - 0.2
        right.bar(places, of_network.numpy(), 0.4, color=(ORANGE, BLUE)[number], label=name)
    right.set(xticks=range(10), ylim=(0, 1.05), title="probability of each digit", xlabel="digit")
    right.legend(fontsize=8)
    return figure


# A photo, as examples -----------------------------------------------------------------------------


def examples_from_photo(photo, text: str) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 28, 28) and labels (N,) of a page of digits.

    Args:
        photo: a path, an open file, a PIL image, or an array.
        text: what stands on the page, a line for each row.

    Raises:
        ValueError: the text doesn't fit what was found, or a digit can't be prepared.
    """
    grey, _ = load_picture(photo, PICTURE_SIDE)
    rows = rows_of(grey)
    lines = ["".join(line.split()) for line in text.splitlines() if line.strip()]
    if not all(line.isascii() and line.isdigit() for line in lines):
        raise ValueError(f"type digits only, each row on a line of its own, not {text!r}")
    found, typed = [len(row) for row in rows], [len(line) for line in lines]
    if found != typed:
        raise ValueError(
            f"the photo has rows of {found} digits, and {typed} were typed: "
            "handwriting.plot_reading(photo) shows what was found"
        )
    images = []
    for number, row in enumerate(rows, start=1):
        for reading in row:
            try:
                images.append(prepare_box(grey, reading.box))
            except ValueError as error:
                place = f"row {number} of the photo, at what was read as {reading.digit}"
                raise ValueError(f"{place}: {error}") from error
    labels = torch.tensor([int(digit) for line in lines for digit in line])
    return torch.stack(images), labels


# Digits of a tablet, as examples ------------------------------------------------------------------


def images_of(digits: list[PenDigit] | list[Written]) -> tuple[Tensor, Tensor, int]:
    """Draw and prepare digits as if they had been drawn on the pad.

    Returns:
        Images (N, 1, 28, 28), labels (N,), and how many digits were refused and left out: at the
        pad they would be drawn again.
    """
    images, labels = [], []
    for digit in digits:
        try:
            images.append(prepare(draw_strokes(on_pad(digit.strokes))))
        except ValueError:
            continue
        labels.append(digit.label)
    return torch.stack(images), torch.tensor(labels), len(digits) - len(labels)


def on_pad(strokes: list[np.ndarray]) -> list[list[Point]]:
    """Move strokes to the middle of the pad, and scale them to 200 of its pixels."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 200 / max(1, (high - low).max())  # a full stop is a single point
    middle = (low + high) / 2
    moved = [(stroke - middle) * scale + SIDE / 2 for stroke in strokes]
    return [[tuple(point) for point in stroke] for stroke in moved]


def place_among_its_kind(labels: Tensor) -> Tensor:
    """Return how many of the same label came before each: for 7, 3, 7, 7 it is 0, 0, 1, 2."""
    same = labels[:, None] == labels  # (N, N)
    earlier = same.tril(diagonal=-1)  # in row i only columns before i
    return earlier.sum(dim=1)  # (N,)
