"""The trainer that notebook 06 builds: augmentation, recipes, the loop, and how to compare them.

The loop itself is explained in notebook 03, where it stands for one recipe.
"""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import mean
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.types import Device
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from mnist_helpers import Network, accuracy, batch_loader, evaluate

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


# Training -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. What isn't named is as in notebook 03."""

    num_epochs: int = 10
    batch_size: int = 32
    max_lr: float = 0.001  # the learning rate, or its peak under the one-cycle schedule
    one_cycle: bool = False
    dropout: float = 0.25
    weight_decay: float = 0.0
    augment: Callable[[Tensor], Tensor] | None = None  # what is done to each batch of images
    network: Callable[[], nn.Module] = Network  # makes a new network


class Epoch(NamedTuple):
    """What is measured after an epoch."""

    seconds: float  # of training since the start, without validation
    train_loss: float
    val_loss: float
    val_accuracy: float


def set_up(
    recipe: Recipe, seed: int, train_set: TensorDataset
) -> tuple[nn.Module, DataLoader, Optimizer, LRScheduler | None]:
    """Return a network, a loader, an optimizer and a schedule, as a recipe says, from one seed.

    The order of the images depends on the seed alone, so all recipes get the same.
    """
    torch.manual_seed(seed)
    model = recipe.network().to(train_set.tensors[0].device)
    model.dropout.p = recipe.dropout
    order = torch.Generator().manual_seed(seed)
    loader = batch_loader(train_set, recipe.batch_size, order)
    optimizer = AdamW(  # without weight decay it is notebook 03's Adam
        model.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = None
    if recipe.one_cycle:
        total_steps = recipe.num_epochs * len(loader)
        schedule = OneCycleLR(optimizer, recipe.max_lr, total_steps=total_steps)
    return model, loader, optimizer, schedule


def train_epoch(
    model: nn.Module,
    batches: Iterable,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    schedule: LRScheduler | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Take a step for each batch of images and labels; return the mean loss over the images.

    Raises:
        ValueError: there are no batches.
    """
    model.train()  # dropout on
    loss_sum, num_images = 0.0, 0
    for images, labels in batches:
        if augment is not None:
            images = augment(images)
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        loss_sum += loss.detach() * len(images)
        num_images += len(images)
    if num_images == 0:
        raise ValueError(
            "there are no images to train with: a generator gives its batches only once"
        )
    return loss_sum.item() / num_images


def clock(device: Device) -> float:
    """Return the time in seconds, once the device has done all that it was given."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def best_epoch(history: list[Epoch]) -> Epoch:
    """Return the epoch with the lowest validation loss: its weights are kept."""
    return min(history, key=lambda epoch: epoch.val_loss)


def fit(
    recipe: Recipe, seed: int, train_set: TensorDataset, val_loader: DataLoader
) -> tuple[nn.Module, list[Epoch]]:
    """Train a new network; return it with the weights of its best epoch, and all its epochs.

    Raises:
        ValueError: a validation loss is not finite.
    """
    model, loader, optimizer, schedule = set_up(recipe, seed, train_set)
    loss_fn = nn.NLLLoss()
    device = train_set.tensors[0].device
    seconds = 0.0
    history, weights = [], None
    for _ in tqdm(range(recipe.num_epochs), f"seed {seed}", file=sys.stdout, leave=False):
        start = clock(device)
        train_loss = train_epoch(model, loader, loss_fn, optimizer, schedule, recipe.augment)
        seconds += clock(device) - start
        val_loss, predicted, labels = evaluate(model, val_loader, loss_fn)  # dropout off
        history.append(Epoch(seconds, train_loss, val_loss, accuracy(predicted, labels)))
        if not math.isfinite(val_loss):  # such weights would be no use
            raise ValueError(f"epoch {len(history)}: the loss is {val_loss}; lower the rate?")
        if history[-1] is best_epoch(history):
            weights = copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return model, history


def best_epochs(
    recipe: Recipe, seeds: Iterable[int], train_set: TensorDataset, val_loader: DataLoader
) -> list[Epoch]:
    """Follow a recipe with each seed; return the best epoch of each."""
    return [best_epoch(fit(recipe, seed, train_set, val_loader)[1]) for seed in seeds]


def mean_accuracy_and_loss(runs: Iterable[Iterable[float]]) -> tuple[float, float]:
    """Return the mean accuracy and the mean loss of stored epochs, one for each seed."""
    epochs = [Epoch(*values) for values in runs]
    return mean(e.val_accuracy for e in epochs), mean(e.val_loss for e in epochs)


def seconds_of_an_epoch(recipe: Recipe, train_set: TensorDataset, val_loader: DataLoader) -> float:
    """Return how long a new network takes for its first epoch."""
    _, (epoch,) = fit(replace(recipe, num_epochs=1), 0, train_set, val_loader)
    return epoch.seconds


def take_turns(
    contenders: dict[str, Callable[[], float]], num_rounds: int
) -> dict[str, list[float]]:
    """Call all contenders one after the other, then all of them again; return what each returned.

    A moment in which the machine is busy slows one turn of each then, and not all turns of one.
    """
    times = {name: [] for name in contenders}
    for _ in range(num_rounds):
        for name, run in contenders.items():
            times[name].append(run())
    return times
