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
        "display": lambda *shown, **options: types.SimpleNamespace(update=lambda figure: None),
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
    exec(source_of("03", "def keep_earlier_run("), training)
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
    train_set, val_set = (
        TensorDataset(torch.rand(number, 1, 28, 28), torch.randint(10, (number,)))
        for number in (96, 64)
    )
    scope = {"sys": sys, "math": math, "torch": torch, "tqdm": tqdm, "mnist": mnist_helpers}
    scope |= {"device": "cpu", "loss_fn": nn.NLLLoss()}
    scope["train_loader"] = mnist_helpers.batch_loader(train_set, 32)
    scope["val_loader"] = mnist_helpers.batch_loader(val_set, 32)
    scope["val_images"], scope["val_labels"] = val_set.tensors
    exec(source_of("03", "def train_epoch("), scope)
    exec(source_of("03", "def fit("), scope)
    return scope


def test_the_full_run_measures_both_sets_with_dropout_off_and_keeps_the_best_of_ten(full_run):
    losses = {"train_loader": [], "val_loader": []}  # with dropout off
    of_epochs = iter([0.9, 0.5, 0.3, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2])

    def evaluate_as_told(model, loader, loss_fn):
        (name,) = (name for name in losses if loader is full_run[name])
        loss, predicted, labels = evaluate(model, loader, loss_fn)
        losses[name].append(loss if name == "train_loader" else next(of_epochs))
        return losses[name][-1], predicted, labels

    helper = types.SimpleNamespace(**vars(mnist_helpers) | {"evaluate": evaluate_as_told})
    full_run |= {"mnist": helper, "measure_certainty": lambda model: len(losses["val_loader"])}
    scope = full_run
    exec(source_of("03", "def fit(").split("@torch.no_grad()")[0], scope)
    run = scope["fit"](dropout=0.25, seed=0, num_epochs=12)
    assert run["train_losses"] == losses["train_loader"] and len(run["train_losses"]) == 12
    assert run["val_losses"] == losses["val_loader"] and len(run["val_accuracies"]) == 12
    assert run["kept"] == 3 and run["last"] == 12  # the lowest of all comes after the tenth


def test_certainty_is_measured_where_it_says_90_to_99_percent_and_without_ten_units(full_run):
    model = Network()
    for layer in (model.hidden1, model.hidden2, model.output):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    images = torch.zeros(64, 1, 28, 28)
    images[32:, 0, 0, 0] = 1  # of these images it will be surer
    full_run["val_images"], full_run["val_labels"] = images, torch.tensor([4] * 8 + [3] * 56)
    with torch.no_grad():
        model.hidden2.bias[:20] = 1  # twenty units of the last hidden layer always say 1
        model.hidden1.weight[0, 0] = model.hidden2.weight[20, 0] = 1  # another says the first pixel
        model.output.weight[3, 20] = 5
        model.output.bias[7] = 0.2  # the digit 7, where nothing speaks for the 3
    for num_units, changed in ((10, 0.5), (11, 0.0)):  # which speak for the 3
        with torch.no_grad():
            model.output.weight[3, :20] = 0
            model.output.weight[3, :num_units] = 5.0 / num_units
        found = full_run["measure_certainty"](model.train())
        said = model.eval()(images).exp().amax(dim=1)
        assert 0.9 < said[0] < 0.99 < said[32] and found["said"] == pytest.approx(
            said.mean().item()
        )
        assert found["right"] == 56 / 64 and found["changed"] == changed
        assert found["number_between"] == 32 and found["right_between"] == 24 / 32
