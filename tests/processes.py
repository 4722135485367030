"""Other processes, for tests that kill them or let them work together, and what they do.

All are forked from one process that has imported what they need, so that each starts at once.
"""

import os
import runpy
import signal
import sys
import time
from functools import cache
from io import FileIO
from multiprocessing import get_context, set_forkserver_preload
from pathlib import Path

import torch
from torch import nn

import checkpoints
import mnist_helpers
from checkpoints import ROOT, save_checkpoint
from handwriting.examples import Examples
from mnist_helpers import Network, load_mnist, read_mnist

SCRIPT = str(ROOT / "notebooks" / "train_distributed.py")


@cache
def server():
    """Start the process that all others are forked from, and wait for its imports.

    Under Windows nothing can be forked: there each process imports what it needs.
    """
    if os.name == "nt":
        return get_context("spawn")
    context = get_context("forkserver")
    # torchvision reads the data, and loads most of what PyTorch's optimizers need.
    context.set_forkserver_preload(["processes", "torchvision.datasets"])
    first = context.Process(target=time.sleep, args=(0,))
    first.start()
    first.join()
    return context


def start(target, *args):
    process = server().Process(target=target, args=args)
    process.start()
    return process


# Data ---------------------------------------------------------------------------------------------


def load_in(folder: Path) -> None:
    """Load both parts from a data folder, the second without torchvision."""
    mnist_helpers.DATA_DIR = folder
    assert load_mnist(train=True).data.shape == (60_000, 28, 28)
    pixels, labels = read_mnist(train=False)
    assert pixels.shape == (10_000, 28, 28) and labels.shape == (10_000,)


def load_as_nobody(folder: Path) -> None:
    load_in(folder)  # imports what it needs, which "nobody" may not be allowed to read
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # nothing is read-only to root
        os.setuid(65534)
    assert not os.access(folder, os.W_OK)
    load_in(folder)


# Checkpoints --------------------------------------------------------------------------------------


def constant_network(value: float) -> Network:
    """Return a network whose weights all have this value."""
    model = Network()
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


def save_often(path: Path, value: float, times: int) -> None:
    model = constant_network(value)
    for _ in range(times):
        save_checkpoint(model, path)


def save_and_be_killed(path: Path, step: str) -> None:
    """Save a network of ones, and be killed by SIGKILL before a step of it, or in its midst."""

    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    class HalfWritten(FileIO):
        def write(self, content):
            super().write(content[: len(content) // 2])
            kill()

    if step == "write":
        checkpoints.open = HalfWritten
    elif step == "unlink":
        Path.unlink = kill
    else:
        setattr(os, step, kill)
    save_often(path, 1.0, times=1)


def add_often(path: Path, label: int, times: int) -> None:
    """Keep so many drawings, one after the other."""
    for _ in range(times):
        Examples(path).add([torch.zeros(1, 28, 28)], [label])


# Training -----------------------------------------------------------------------------------------


def train_until_averages_are_tiny(code: str) -> None:
    """Run code, train, and exit with the number of subnormal averages of Adam's, at most 100.

    Averages become so small in some 800 steps. Here they begin at a 1e-34th of what they would be.
    """
    torch.set_num_threads(2)
    exec(code, {})
    blank, label = torch.zeros(1, 1, 28, 28), torch.tensor([3])
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    for step in range(100):  # one image of ink, and then none: the gradients of its weights are 0
        images = torch.ones_like(blank) if step == 0 else blank
        loss = nn.functional.nll_loss(model(images), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0:
            optimizer.state[model.hidden1.weight]["exp_avg"] *= 1e-34
    averages = optimizer.state[model.hidden1.weight]["exp_avg"].abs()
    smallest_normal = torch.finfo(torch.float32).tiny
    is_subnormal = (averages > 0) & (averages < smallest_normal)
    sys.exit(min(100, is_subnormal.sum().item()))


# Training together --------------------------------------------------------------------------------


def run_script(environment: dict, arguments: list[str], said: Path | None = None) -> None:
    """Run it in this process; what it says when it exits may go to a file."""
    os.environ |= environment
    sys.argv = [SCRIPT, *arguments]
    try:
        runpy.run_path(SCRIPT, run_name="__main__")
    except SystemExit as exit:
        if said is not None:
            said.write_text(str(exit.code))
        raise


def torchrun(output: Path, arguments: list[str]) -> None:
    """What the command torchrun does, but its workers too are forked from a process that is ready.

    This one is the leader of a process group, so that nothing it has started outlives the test.
    """
    from torch.distributed import run  # only a slow test needs it

    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    # Workers that are started anew must not read from the store where to find the old ones.
    os.environ |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "CUDA_VISIBLE_DEVICES": ""}
    set_forkserver_preload(["processes", "torchvision.datasets"])
    run.main(["--run-path", "--start-method=forkserver", *arguments])
