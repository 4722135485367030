"""The contenders of notebook 05. Each is timed in a process of its own:

    python ladder.py "rung 0"

loads the data and says "ready". Then, for every line that comes in, it warms up, trains NUM_STEPS
steps, and prints the time of one in milliseconds. It goes on with the same network in every turn.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import ToTensor

from mnist_helpers import FastDropout, Network, load_mnist, make_loaders, pick_device

NUM_STEPS = int(os.environ.get("NUM_STEPS", 100))  # `make bench` takes more
WARM_UP = 30  # steps before the clock starts
SEED = 0
device = pick_device()


def clock() -> float:
    """Return the time in seconds, once the device has finished what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def naive_loader() -> DataLoader:
    """Fetch and transform one image after the other, in the order of the helper's loader."""
    mnist = load_mnist(train=True)
    mnist.transform = ToTensor()  # of each image, whenever it is fetched
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(mnist), generator=generator).tolist()
    train = Subset(mnist, order[12_000:])  # the first 12,000 are for validation
    return DataLoader(train, batch_size=32, shuffle=True, generator=generator)


def scaled_loader() -> DataLoader:
    """Fetch one image after the other, all of them scaled beforehand."""
    batched = batched_loader()
    images, labels = batched.dataset.tensors
    pairs = list(zip(images.cpu(), labels.cpu(), strict=True))
    return DataLoader(pairs, batch_size=32, shuffle=True, generator=batched.generator)


def batched_loader() -> DataLoader:
    """Fetch a batch at a time: the helper's training loader."""
    return make_loaders(seed=SEED, device=device)[0]


def train(loader, model, optimizer, read_every_loss: bool, num_steps: int) -> Tensor:
    """Train for some steps and return the loss of each."""
    loss_fn = nn.NLLLoss()
    losses = []
    for images, labels in islice(loader, num_steps):
        loss = loss_fn(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() if read_every_loss else loss.detach())
    return torch.tensor(losses) if read_every_loss else torch.stack(losses).cpu()


def make_rung(
    make_loader: Callable[[], DataLoader],
    fused: bool,
    read_every_loss: bool,
    dropout: nn.Module,
    flush: bool,
    precision: str,
) -> tuple:
    """Return the arguments of ``train`` for one rung, with fresh weights."""
    torch.set_flush_denormal(flush)  # first: the threads that PyTorch starts inherit it
    torch.set_float32_matmul_precision(precision)
    torch.manual_seed(SEED)
    model = Network().to(device)
    model.dropout = dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=fused)
    return make_loader(), model, optimizer, read_every_loss


RUNGS = {  # loader, fused Adam, read every loss, dropout, flush tiny numbers, products' precision
    "rung 0": (naive_loader, False, True, nn.Dropout(0.25), False, "highest"),
    "rung 1": (scaled_loader, False, True, nn.Dropout(0.25), False, "highest"),
    "rung 2": (batched_loader, False, True, nn.Dropout(0.25), False, "highest"),
    "rung 3": (batched_loader, True, True, nn.Dropout(0.25), False, "highest"),
    "rung 4": (batched_loader, True, False, nn.Dropout(0.25), False, "highest"),
    "rung 5": (batched_loader, True, False, FastDropout(0.25), False, "highest"),
    "rung 6": (batched_loader, True, False, FastDropout(0.25), True, "highest"),
    "rung 7": (batched_loader, True, False, FastDropout(0.25), True, "medium"),
}
TRIALS = {  # variants of rung 7
    "no dropout": (batched_loader, True, False, nn.Identity(), True, "medium"),
    "one thread": RUNGS["rung 7"],
    "ReLU in place": RUNGS["rung 7"],
    "gradients kept": RUNGS["rung 7"],
}


class Floor:
    """The step's eight matrix products, replayed alone, and one pass of fused Adam."""

    def __init__(self):
        torch.set_float32_matmul_precision("medium")  # as at the top of the ladder
        model = Network().to(device)
        self.adam = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
        self.products = []
        for layer in (model.hidden1, model.hidden2, model.output):
            n_out, n_in = layer.weight.shape
            x, grad = torch.randn(32, n_in, device=device), torch.randn(32, n_out, device=device)
            weight = layer.weight.detach().clone()
            self.multiply(x, weight.T)  # forward
            self.multiply(grad.T, x)  # gradient of the weights
            if layer is not model.hidden1:
                self.multiply(grad, weight)  # gradient of the layer's input
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)

    def multiply(self, a: Tensor, b: Tensor) -> None:
        self.products.append((a, b, torch.empty(a.shape[0], b.shape[1], device=device)))

    def __call__(self, num_steps: int) -> None:
        for _ in range(num_steps):
            for a, b, out in self.products:
                torch.mm(a, b, out=out)
            self.adam.step()


def contender(name: str):
    """Return the function that trains a number of steps in the way that ``name`` says."""
    if name == "floor":
        return Floor()
    if name == "one thread":
        torch.set_num_threads(1)
    if name == "ReLU in place":
        nn.functional.relu = torch.relu_
    rung = make_rung(*(RUNGS | TRIALS)[name])
    if name == "gradients kept":
        optimizer = rung[2]
        optimizer.zero_grad = partial(optimizer.zero_grad, set_to_none=False)
    return lambda num_steps: train(*rung, num_steps)


if __name__ == "__main__":
    run = contender(sys.argv[1])
    print("ready", flush=True)
    for _ in sys.stdin:
        run(WARM_UP)
        start = clock()
        run(NUM_STEPS)
        print((clock() - start) / NUM_STEPS * 1000, flush=True)
