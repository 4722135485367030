"""Notebook 03's loop, taken from its cell: an interrupt or a bad loss leaves the best weights."""

import math
import sys
import types

import processes
import pytest
import torch
from cells import source_of
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

import mnist_helpers
from checkpoints import load_checkpoint, save_checkpoint
from mnist_helpers import Network, accuracy, evaluate

LABELS = torch.tensor([0, 1, 2, 3])


class Batches(list):
    """A loader that hands out its batches, and raises or spoils one of them in a given epoch."""

    def __init__(self, fault=None, in_epoch=2, in_batch=3):
        images, labels = torch.rand(5, 32, 1, 28, 28), torch.randint(10, (5, 32))
        super().__init__(zip(images, labels, strict=True))
        self.fault, self.in_epoch, self.in_batch, self.epoch = fault, in_epoch, in_batch, 0
        self.dataset = range(160)

    def __iter__(self):
        self.epoch += 1
        for number, (images, labels) in enumerate(super().__iter__(), 1):
            if (self.epoch, number) == (self.in_epoch, self.in_batch):
                if self.fault is KeyboardInterrupt:
                    raise KeyboardInterrupt
                images = images * torch.nan
            yield images, labels


@pytest.fixture
def training(tmp_path):
    """What the training loop of notebook 03 works with, on a few random images."""
    model = Network()
    helper = types.SimpleNamespace(
        accuracy=accuracy,
        evaluate=evaluate,
        save_checkpoint=save_checkpoint,
        CHECKPOINT_DIR=tmp_path,
        CHECKPOINT_PATH=tmp_path / "weights.pth",
    )
    return {
        "sys": sys,
        "math": math,
        "torch": torch,
        "tqdm": tqdm,
        "display": lambda *shown, **options: None,
        "draw_curves": lambda: None,
        "mnist": helper,
        "device": "cpu",
        "num_epochs": 4,
        "num_train": 160,
        "train_loader": Batches(in_epoch=None),
        "val_loader": Batches(in_epoch=None),
        "model": model,
        "loss_fn": nn.NLLLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.0001),
        "train_losses": [],
        "val_losses": [],
        "val_accuracies": [],
    }


# Subnormal numbers --------------------------------------------------------------------------------

LINE = "torch.set_flush_denormal(True)"


@pytest.mark.parametrize(
    "code, is_set_in_time",
    [
        (source_of("03", LINE), True),
        (f"import runpy; runpy.run_path({processes.SCRIPT!r})", True),
        ("", False),
        (f"import torch; torch.ones(10_000_000).exp(); {LINE}", False),
    ],
    ids=["notebook 03", "the script", "not set", "too late"],
)
def test_no_number_in_adams_state_is_subnormal(code, is_set_in_time):
    """In a process of its own, with two threads: each gets the setting when it starts."""
    training = processes.start(processes.train_until_averages_are_tiny, code)
    training.join(timeout=60)
    num_subnormal = training.exitcode  # or 100, if there are more
    assert num_subnormal == (0 if is_set_in_time else 100)


# The loop -----------------------------------------------------------------------------------------


def run_loop(training):
    exec(source_of("03", "def train_epoch("), training)
    exec(source_of("03", "epoch in range(len(val_losses)"), training)


def lengths(training):
    return [len(training[name]) for name in ("train_losses", "val_losses", "val_accuracies")]


