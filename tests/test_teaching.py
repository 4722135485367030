"""What is taught, what is refused, and what is kept."""

import copy

import numpy as np
import processes
import pytest
import torch
from cells import source_of
from PIL import Image

import mnist_helpers as mnist
from handwriting import teaching
from handwriting.data import PenDigit
from handwriting.examples import Examples, check_examples
from handwriting.pad import SIDE


@pytest.fixture(scope="module")
def augmented():
    model = mnist.Network().eval()
    mnist.load_checkpoint(model, mnist.AUGMENTED_PATH)
    return model


@pytest.fixture(scope="module")
def taught(augmented, loaders):
    """Teach the augmented network, beside old images."""

    def taught(images, labels, **settings):
        return teaching.teach(images, labels, augmented, loaders[0].dataset.tensors, **settings)

    return taught


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


def test_teaching_leaves_the_network_that_it_starts_from_as_it_was(taught, augmented, examples):
    before = copy.deepcopy(augmented)
    one, again, other = (taught(*examples, seed=seed, num_steps=3) for seed in (1, 1, 2))
    assert same_weights(augmented, before) and not augmented.training
    assert not one.training and not same_weights(one, augmented)
    assert same_weights(one, again) and not same_weights(one, other)


def test_a_stopped_training_costs_nothing(taught, augmented, examples, monkeypatch):
    steps = []

    def stop_at_the_third(images):
        steps.append(images)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return images

    before = copy.deepcopy(augmented)
    monkeypatch.setattr(teaching, "augment", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        taught(*examples)
    assert same_weights(augmented, before)


def test_one_digit_alone_is_learned_without_forgetting_the_others_by_replay_only(
    taught, augmented, loaders, examples
):
    images, labels = examples
    mirrored = images[labels == 7].flip(dims=[3])  # a shape that it doesn't know
    one_sided = mirrored, labels[labels == 7]
    assert augmented(mirrored).argmax() != 7
    accuracies = []
    for num_old in (96, 0):
        model = taught(*one_sided, num_steps=200, num_old=num_old)
        assert model(mirrored).argmax() == 7
        _, predicted, true = mnist.evaluate(model, loaders[1], torch.nn.NLLLoss())
        accuracies.append((predicted == true).float().mean())
    assert accuracies[0] > 0.985 and accuracies[1] < 0.9


def test_every_batch_holds_the_examples_and_old_images_and_all_of_them_are_augmented(
    taught, examples, monkeypatch
):
    batches = []
    monkeypatch.setattr(teaching, "augment", lambda images: batches.append(images) or images)
    taught(*examples, num_steps=2)
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
def test_bad_examples_are_named_and_nothing_is_taught(taught, examples, change, fault):
    with pytest.raises(ValueError, match=fault):
        taught(*change(*examples))


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda images, labels: (images * torch.nan, labels), "nan"),
        (lambda images, labels: (images, torch.full_like(labels, -100)), "from 0 to 9"),
        (lambda images, labels: ((255 * images).byte(), labels), "uint8"),
        (lambda images, labels: (images, labels[:5]), "as there are 5 labels"),
    ],
)
def test_bad_old_images_are_named_too(augmented, examples, change, fault):
    with pytest.raises(ValueError, match=fault):
        teaching.teach(*examples, augmented, change(*examples), num_steps=1)


def test_no_digit_is_both_taught_and_tested():
    """Taken from notebook 07's cell."""
    labels = torch.randint(10, (250,), generator=torch.Generator().manual_seed(0))
    images = torch.arange(250)  # numbers, to tell them apart
    scope = {"place_among_its_kind": teaching.place_among_its_kind, "images_of": None}
    cell = source_of("07", "def examples_of(").partition("WORST = ")[0]
    exec(cell, scope)
    scope["digits"] = {3: (images, labels)}
    tested = set(scope["others_of"](3)[0].tolist())
    for num_each in (1, 2, 5, 10):
        some, labels_of_some = scope["examples_of"](3, num_each)
        assert labels_of_some.bincount().tolist() == [num_each] * 10
        assert torch.equal(labels[some], labels_of_some)
        assert not tested & set(some.tolist())
    assert len(tested) + 100 == 250


def test_a_pens_digits_are_drawn_in_the_middle_of_the_pad_and_what_is_no_digit_is_left_out():
    stroke = np.array([[0.0, 0.0], [10.0, 100.0]])
    (drawn,) = teaching.on_pad([stroke])
    (left, top), (right, bottom) = drawn
    assert (left + right) / 2 == (top + bottom) / 2 == SIDE / 2
    assert bottom - top == pytest.approx(200) and right - left == pytest.approx(20)
    full_stop = np.array([[30.0, 40.0]])
    assert teaching.on_pad([full_stop]) == [[(SIDE / 2, SIDE / 2)]]
    far_apart = [stroke, stroke + np.array([60.0, 0.0])]  # two 1s
    digits = [PenDigit(1, 3, [stroke]), PenDigit(1, 3, far_apart), PenDigit(7, 3, [stroke])]
    images, labels, num_refused = teaching.images_of(digits)
    assert images.shape == (2, 1, 28, 28) and labels.tolist() == [1, 7] and num_refused == 1


# What is kept -------------------------------------------------------------------------------------


def test_drawings_are_kept_loaded_again_and_taken_out(examples, tmp_path):
    kept = Examples(tmp_path / "new folder" / "my_digits.npz")
    assert kept.load() == ([], [])
    images, labels = list(examples[0]), examples[1].tolist()
    kept.add(images[:4], labels[:4])
    kept.add(images[4:], labels[4:])
    loaded, loaded_labels = kept.load()
    assert loaded_labels == labels and all(map(torch.equal, loaded, images))
    kept.take_out(images[3], labels[3])
    kept.take_out(images[3], labels[3])  # it is gone already
    loaded, loaded_labels = kept.load()
    assert loaded_labels == labels[:3] + labels[4:] and torch.equal(loaded[3], images[4])
    for image, label in zip(loaded, loaded_labels, strict=True):
        kept.take_out(image, label)
    assert kept.load() == ([], [])
    assert [file.name for file in kept.path.parent.glob("[!.]*")] == [kept.path.name]


