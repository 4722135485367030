"""Notebook 07's cells: what is taught, what is refused, and what is kept."""

import copy
import io

import numpy as np
import pytest
import torch
from cells import source_of
from PIL import Image
from torch.optim.lr_scheduler import OneCycleLR

import mnist_helpers as mnist
from handwriting import digit as reader
from handwriting import page as pages


@pytest.fixture(scope="module")
def notebook(loaders):
    """What the cells leave behind that define the functions."""
    augmented = mnist.Network().eval()
    mnist.load_checkpoint(augmented, mnist.AUGMENTED_PATH)
    scope = {
        **{"copy": copy, "io": io, "np": np, "torch": torch, "OneCycleLR": OneCycleLR},
        **{"mnist": mnist, "pages": pages, "reader": reader, "augmented": augmented},
        "loss_fn": torch.nn.NLLLoss(),
    }
    scope["old_images"], scope["old_labels"] = loaders[0].dataset.tensors
    for name in ("check_examples", "teach", "keep", "examples_from_photo", "examples_of"):
        exec(source_of("07", f"def {name}("), scope)
    return scope


@pytest.fixture
def examples(loaders):
    """One image of each digit."""
    images, labels = loaders[1].dataset.tensors
    first = [(labels == digit).nonzero()[0, 0].item() for digit in range(10)]
    return images[first], labels[first]


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# What is taught -----------------------------------------------------------------------------------


def test_teaching_leaves_the_network_that_it_starts_from_as_it_was(notebook, examples):
    base = notebook["augmented"]
    before = copy.deepcopy(base)
    taught, again, other = (
        notebook["teach"](*examples, seed=seed, num_steps=3) for seed in (1, 1, 2)
    )
    assert same_weights(base, before) and not base.training
    assert not taught.training and not same_weights(taught, base)
    assert same_weights(taught, again) and not same_weights(taught, other)


def test_a_stopped_training_costs_nothing(notebook, examples, monkeypatch):
    steps = []

    def stop_at_the_third(images):
        steps.append(images)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return images

    before = copy.deepcopy(notebook["augmented"])
    monkeypatch.setattr(mnist, "distort", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        notebook["teach"](*examples)
    assert same_weights(notebook["augmented"], before)


def test_one_digit_alone_is_learned_without_forgetting_the_others_by_replay_only(
    notebook, loaders, examples
):
    images, labels = examples
    mirrored = images[labels == 7].flip(dims=[3])  # a shape that it doesn't know
    one_sided = mirrored, labels[labels == 7]
    assert notebook["augmented"](mirrored).argmax() != 7
    accuracies = []
    for num_old in (96, 0):
        model = notebook["teach"](*one_sided, num_steps=200, num_old=num_old)
        assert model(mirrored).argmax() == 7
        _, predicted, true = mnist.evaluate(model, loaders[1], torch.nn.NLLLoss())
        accuracies.append((predicted == true).float().mean())
    assert accuracies[0] > 0.985 and accuracies[1] < 0.9


def test_every_batch_holds_the_examples_and_old_images_and_all_of_them_are_bent(
    notebook, examples, monkeypatch
):
    batches = []
    monkeypatch.setattr(mnist, "distort", lambda images: batches.append(images) or images)
    notebook["teach"](*examples, num_steps=2)
    new = {image.numpy().tobytes() for image in examples[0]}
    for batch in batches:
        assert len(batch) == 128
        assert sum(image.numpy().tobytes() in new for image in batch) == 32
    assert not torch.equal(*batches)


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda images, labels: (images[:0], labels[:0]), "N ≥ 1"),
        (lambda images, labels: (images, labels[:9]), "as there are 9 labels"),
        (lambda images, labels: (images, labels + 1), "from 0 to 9"),
        (lambda images, labels: (images, labels.float()), "integers"),
        (lambda images, labels: (images, labels[:, None]), "shape"),
        (lambda images, labels: (images.squeeze(1), labels), "1, 28, 28"),
        (lambda images, labels: (images.double(), labels), "float64"),
        (lambda images, labels: ((255 * images).byte(), labels), "uint8"),
        (lambda images, labels: (255 * images, labels), "divide by 255"),
        (lambda images, labels: (images / images.amin(), labels), "nan"),
        (lambda images, labels: (list(images), labels), "torch.stack"),
        (lambda images, labels: (images, labels.tolist()), "torch.tensor"),
    ],
)
def test_bad_examples_are_named_and_nothing_is_taught(notebook, examples, change, fault):
    with pytest.raises(ValueError, match=fault):
        notebook["teach"](*change(*examples))