def test_after_an_interrupt_the_best_weights_are_there_and_the_loop_goes_on(training):
    training["train_loader"] = Batches(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_loop(training)
    assert lengths(training) == [1, 1, 1]
    load_checkpoint(Network(), training["mnist"].CHECKPOINT_PATH)
    exec(source_of("03", "best_epoch ="), training)
    run_loop(training)
    assert lengths(training) == [4, 4, 4] and training["epoch"] == 4


def test_an_interrupt_while_validating_keeps_the_lists_equally_long(training):
    class Interrupting(Batches):
        def __iter__(self):
            self.epoch += 1
            if self.epoch == 3:
                raise KeyboardInterrupt
            return list.__iter__(self)

    training["val_loader"] = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        run_loop(training)
    assert lengths(training) == [2, 2, 2]


def test_an_interrupt_while_saving_never_claims_what_is_not_on_disk(training):
    def interrupted_before(model, path):
        if path.exists():
            raise KeyboardInterrupt
        save_checkpoint(model, path)

    training["mnist"].save_checkpoint = interrupted_before
    training["mnist"].evaluate = lambda *_: (1 / (1 + len(training["val_losses"])), LABELS, LABELS)
    with pytest.raises(KeyboardInterrupt):  # in epoch 2, whose loss is lower
        run_loop(training)
    assert lengths(training) == [1, 1, 1]


def test_the_loop_run_again_does_not_replace_a_better_checkpoint(training):
    run_loop(training)
    before = training["mnist"].CHECKPOINT_PATH.read_bytes()
    training["num_epochs"] = 6
    training["mnist"].evaluate = lambda *_: (max(training["val_losses"]) + 1, LABELS, LABELS)
    run_loop(training)
    assert lengths(training) == [6, 6, 6]
    assert training["mnist"].CHECKPOINT_PATH.read_bytes() == before


def test_a_loss_that_is_not_finite_is_never_saved_and_a_cell_says_so(training, capsys):
    training["train_loader"] = Batches("NaN")
    run_loop(training)
    assert lengths(training) == [4, 4, 4] and math.isnan(training["val_losses"][-1])
    load_checkpoint(
        Network(), training["mnist"].CHECKPOINT_PATH
    )  # refuses values that are not finite
    exec(source_of("03", "best_epoch ="), training)
    exec(source_of("03", "healthy ="), training)
    assert "lower the learning rate" in capsys.readouterr().out


def test_starting_afresh_keeps_what_an_earlier_run_has_saved(training):
    path = training["mnist"].CHECKPOINT_PATH
    training["mnist"].make_loaders = lambda **_: (training["train_loader"],) * 3
    training["mnist"].Network = Network
    training["SEED"] = 0
    start_afresh = source_of("03", "num_epochs = 10")
    exec(start_afresh, training)  # the first run of all
    path.write_bytes(b"of an earlier run")
    for _ in range(2):  # the second time there is nothing to keep
        exec(start_afresh, training)
        assert path.with_name("MNIST_model_before.pth").read_bytes() == b"of an earlier run"
    assert not path.exists()


def test_the_cell_after_the_loop_says_what_to_do(training, capsys):
    after_the_loop = source_of("03", "best_epoch =")
    with pytest.raises(AssertionError, match="run the loop"):
        exec(after_the_loop, training)
    training |= {"train_losses": [0.5, 700.0], "val_losses": [0.5, 0.6]}
    training |= {"val_accuracies": [0.8, 0.9]}
    exec(after_the_loop, training)
    assert "epoch  1: validation loss 0.5000, accuracy 80.00%" in capsys.readouterr().out
    exec(source_of("03", "healthy ="), training)
    assert "learning rate" in capsys.readouterr().out


def test_a_loss_below_0_is_no_healthy_one(training, capsys):
    training |= {"train_losses": [-5.0], "val_losses": [-76_631.0], "val_accuracies": [0.5]}
    exec(source_of("03", "healthy ="), training)
    assert "log_softmax" in capsys.readouterr().out and not training["healthy"]


def test_curves_are_drawn_before_the_first_epoch_and_after_an_interrupt(training):
    scope = training | {"Figure": Figure, "mnist": mnist_helpers}
    exec(source_of("03", "def draw_curves("), scope)
    for losses in ([], [0.5], [0.5, math.nan, 0.4]):
        scope |= {"train_losses": losses, "val_losses": losses, "val_accuracies": losses}
        left, right = scope["draw_curves"]().axes
        curves = [line.get_ydata().tolist() for line in left.lines[:2]]
        assert len(curves[0]) == len(losses) and left.get_xlim() == right.get_xlim() == (0.5, 4.5)


# The full run -------------------------------------------------------------------------------------


@pytest.fixture
def full_run():
    """What the full run's functions work with, on a few random images."""
    images, labels = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))
    loader = mnist_helpers.batch_loader(TensorDataset(images, labels), 32)
    scope = {"sys": sys, "math": math, "torch": torch, "tqdm": tqdm, "mnist": mnist_helpers}
    scope |= {"device": "cpu", "loss_fn": nn.NLLLoss(), "train_loader": loader}
    scope |= {"val_loader": loader, "val_images": images, "val_labels": labels}
    exec(source_of("03", "def train_epoch("), scope)
    exec(source_of("03", "def fit("), scope)
    return scope


def test_the_full_run_measures_dropout_off_and_looks_at_the_best_of_ten_epochs(full_run):
    looked_at = []  # after how many epochs

    def look_at(model):
        looked_at.append(len(losses))
        return {"accuracy": len(losses)}

    losses = []
    evaluate_well = mnist_helpers.evaluate

    def evaluate(model, loader, loss_fn):
        found = evaluate_well(model, loader, loss_fn)
        losses.append(found[0])
        return found

    full_run["look_at"] = look_at
    full_run["mnist"] = types.SimpleNamespace(**vars(mnist_helpers) | {"evaluate": evaluate})
    history, looks = full_run["fit"](dropout=0.25, seed=0, num_epochs=12)
    assert {len(history[name]) for name in history} == {12}
    # Here both loaders hold the same images, and so do the two losses of an epoch.
    assert looks["train_losses"] == looks["val_losses"] == history["val_losses"] == losses[::2]
    best = losses[: 2 * 10 : 2].index(min(losses[: 2 * 10 : 2]))
    assert looks["kept"]["accuracy"] == 2 * best + 1 and looked_at[-1] == 24


def test_a_look_says_how_often_the_sure_are_right_and_who_changes_without_ten_units(full_run):
    model = Network()
    for layer in (model.hidden1, model.hidden2, model.output):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.ones_(model.hidden2.bias)  # each unit of the last hidden layer says 1
    full_run["val_labels"] = torch.tensor([3] * 48 + [4] * 16)
    for num_units, same in ((10, 0.0), (11, 1.0)):  # eleven: one of them is left
        with torch.no_grad():
            model.output.weight[3] = 0
            model.output.weight[3, :num_units] = 5.0 / num_units
            model.output.bias[7] = 0.2  # the digit 7, where nothing speaks for the 3
        look = full_run["look_at"](model.train())
        said = model.eval()(torch.rand(1, 1, 28, 28)).exp().max().item()
        assert look["same"] == same and look["right"] == look["accuracy"] == 0.75
        assert 0.9 < look["said"] < 0.99 and look["said"] == pytest.approx(said)
