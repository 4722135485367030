"""The loop on several processes: it learns what one process learns, and survives a killed one."""

import math
import os
import random
import re
import runpy
import shutil
import signal
import socket
import sys
from contextlib import suppress
from functools import cache

import processes
import pytest
import torch
import torch.distributed as dist
from processes import SCRIPT
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

import mnist_helpers
from checkpoints import ROOT, load_checkpoint, save_checkpoint
from mnist_helpers import Network, evaluate, make_loaders

LABELS = torch.tensor([0, 1, 2])
make_loaders_once = cache(make_loaders)
TWO_EPOCHS = ["--num-epochs=2", "--num-images=6400", "--batch-size=64"]  # of 100 steps each


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment_of(world_size):
    """What torchrun tells all processes."""
    return {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "CUDA_VISIBLE_DEVICES": "",  # one GPU is no place for two processes
    }


def train(folder, world_size, *arguments):
    """Train with several processes, as torchrun would start them; return what they saved."""
    together = environment_of(world_size)
    arguments = [*TWO_EPOCHS, f"--folder={folder}", *arguments]
    started = []
    for rank in range(world_size):
        environment = together | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(processes.start(processes.run_script, environment, arguments))
    for each in started:
        each.join(timeout=120)
    assert [each.exitcode for each in started] == [0] * world_size
    return saved_in(folder)


def saved_in(folder):
    best, last = Network(), Network()
    load_checkpoint(best, folder / "best.pth")
    return *load_checkpoint(last, folder / "training.pth")["losses"], best, last