def test_no_digit_is_both_taught_and_tested(notebook):
    labels = torch.randint(10, (250,), generator=torch.Generator().manual_seed(0))
    images = torch.arange(250)  # numbers, to tell them apart
    notebook["digits"] = {3: (images, labels)}
    tested = set(notebook["others_of"](3)[0].tolist())
    for num_each in (1, 2, 5, 10):
        taught, taught_labels = notebook["examples_of"](3, num_each)
        assert taught_labels.bincount().tolist() == [num_each] * 10
        assert torch.equal(labels[taught], taught_labels)
        assert not tested & set(taught.tolist())
    assert len(tested) + 100 == 250


# What is kept -------------------------------------------------------------------------------------


def test_drawings_are_kept_and_loaded_again(notebook, examples, tmp_path):
    path = tmp_path / "new folder" / "my_digits.npz"
    assert notebook["load_kept"](path) == ([], [])
    for n in (10, 9, 0):
        images, labels = list(examples[0][:n]), examples[1][:n].tolist()
        notebook["keep"](images, labels, path)
        loaded, loaded_labels = notebook["load_kept"](path)
        assert loaded_labels == labels and all(map(torch.equal, loaded, images))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("fault", ["a bit flipped", "cut off", "another file", "a label of 12"])
def test_kept_drawings_that_are_damaged_are_named_and_left_alone(
    notebook, examples, tmp_path, fault
):
    path = tmp_path / "my_digits.npz"
    images, labels = list(examples[0]), examples[1].tolist()
    notebook["keep"](images, [12, *labels[1:]] if fault == "a label of 12" else labels, path)
    content = bytearray(path.read_bytes())
    if fault == "a bit flipped":
        content[len(content) // 3] ^= 1
    elif fault == "cut off":
        del content[-30:]
    elif fault == "another file":
        content = b"drawings"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"my_digits\.npz holds no drawings.*Move it away"):
        notebook["load_kept"](path)
    assert path.read_bytes() == bytes(content)


# From a photo -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo(loaders):
    """Two rows, of the digits 0 to 4 and 5 to 9, as black marker on white paper."""
    images, labels = loaders[1].dataset.tensors
    first = [(labels == digit).nonzero()[0, 0].item() for digit in range(10)]
    rows = [torch.cat(list(images[first[i : i + 5], 0]), dim=1) for i in (0, 5)]
    page = 1 - torch.nn.functional.pad(torch.cat(rows), [14] * 4)
    picture = Image.fromarray((255 * page).byte().numpy())
    return picture.resize([4 * side for side in picture.size])


def test_a_photo_gives_its_digits_with_the_labels_that_were_typed(notebook, photo):
    images, labels = notebook["examples_from_photo"](photo, "\n 0 1 2 3 4 \n\n56789\n")
    assert labels.tolist() == list(range(10))
    notebook["check_examples"](images, labels)
    predicted = notebook["augmented"](images).argmax(dim=1)
    assert (predicted == labels).sum() >= 9


@pytest.mark.parametrize(
    "text, fault",
    [
        ("01234\n5678", r"rows of \[5, 5\] digits, and \[5, 4\] were typed"),
        ("0123456789", r"and \[10\] were typed"),
        ("01234\n5678O", "type digits only"),
        ("", "were typed"),
    ],
)
def test_a_text_that_does_not_fit_the_photo_is_refused(notebook, photo, text, fault):
    with pytest.raises(ValueError, match=fault):
        notebook["examples_from_photo"](photo, text)


def test_a_digit_of_the_photo_that_cannot_be_prepared_is_named(notebook, photo, monkeypatch):
    def refuse(picture):
        raise ValueError("it is no digit")

    monkeypatch.setattr(reader, "prepare", refuse)
    with pytest.raises(ValueError, match="row 1 of the photo, at what was read as 0: it is no dig"):
        notebook["examples_from_photo"](photo, "01234\n56789")
