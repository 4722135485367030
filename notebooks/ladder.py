"""Notebook 11's ladder: a training step in six ways, the floor below them, and how to time each."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

import mnist_helpers as mnist
from training import clock, train_epoch

SEED = 0
WARM_UP = 10  # steps that aren't timed: the first ones are often slower


class Rung(NamedTuple):
    """A way to take a training step."""

    change: str  # from the rung before
    is_flushed: bool  # numbers that are almost 0 count as 0
    data: str  # as make_loader takes it
    fused: bool | None  # Adam; None is PyTorch's default
    reads_every_loss: bool


RUNGS = {
    "rung 0": Rung("as everyone writes it", False, "one by one", None, True),
    "rung 1": Rung("subnormals flushed", True, "one by one", None, True),
    "rung 2": Rung("images converted once", True, "converted", None, True),
    "rung 3": Rung("batched fetch", True, "batched", None, True),
    "rung 4": Rung("fused Adam", True, "batched", True, True),
    "rung 5": Rung("loss read once", True, "batched", True, False),
}


def make_loader(data: str, device: torch.device) -> DataLoader:
    """Return a loader of notebook 03's training images: the same images, in the same order."""
    generator = torch.Generator().manual_seed(SEED)
    if data == "one by one":
        from torchvision.transforms import ToTensor  # here, as it takes two seconds

        images = mnist.load_mnist(train=True)
        images.transform = ToTensor()
        order = torch.randperm(60_000, generator=torch.Generator().manual_seed(SEED))
        pairs = Subset(images, order[12_000:].tolist())  # as make_loaders splits them
        return DataLoader(pairs, 32, shuffle=True, generator=generator)
    train_set = mnist.make_loaders(seed=SEED, device=device)[0].dataset
    if data == "converted":
        images, labels = train_set.tensors
        pairs = list(zip(images.cpu(), labels.cpu(), strict=True))
        return DataLoader(pairs, 32, shuffle=True, generator=generator)
    return mnist.batch_loader(train_set, 32, generator)


def endless(loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Give batches on the device, epoch after epoch."""
    for _ in itertools.count():
        for images, labels in loader:
            yield images.to(device), labels.to(device)


class Trainee:
    """A new network that is trained as a rung says."""

    def __init__(self, rung: Rung, device: torch.device):
        self.rung = rung
        self.batches = endless(make_loader(rung.data, device), device)
        torch.manual_seed(SEED)
        self.model = mnist.Network().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001, fused=rung.fused)
        self.losses = []

    def loss(self, log_probs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, and note it. To read it, a GPU has to finish all its work first."""
        loss = nn.functional.nll_loss(log_probs, labels)
        self.losses.append(loss.item() if self.rung.reads_every_loss else loss.detach())
        return loss

    def train(self, num_steps: int) -> None:
        batches = itertools.islice(self.batches, num_steps)
        train_epoch(self.model, batches, self.loss, self.optimizer)


class Floor:
    """Eight matrix products of the right shapes, and Adam's update: what no step can do without."""

    def __init__(self, device: torch.device):
        products = []  # pairs of matrices
        model = mnist.Network().to(device)
        for layer in (model.hidden1, model.hidden2, model.output):
            weights = layer.weight.detach()
            x = torch.randn(32, layer.in_features, device=device)
            error = torch.randn(32, layer.out_features, device=device)
            products.append((x, weights.T))  # forward
            products.append((error.T, x))  # the gradients of the weights
            if layer is not model.hidden1:  # the images need no gradient
                products.append((error, weights))  # the error of the layer below
        self.products = [(a, b, torch.empty_like(a @ b)) for a, b in products]  # and the result
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)

    def train(self, num_steps: int) -> None:
        for _ in range(num_steps):
            for a, b, out in self.products:
                torch.mm(a, b, out=out)
            self.optimizer.step()


def time_a_step(name: str, num_steps: int) -> float:
    """Return milliseconds a step of a rung, or of the floor. To be called in a new process."""
    is_flushed = name == "floor" or RUNGS[name].is_flushed
    torch.set_flush_denormal(is_flushed)  # before PyTorch starts its threads
    device = mnist.pick_device()
    contender = Floor(device) if name == "floor" else Trainee(RUNGS[name], device)
    contender.train(WARM_UP)
    start = clock(device)
    contender.train(num_steps)
    return (clock(device) - start) / num_steps * 1000
