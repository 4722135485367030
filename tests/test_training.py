"""The trainer that notebook 06 builds: it does what the recipe says, and keeps the best weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import training
from mnist_helpers import Network, accuracy, batch_loader, evaluate
from training import (
    Epoch,
    Recipe,
    best_epoch,
    best_epochs,
    fit,
    mean_accuracy_and_loss,
    seconds_of_an_epoch,
    set_up,
    take_turns,
    train_epoch,
)

SMALL = Recipe(num_epochs=3)


@pytest.fixture(scope="module")
def train_set(loaders):
    return TensorDataset(*loaders[0].dataset[:200])  # the last of seven batches has 8 images


@pytest.fixture(scope="module")
def val_loader(loaders):
    return batch_loader(TensorDataset(*loaders[1].dataset[:500]), 500)


def test_the_default_is_the_recipe_of_notebook_03(train_set, val_loader):
    """Its loop, written out for one epoch."""
    _, (epoch,) = fit(replace(SMALL, num_epochs=1), 5, train_set, val_loader)
    torch.manual_seed(5)
    model, loss_sum = Network(), 0.0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    model.train()
    for images, labels in batch_loader(train_set, 32, torch.Generator().manual_seed(5)):
        loss = nn.functional.nll_loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
    val_loss, _, _ = evaluate(model, val_loader, nn.NLLLoss())
    assert epoch.train_loss == pytest.approx(loss_sum / 200, rel=1e-6)
    assert epoch.val_loss == pytest.approx(val_loss, rel=1e-5)
    assert Recipe().num_epochs == 10 and Recipe().augment is None


def test_the_same_seed_gives_the_same_network_and_the_same_order(train_set, val_loader):
    for recipe in (SMALL, replace(SMALL, one_cycle=True, dropout=0.1, weight_decay=0.1)):
        model, history = fit(recipe, 1, train_set, val_loader)
        again, history_again = fit(recipe, 1, train_set, val_loader)
        assert [epoch[1:] for epoch in history] == [epoch[1:] for epoch in history_again]
        pairs = zip(model.parameters(), again.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
    orders = []
    for recipe in (SMALL, replace(SMALL, dropout=0.0, one_cycle=True)):
        _, loader, _, _ = set_up(recipe, 1, train_set)
        torch.rand(1 + len(orders))  # the order doesn't depend on what else is drawn
        orders.append(torch.cat([labels for _ in range(2) for _, labels in loader]))
    assert torch.equal(*orders) and not torch.equal(orders[0][:200], orders[0][200:])


def test_what_is_kept_has_the_lowest_validation_loss_of_all_epochs(train_set, val_loader):
    recipe = replace(SMALL, max_lr=0.01, num_epochs=8)  # a rate at which the loss leaps
    model, history = fit(recipe, 0, train_set, val_loader)
    losses = [epoch.val_loss for epoch in history]
    assert min(losses) < losses[-1] and best_epoch(history).val_loss == min(losses)
    loss, predicted, labels = evaluate(model, val_loader, nn.NLLLoss())
    assert loss == min(losses)
    assert best_epoch(history).val_accuracy == accuracy(predicted, labels)


def test_the_best_epoch_is_that_of_the_lowest_loss_whatever_its_accuracy():
    surest, most_right = Epoch(1.0, 0.1, 0.20, 0.97), Epoch(2.0, 0.1, 0.21, 0.98)
    assert best_epoch([surest, most_right]) is surest is best_epoch([most_right, surest])


def test_a_recipe_decides_dropout_decay_batches_and_network(train_set):
    class Other(Network):
        pass

    recipe = Recipe(batch_size=64, max_lr=0.003, dropout=0.5, weight_decay=0.2, network=Other)
    model, loader, optimizer, schedule = set_up(recipe, 0, train_set)
    assert isinstance(model, Other) and model.dropout.p == 0.5 and schedule is None
    assert [len(labels) for _, labels in loader] == [64, 64, 64, 8]
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.003 and group["weight_decay"] == 0.2 and group["fused"]


def test_the_one_cycle_schedule_rises_to_the_peak_and_ends_near_0(train_set, val_loader):
    recipe = replace(SMALL, one_cycle=True, max_lr=0.02)
    model, loader, optimizer, schedule = set_up(recipe, 0, train_set)
    rates = []

    class Watched(list):
        def __iter__(self):
            for batch in loader:
                rates.append(optimizer.param_groups[0]["lr"])
                yield batch

    for _ in range(recipe.num_epochs):
        train_epoch(model, Watched(), nn.NLLLoss(), optimizer, schedule)
    assert len(rates) == 21 and max(rates) == pytest.approx(0.02, rel=0.02)
    assert rates[0] < 0.001 and rates[-1] < 0.001 and 4 <= rates.index(max(rates)) <= 7


def test_only_training_images_are_augmented(train_set, val_loader):
    seen = []
    recipe = replace(SMALL, num_epochs=2, augment=lambda images: seen.append(len(images)) or images)
    _, history = fit(recipe, 0, train_set, val_loader)
    assert seen == 2 * [32, 32, 32, 32, 32, 32, 8]
    _, as_they_are = fit(replace(SMALL, num_epochs=2), 0, train_set, val_loader)
    assert [epoch[1:] for epoch in history] == [epoch[1:] for epoch in as_they_are]
    blank = replace(recipe, augment=torch.zeros_like)
    assert fit(blank, 0, train_set, val_loader)[1][-1].train_loss > history[-1].train_loss + 0.3


def test_a_training_that_fails_gives_no_weights(train_set, val_loader):
    recipe = replace(SMALL, augment=lambda images: images * torch.nan)
    with pytest.raises(ValueError, match="epoch 1: the loss is nan"):
        fit(recipe, 0, train_set, val_loader)


def test_a_loader_that_is_empty_is_named():
    model = Network()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match="no images to train with"):
        train_epoch(model, iter([]), nn.NLLLoss(), optimizer)


def test_the_clock_leaves_validation_out(train_set, val_loader, monkeypatch):
    now = [0.0]

    def slow(*arguments):
        now[0] += 100
        return evaluate(*arguments)

    def train(*_):
        now[0] += 1
        return 0.5

    monkeypatch.setattr(training, "clock", lambda device: now[0])
    monkeypatch.setattr(training, "evaluate", slow)
    monkeypatch.setattr(training, "train_epoch", train)
    _, history = fit(SMALL, 0, train_set, val_loader)
    assert [epoch.seconds for epoch in history] == [1, 2, 3]


def test_contenders_take_turns():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    times = take_turns(contenders, num_rounds=2)
    assert "".join(calls) == "abcabc" and times == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}


def test_a_recipe_is_followed_with_each_seed_and_the_best_epoch_counts(monkeypatch):
    def fake_fit(recipe, seed, train_set, val_loader):
        losses = [0.3, recipe.max_lr * seed, 0.4]
        return None, [Epoch(0.0, 0.0, loss, 1 - loss) for loss in losses]

    monkeypatch.setattr(training, "fit", fake_fit)
    found = best_epochs(replace(SMALL, max_lr=0.02), [1, 5], None, None)
    assert [epoch.val_loss for epoch in found] == [0.02, 0.1]
    assert mean_accuracy_and_loss(found) == pytest.approx((0.94, 0.06))


def test_an_epoch_is_timed_by_a_new_network_each_time(train_set, val_loader, monkeypatch):
    trained = []

    def fake_fit(recipe, seed, *_):
        trained.append((recipe.num_epochs, seed))
        return None, [Epoch(2.5, 0.0, 0.0, 0.0)]

    monkeypatch.setattr(training, "fit", fake_fit)
    assert seconds_of_an_epoch(SMALL, train_set, val_loader) == 2.5 and trained == [(1, 0)]