def test_two_processes_that_add_at_once_lose_no_drawing(tmp_path):
    path = tmp_path / "my_digits.npz"
    adding = [processes.start(processes.add_often, path, label, 20) for label in (3, 8)]
    for process in adding:
        process.join(timeout=120)
    assert [process.exitcode for process in adding] == [0, 0]
    assert sorted(Examples(path).load()[1]) == [3] * 20 + [8] * 20


def test_what_could_not_be_loaded_is_not_kept(examples, tmp_path):
    kept = Examples(tmp_path / "my_digits.npz")
    images, labels = list(examples[0]), examples[1].tolist()
    kept.add(images, labels)
    for fault in (([images[0] / 0], [1]), ([images[0]], [12]), ([images[0].double()], [1])):
        with pytest.raises(ValueError, match=r"pixels|0 to 9|float32"):
            kept.add(*fault)
    assert kept.load()[1] == labels


@pytest.mark.parametrize("fault", ["a bit flipped", "cut off", "another file", "a label of 12"])
def test_kept_drawings_that_are_damaged_are_named_and_left_alone(examples, tmp_path, fault):
    kept = Examples(tmp_path / "my_digits.npz")
    images, labels = list(examples[0]), examples[1].tolist()
    kept.add(images, labels)
    if fault == "a label of 12":
        np.savez_compressed(kept.path, images=examples[0].numpy(), labels=np.full(10, 12))
    content = bytearray(kept.path.read_bytes())
    if fault == "a bit flipped":
        content[len(content) // 3] ^= 1
    elif fault == "cut off":
        del content[-30:]
    elif fault == "another file":
        content = b"drawings"
    kept.path.write_bytes(content)
    for use in (kept.load, lambda: kept.add(images, labels)):
        with pytest.raises(ValueError, match=r"my_digits\.npz holds no drawings.*Move it away"):
            use()
    assert kept.path.read_bytes() == bytes(content)


def test_the_pad_of_notebook_07_answers_with_both_networks_once_it_has_taught(
    augmented, loaders, examples, tmp_path, capsys
):
    old = loaders[0].dataset.tensors
    pad = teaching.teaching_pad(augmented, old, tmp_path)
    seven = [[(60, 60), (200, 60), (110, 230)]]
    pad.draw(seven)
    assert pad.text.startswith("as it ships: <b>7</b> (") and "yours" not in pad.text
    pad.add_examples(*examples)
    pad.learn()
    assert pad.report.startswith("Learned from 10 examples in ")
    pad.draw(seven)
    assert "yours: <b>7</b>" in pad.text and pad.picture.value
    pad.draw([[(40, 60), (40, 220)], [(220, 60), (220, 220)]])
    assert "7" not in pad.text and pad.picture.value == b""  # two digits: it says so
    # Opened again: drawings and network are there. A damaged network is named.
    again = teaching.teaching_pad(augmented, old, tmp_path)
    again.draw(seven)
    assert len(again.labels) == 10 and "yours" in again.text
    (tmp_path / "MNIST_model_mine.pth").write_bytes(b"weights")
    teaching.teaching_pad(augmented, old, tmp_path)
    assert "Your network can't be used; click Teach" in capsys.readouterr().out


def test_of_equal_drawings_one_is_taken_out(examples, tmp_path):
    kept = Examples(tmp_path / "my_digits.npz")
    one, other = examples[0][1], examples[0][2]
    kept.add([one, other, one, one], [1, 2, 7, 1])
    kept.take_out(one, 1)
    loaded, labels = kept.load()
    assert labels == [2, 7, 1]
    assert all(map(torch.equal, loaded, [other, one, one]))


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


def test_a_photo_gives_its_digits_with_the_labels_that_were_typed(augmented, photo):
    images, labels = teaching.examples_from_photo(photo, "\n 0 1 2 3 4 \n\n56789\n")
    assert labels.tolist() == list(range(10))
    check_examples(images, labels)
    predicted = augmented(images).argmax(dim=1)
    assert (predicted == labels).sum() >= 9


def test_an_open_file_is_as_good_as_a_path(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    with open(tmp_path / "photo.png", "rb") as file:
        images, labels = teaching.examples_from_photo(file, "01234\n56789")
    expected, _ = teaching.examples_from_photo(tmp_path / "photo.png", "01234\n56789")
    assert torch.equal(images, expected) and len(labels) == 10


@pytest.mark.parametrize(
    "text, fault",
    [
        ("01234\n5678", r"rows of \[5, 5\] digits, and \[5, 4\] were typed"),
        ("0123456789", r"and \[10\] were typed"),
        ("01234\n5678O", "type digits only"),
        ("", "were typed"),
    ],
)
def test_a_text_that_does_not_fit_the_photo_is_refused(photo, text, fault):
    with pytest.raises(ValueError, match=fault):
        teaching.examples_from_photo(photo, text)


def test_a_digit_of_the_photo_that_cannot_be_prepared_is_named(photo, monkeypatch):
    def refuse(grey, box):
        raise ValueError("it is no digit")

    monkeypatch.setattr(teaching, "prepare_box", refuse)
    with pytest.raises(ValueError, match="row 1 of the photo, at what was read as 0: it is no dig"):
        teaching.examples_from_photo(photo, "01234\n56789")