@pytest.fixture(scope="module")
def expected():
    """The same two epochs written as a plain loop: losses of the 200 steps, validation losses."""
    train_loader, val_loader, _ = make_loaders()
    images, labels = train_loader.dataset.tensors
    torch.manual_seed(0)
    model, loss_fn = Network(), nn.NLLLoss()
    model.dropout.p = 0
    optimizer, losses, val_losses = torch.optim.Adam(model.parameters(), lr=0.001), [], []
    for epoch in (1, 2):
        order = torch.randperm(6_400, generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(64):
            loss = loss_fn(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        val_losses.append(evaluate(model, val_loader, loss_fn)[0])
    return losses, val_losses


@pytest.mark.parametrize("world_size", [1, 2])
def test_any_number_of_processes_has_the_losses_of_one_plain_loop(expected, tmp_path, world_size):
    losses, val_losses, _, last = train(tmp_path, world_size, "--dropout=0")
    assert len(losses) == 200 and losses[0] > 2
    assert losses == pytest.approx(expected[0], rel=1e-4)
    assert val_losses == pytest.approx(expected[1], rel=1e-4)
    # What is saved is what was trained: it has the loss of the last epoch.
    val_loss, _, _ = evaluate(last, make_loaders()[1], nn.NLLLoss())
    assert val_loss == pytest.approx(val_losses[-1], rel=1e-4)


def test_each_process_drops_other_units(tmp_path):
    """In the first step: its loss is the mean of two halves, each with a seed of its own."""
    losses, *_ = train(tmp_path, 2, "--num-epochs=1", "--num-images=64")
    train_set = make_loaders_once()[0].dataset
    torch.manual_seed(0)
    model = Network()
    halves = []
    for rank in (0, 1):
        sampler = DistributedSampler(range(64), num_replicas=2, rank=rank)
        sampler.set_epoch(1)
        torch.manual_seed(1 * 2 + rank)  # epoch × processes + rank: no two are the same
        for images, labels in DataLoader(train_set, 32, sampler=sampler):
            halves.append(nn.functional.nll_loss(model(images), labels).item())
    assert losses == pytest.approx([sum(halves) / 2], rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_worker_killed_at_a_random_step_changes_no_loss(tmp_path):
    """With dropout, so that the optimizer's and the random numbers' states count as well."""
    undisturbed = train(tmp_path / "undisturbed", 2)
    victim, step = random.choice("01"), random.randint(101, 200)  # in the second epoch
    arguments = ["--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "--max-restarts=1"]
    arguments += [f"{ROOT}/tests/kill_worker_once.py", f"{tmp_path}/flag", victim, str(step)]
    arguments += [SCRIPT, *TWO_EPOCHS, f"--folder={tmp_path}/killed"]
    agent = processes.start(processes.torchrun, tmp_path / "output", arguments)
    agent.join(timeout=120)
    with suppress(ProcessLookupError):
        os.killpg(agent.pid, signal.SIGKILL)
    output = (tmp_path / "output").read_text()
    said = f"killed worker {victim} after step {step}: {output}"
    assert agent.exitcode == 0 and (tmp_path / "flag").exists(), said
    assert output.count("epoch  1: ") == 1 == output.count("epoch  2: "), said
    assert output.count("goes on after epoch 1 in killed") == 2, said
    killed = saved_in(tmp_path / "killed")
    for those, these in zip(undisturbed[:2], killed[:2], strict=True):
        assert these == pytest.approx(those, rel=1e-5), said
    for those, these in zip(undisturbed[2:], killed[2:], strict=True):
        for name, tensor in those.state_dict().items():
            assert torch.allclose(these.state_dict()[name], tensor, atol=1e-6), said


def test_each_epoch_is_another_one_and_the_best_weights_stay(tmp_path):
    """Resumed for a third epoch, from weights that are said to be the best there were."""
    few = "--num-images=1920"  # 30 steps an epoch
    losses, val_losses, _, last = train(tmp_path, 2, few)
    saved = torch.load(tmp_path / "training.pth")
    del saved["model"]
    saved["losses"] = (losses, [0.0001, *val_losses[1:]])
    save_checkpoint(last, tmp_path / "training.pth", **saved)
    before = (tmp_path / "best.pth").read_bytes()
    more_losses, more_val_losses, _, _ = train(tmp_path, 1, few, "--num-epochs=3")
    assert more_losses[:60] == losses and len(more_losses) == 90
    assert len(more_val_losses) == 3 and max(more_losses[60:]) < losses[0] / 2
    assert (tmp_path / "best.pth").read_bytes() == before


# Bad input ----------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the script in this process, as one of many; return what it exits with."""

    def run(environment, *arguments, num_gpus=0):
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", [SCRIPT, f"--folder={tmp_path}", *arguments])
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(mnist_helpers, "make_loaders", make_loaders_once)
        with pytest.raises((SystemExit, ValueError)) as ended:
            runpy.run_path(SCRIPT, run_name="__main__")
        return str(ended.value)

    yield run
    if dist.is_initialized():
        dist.destroy_process_group()


def test_a_machine_that_stands_alone_is_not_asked_for_its_name():
    """Many MacBooks don't find their own, for which torchrun waits for minutes."""
    (path,) = (ROOT / "notebooks").glob("12_*.ipynb")
    said = re.findall("standalone(.*)", path.read_text(encoding="utf-8"))
    assert len(said) == 3 and all("--local-addr=127.0.0.1" in rest for rest in said)


def test_a_batch_that_the_processes_cannot_share_is_named(run):
    said = run({"RANK": 0, "WORLD_SIZE": 3}, "--batch-size=32")
    assert said == "3 processes can't share a batch of 32: see --batch-size"
    assert "64 processes can't share a batch of 32" in run({"WORLD_SIZE": 64}, "--batch-size=32")


def test_a_world_of_no_process_is_named(run):
    assert run({"WORLD_SIZE": 0}).startswith("WORLD_SIZE is 0: torchrun sets it")


def test_a_folder_that_cannot_be_used_is_named_before_the_first_epoch(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(mnist_helpers, "make_loaders", lambda **_: pytest.fail("it has begun"))
    said = run({}, f"--folder={tmp_path / 'file' / 'folder'}")
    assert "can't be used, see --folder" in said


def test_processes_that_were_started_with_different_recipes_are_named(tmp_path):
    together = environment_of(2)
    started = []
    for rank, dropout in enumerate((0.25, 0.5)):
        environment = together | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        arguments = [*TWO_EPOCHS, f"--folder={tmp_path}", f"--dropout={dropout}"]
        said = tmp_path / f"{rank}.txt"
        started.append(processes.start(processes.run_script, environment, arguments, said))
    for each in started:
        each.join(timeout=120)
    for rank in range(2):
        said = (tmp_path / f"{rank}.txt").read_text()
        assert said.startswith("process 1 was started with") and "0.5" in said and "0.25" in said
    assert not list(tmp_path.glob("*.pth"))


@pytest.fixture
def backends(monkeypatch):
    """What is asked for to send the numbers; nothing is sent."""
    backends = []

    def refuse(backend=None, **options):
        backends.append(backend)
        raise RuntimeError("enough")

    monkeypatch.setattr(dist, "init_process_group", refuse)
    return backends


def test_the_environment_variable_of_the_notebooks_chooses_the_device_here_too(
    run, backends, monkeypatch
):
    monkeypatch.setenv("MNIST_DEVICE", "cpu")
    run({}, num_gpus=1)
    assert backends == ["gloo"]
    monkeypatch.setenv("MNIST_DEVICE", "mps")
    assert "MNIST_DEVICE=mps: this script computes on cpu, or on cuda" in run({}, num_gpus=1)


def test_more_processes_than_gpus_are_named(run):
    together = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": 0}
    said = run(together, num_gpus=1)
    assert "more processes than the 1 GPUs: start fewer" in said
    assert "CUDA_VISIBLE_DEVICES=" in said


def test_a_port_in_use_is_named(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run({"WORLD_SIZE": 2, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    assert "process 0 of 2 can't join the others" in said
    assert f"port: {port}" in said and "address already in use" in said


def test_an_interrupted_training_can_be_started_again_in_the_same_process(
    run, tmp_path, monkeypatch
):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(mnist_helpers, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run({}, "--num-images=32")
    assert not dist.is_initialized()
    monkeypatch.setattr(
        sys, "argv", [SCRIPT, "--num-images=32", "--num-epochs=1", f"--folder={tmp_path}"]
    )
    runpy.run_path(SCRIPT, run_name="__main__")
    assert (tmp_path / "training.pth").is_file()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_left_alone_waits_for_as_long_as_it_was_told(run, rank):
    port = free_port()
    together = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    said = run(together | {"RANK": rank}, "--wait-seconds=1")
    assert f"process {rank} of 2 can't join the others" in said
    assert ("1/2 clients joined" if rank == 0 else str(port)) in said


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--num-images=16"], "16 images make no batch of 32: see --num-images"),
        (["--num-images=50000"], "there are only 48000 training images: see --num-images"),
        (["--batch-size=0"], "--batch-size: 0 is less than 1"),
        (["--num-epochs=-1"], "--num-epochs: -1 is less than 1"),
        (["--dropout=1"], "--dropout: 1 must be at least 0 and below 1"),
        (["--wait-seconds=99999999999"], "--wait-seconds: 99999999999 is more than a week"),
        (["--dropout=nan"], "--dropout: nan must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_before_anything_is_saved(
    run, tmp_path, capsys, arguments, reason
):
    said = run({}, *arguments)
    assert reason in said + capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def short_training(tmp_path_factory):
    """The folder of a training that has ended, after one epoch of one step."""
    folder = tmp_path_factory.mktemp("short")
    train(folder, 1, "--num-epochs=1", "--num-images=64")
    return folder


@pytest.mark.parametrize("other", ["--num-images=128", "--batch-size=32", "--dropout=0.5"])
def test_a_training_goes_on_only_with_the_recipe_that_it_began_with(
    tmp_path, run, short_training, other
):
    shutil.copytree(short_training, tmp_path, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    said = run({}, "--num-images=64", "--batch-size=64", other)
    option, value = other.split("=")
    assert f"training.pth was made with {option} " in said and f", not {value}: " in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_training_that_has_ended_says_so_and_changes_nothing(
    tmp_path, monkeypatch, capsys, short_training
):
    shutil.copytree(short_training, tmp_path, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--num-epochs=1", "--num-images=64", "--batch-size=64", f"--folder={tmp_path}"]
    monkeypatch.setattr(sys, "argv", [SCRIPT, *arguments])
    runpy.run_path(SCRIPT, run_name="__main__")
    assert f"has nothing to do: {tmp_path.name} has its 1 epochs already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("more", [{}, {"losses": ([], [])}])
def test_a_checkpoint_that_holds_no_training_is_named(run, tmp_path, more):
    save_checkpoint(Network(), tmp_path / "training.pth", **more)
    assert "training.pth holds no training to go on with" in run({})


def test_weights_that_are_no_use_to_go_on_with_are_not_saved(run, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_helpers, "evaluate", lambda *_: (math.nan, LABELS, LABELS))
    said = run({}, "--num-images=32")
    assert said == "epoch 1: the validation loss is nan, so nothing was saved"
    assert list(tmp_path.iterdir()) == []


def test_a_machine_whose_accelerator_is_not_used_sends_over_gloo(run, backends, monkeypatch):
    """As on a Mac, whose GPU would have PyTorch look for another way. Windows lacks NCCL."""
    run({})
    run({"WORLD_SIZE": 2})
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    run({}, num_gpus=1)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    run({}, num_gpus=1)
    assert backends == ["gloo", "gloo", "gloo", "nccl"]


def test_a_missing_address_is_named(run, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert "MASTER_ADDR expected, but not set" in run({"WORLD_SIZE": 2, "RANK": 0})


def test_a_damaged_checkpoint_is_named_and_left_as_it_is(run, tmp_path):
    path = tmp_path / "training.pth"
    save_checkpoint(Network(), path, optimizer={}, losses=([], []))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    said = run({})
    assert f"{path} is damaged" in said and "Bad CRC-32" in said
    assert path.read_bytes() == damaged and list(tmp_path.iterdir()) == [path]
