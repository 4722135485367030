"""The trainer that notebook 06 builds: it does what the recipe says, and keeps the best weights."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import mnist_helpers
import training
from mnist_helpers import Network, about_run, batch_loader, evaluate, store_results, stored_results
from training import Epoch, Recipe, fit, fresh, kept, take_turns, train_epoch

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
        _, loader, _, _ = fresh(recipe, 1, train_set)
        torch.rand(1 + len(orders))  # the order doesn't depend on what else is drawn
        orders.append(torch.cat([labels for _ in range(2) for _, labels in loader]))
    assert torch.equal(*orders) and not torch.equal(orders[0][:200], orders[0][200:])


def test_what_is_kept_has_the_lowest_validation_loss_of_all_epochs(train_set, val_loader):
    recipe = replace(SMALL, max_lr=0.01, num_epochs=8)  # a rate at which the loss leaps
    model, history = fit(recipe, 0, train_set, val_loader)
    losses = [epoch.val_loss for epoch in history]
    assert min(losses) < losses[-1] and kept(history).val_loss == min(losses)
    loss, predicted, labels = evaluate(model, val_loader, nn.NLLLoss())
    assert loss == min(losses)
    assert kept(history).val_accuracy == (predicted == labels).float().mean().item()


def test_a_recipe_decides_dropout_decay_batches_and_network(train_set):
    class Other(Network):
        pass

    recipe = Recipe(batch_size=64, max_lr=0.003, dropout=0.5, weight_decay=0.2, network=Other)
    model, loader, optimizer, schedule = fresh(recipe, 0, train_set)
    assert isinstance(model, Other) and model.dropout.p == 0.5 and schedule is None
    assert [len(labels) for _, labels in loader] == [64, 64, 64, 8]
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.003 and group["weight_decay"] == 0.2 and group["fused"]


def test_the_one_cycle_schedule_rises_to_the_peak_and_ends_near_0(train_set, val_loader):
    recipe = replace(SMALL, one_cycle=True, max_lr=0.02)
    model, loader, optimizer, schedule = fresh(recipe, 0, train_set)
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


# Stored results -----------------------------------------------------------------------------------


def test_results_come_back_as_they_were_with_day_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_helpers, "ROOT", tmp_path)
    found = {"runs": {"a": [Epoch(1.0, 0.5, 0.25, 0.875)]}, "test": [0.1, 0.2]}
    store_results("06", found)
    stored = stored_results("06")
    assert Epoch(*stored["runs"]["a"][0]) == found["runs"]["a"][0] and stored["test"] == [0.1, 0.2]
    assert stored["threads"] == torch.get_num_threads() and stored["processor"]
    assert stored["date"] in about_run(stored) and stored["pytorch"] in about_run(stored)
    store_results("06", stored | {"test": [], "date": "long ago"})
    assert stored_results("06")["test"] == [] and stored_results("06")["date"] == stored["date"]
    text = (tmp_path / "results" / "06.json").read_text()
    assert json.loads(text) and len(text.splitlines()) == 2 + len(stored)


def test_every_stored_result_names_its_machine():
    paths = sorted((mnist_helpers.ROOT / "results").glob("*.json"))
    for path in paths:
        if path.stem != "09_rules":  # of a reader that is gone
            stored = stored_results(path.stem)
            assert all(stored[key] for key in ("date", "processor", "threads", "pytorch")), path
    assert len(paths) > 5
