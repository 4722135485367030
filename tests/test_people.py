"""Notebook 09: who is learned from and who measures, in what only a full run executes."""

import math
import random
from collections import Counter
from functools import partial
from statistics import mean
from types import SimpleNamespace

import pytest
import torch
from cells import source_of

SITES = "ABCD"
# Of each writer images that tell whose they are and the digit's number, and labels.
NUM_DIGITS = {writer: 30 + 10 * (writer % 3) for writer in range(40)}
STRANGERS = {
    writer: (
        torch.stack([torch.full((1, 28, 28), writer + i / 1000) for i in range(number)]),
        torch.arange(number) % 10,
    )
    for writer, number in NUM_DIGITS.items()
}
SITE_OF = {writer: SITES[writer // 10] for writer in STRANGERS}


class Nobody:
    """Results of which nothing is found or recalled, so that a cell only defines."""

    def recall(self, name, *rest):
        return {}


@pytest.fixture
def notebook():
    """What the cells leave behind that split people, on strangers of whom all is known."""
    taught, measured = [], []

    def teach(images, labels, base, old, seed=0, **settings):
        taught.append((images, labels))

    def accuracy_on(model, loader):
        ((images, _),) = loader
        measured.append(images)
        return 0.5

    scope = {
        "math": math,
        "partial": partial,
        "random": random,
        "mean": mean,
        "torch": torch,
        "mnist": SimpleNamespace(accuracy_on=accuracy_on),
        "teach": teach,
        "read": lambda model: [0.25, 0.75],
        "convolutional": None,
        "mnist_digits": None,
        "strangers": STRANGERS,
        "site_of": SITE_OF,
        "SITES": SITES,
        "SEEDS": range(3),
        "stored": Nobody(),
        "taught": taught,
        "measured": measured,
    }
    exec(source_of("09", "def of_people("), scope)
    exec(source_of("09", "def groups_of("), scope)
    exec(source_of("09", "def from_people("), scope)
    return scope


def writers_in(images):
    return set(images[:, 0, 0, 0].floor().int().tolist())


@pytest.mark.parametrize("split", ["digits", "people", "sites"])
def test_each_digit_is_read_once_by_a_network_that_has_not_learned_from_its_group(notebook, split):
    assert notebook["read_by_others"](split, 0) == pytest.approx(0.5)
    taught, measured = notebook["taught"], notebook["measured"]
    assert len(taught) == len(measured) == (4 if split == "sites" else 5)
    everybody = torch.cat([images for images, _ in STRANGERS.values()])[:, 0, 0, 0]
    assert torch.equal(torch.cat(measured)[:, 0, 0, 0].sort().values, everybody)
    for (images, _), kept in zip(taught, measured, strict=True):
        assert len(images) + len(kept) == len(everybody)
        assert not set(images[:, 0, 0, 0].tolist()) & set(kept[:, 0, 0, 0].tolist())
        known = writers_in(images) & writers_in(kept)
        assert known == (writers_in(kept) if split == "digits" else set())
        if split == "sites":
            assert len({SITE_OF[writer] for writer in writers_in(kept)}) == 1


@pytest.mark.parametrize("num_people", [1, 3, 10, 30])
def test_thirty_digits_come_from_so_many_people(notebook, num_people):
    assert notebook["from_people"](num_people, seed=3, num_digits=30) == 0.5
    ((images, labels),) = notebook["taught"]
    marks = images[:, 0, 0, 0].tolist()
    assert len(set(marks)) == len(labels) == 30  # none twice
    own = [STRANGERS[int(mark)][1][round(1000 * (mark % 1))] for mark in marks]
    assert torch.equal(torch.stack(own), labels)
    counts = Counter(int(mark) for mark in marks)
    assert list(counts.values()) == [30 // num_people] * num_people
    notebook["from_people"](num_people, seed=4, num_digits=30)
    assert not torch.equal(notebook["taught"][-1][0], images)


def test_one_label_may_be_left_out(notebook):
    for without in (None, 0, 1):
        notebook["from_people"](2, seed=0, num_digits=30, without=without)
        _, labels = notebook["taught"][-1]
        assert len(labels) == 30 and set(labels.tolist()) == set(range(10)) - {without}


def test_where_a_digit_each_is_too_many_the_right_number_is_kept(notebook):
    notebook["from_people"](40, seed=0, num_digits=30)
    ((images, _),) = notebook["taught"]
    assert len(images) == len(writers_in(images)) == 30


def test_digits_of_some_sites_are_of_these(notebook):
    for sites in ("A", SITES):
        notebook["from_sites"](0, sites, num_digits=200)
        images, _ = notebook["taught"][-1]
        assert len(images) == len(set(images[:, 0, 0, 0].tolist())) == 200
        assert {SITE_OF[writer] for writer in writers_in(images)} == set(sites)


def test_ten_of_one_site_are_of_each_site_in_turn(notebook):
    notebook["from_people"] = lambda num_people, seed, sites: (num_people, sites)
    rows = notebook["DRAWS"]
    of_one_site = rows["240 digits, 10 people, one site"]
    assert notebook["ten_times"](of_one_site) == [(10, site) for site in "ABCDABCDAB"]
    assert rows["240 digits, 1 person of site E"](7) == (1, "E")


def test_a_site_that_is_left_out_is_not_learned_from_and_is_what_is_read(notebook):
    learned, read = [], []

    def wrong_on(model, images, labels):
        read.append(writers_in(images))
        return torch.zeros(len(labels), dtype=torch.bool)

    def train_on(recipe, seed, *parts):
        learned.append(parts)

    def strangers_of(writers):
        return notebook["of_people"](STRANGERS, writers)

    notebook |= {
        "replace": lambda recipe, **settings: settings,
        "CONVOLUTIONAL": None,
        "mnist_digits": (torch.full((2, 1, 28, 28), 99.0), torch.zeros(2)),
        "PEN_WRITERS": SimpleNamespace(teach={0}),
        "pen": {0: (torch.full((3, 1, 28, 28), 77.0), torch.zeros(3))},
        "strangers_of": strangers_of,
        "train_on": train_on,
    }
    exec(source_of("09", "def all_but("), notebook)
    exec(source_of("09", "def read_left_out("), notebook)
    notebook["wrong_on"] = wrong_on  # in place of the one that reads with a network
    found = notebook["read_left_out"]("B")
    of_b = {writer for writer, site in SITE_OF.items() if site == "B"}
    assert read == [of_b, of_b] and found["digits"] == sum(NUM_DIGITS[writer] for writer in of_b)
    ((_, *people),) = learned
    times = notebook["SHORTER"][2]
    counts = Counter(torch.cat([images for images, _ in people])[:, 0, 0, 0].tolist())
    assert set(counts.values()) == {times, 3 * times}  # the three of the teacher's are alike
    assert {int(mark) for mark in counts} == (STRANGERS.keys() - of_b) | {77}
    notebook["train_with_people"](1, 0.1, 1, notebook["all_but"]())
    everybody = torch.cat([images for images, _ in learned[-1][1:]])
    assert writers_in(everybody) == STRANGERS.keys() | {77}
