"""The data: the real MNIST or an error that names the fault, split and batched as documented."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from cells import source_of
from damage import corrupted
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from torchvision.datasets import MNIST, SEMEION
from torchvision.transforms import ToTensor

import mnist_helpers
from checkpoints import DATA_DIR
from handwriting import data
from mnist_helpers import load_mnist, make_loaders, read_mnist

RAW = DATA_DIR / "MNIST" / "raw"
NAMES = [name for name, _ in MNIST.resources]


# What is loaded -----------------------------------------------------------------------------------


@pytest.mark.parametrize("train, prefix", [(True, "train"), (False, "t10k")])
def test_load_mnist_gives_the_archives_pixels_and_labels(train, prefix):
    mnist = load_mnist(train)
    images = gzip.decompress((RAW / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((RAW / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert mnist.data.numpy().tobytes() == images
    assert mnist.targets.byte().numpy().tobytes() == labels
    for read, loaded in zip(read_mnist(train), (mnist.data, mnist.targets), strict=True):
        assert torch.equal(read, loaded) and read.dtype == loaded.dtype


def test_the_archives_are_those_that_torchvision_knows():
    ours = {
        mnist_helpers.TRAIN_IMAGES,
        mnist_helpers.TRAIN_LABELS,
        mnist_helpers.TEST_IMAGES,
        mnist_helpers.TEST_LABELS,
    }
    assert ours == set(MNIST.resources)


def test_the_archives_readme_states_their_sizes_and_checksums():
    table = [line for line in (RAW / "README.md").read_text("utf-8").splitlines() if ".gz`" in line]
    assert len(table) == 4
    for line in table:
        name, size, md5, extracted_size, sha256 = line.strip("| ").replace("`", "").split(" | ")
        archive = (RAW / name).read_bytes()
        extracted = gzip.decompress(archive)
        assert (size, md5) == (f"{len(archive):,}", hashlib.md5(archive).hexdigest())
        assert extracted_size == f"{len(extracted):,}"
        assert sha256 == hashlib.sha256(extracted).hexdigest()


# The loaders --------------------------------------------------------------------------------------


read_each_part_once = cache(read_mnist)


@pytest.fixture
def read_once(monkeypatch):
    """Have make_loaders read each part once for all tests that call it."""
    monkeypatch.setattr(mnist_helpers, "read_mnist", read_each_part_once)


def rows(images, labels):
    """Each image (28, 28) of bytes with its label as one string of bytes, as a set."""
    pairs = zip(images.numpy(), labels.tolist(), strict=True)
    return {image.tobytes() + bytes([label]) for image, label in pairs}


def test_the_split_is_disjoint_and_covers_the_training_images(loaders):
    mnist = load_mnist(train=True)
    everything = rows(mnist.data, mnist.targets)
    assert len(everything) == 60_000  # no training image of MNIST occurs twice
    train, val = (
        rows((loader.dataset.tensors[0] * 255).round().byte(), loader.dataset.tensors[1])
        for loader in loaders[:2]
    )
    assert (len(train), len(val)) == (48_000, 12_000)
    assert train | val == everything


def test_the_seed_decides_split_and_order(read_once):
    def first_epoch(seed):
        train_loader, val_loader, _ = make_loaders(seed=seed)
        return torch.cat([labels for _, labels in train_loader]), val_loader.dataset.tensors[0]

    order, val = first_epoch(seed=0)
    same_order, same_val = first_epoch(seed=0)
    other_order, other_val = first_epoch(seed=1)
    assert torch.equal(order, same_order) and torch.equal(val, same_val)
    assert not torch.equal(order, other_order) and not torch.equal(val, other_val)


def test_notebook_01_splits_by_hand_as_the_helper_does(loaders):
    mnist = load_mnist(train=True)
    scope = {"torch": torch, "TensorDataset": TensorDataset, "DataLoader": DataLoader}
    scope |= {"train_set": mnist}
    exec(source_of("01", "all_images = train_set"), scope)
    exec(source_of("01", "randperm"), scope)
    for part, loader in zip(("train_part", "val_part"), loaders, strict=False):
        for by_hand, tensor in zip(scope[part].tensors, loader.dataset.tensors, strict=True):
            assert torch.equal(by_hand, tensor)
    images, labels = next(iter(scope["train_loader"]))
    assert images.shape == (32, 1, 28, 28) and labels.shape == (32,)


def test_every_epoch_shuffles_anew_and_shows_each_training_image_once(loaders):
    train_loader = loaders[0]
    shown = [torch.cat([images.sum(dim=(1, 2, 3)) for images, _ in train_loader]) for _ in range(2)]
    assert not torch.equal(shown[0], shown[1])
    every_image = train_loader.dataset.tensors[0].sum(dim=(1, 2, 3)).sort().values
    for epoch in shown:
        assert torch.equal(epoch.sort().values, every_image)


@pytest.mark.parametrize("number", [int, np.int64])
def test_validation_fraction_and_batch_size_are_followed(read_once, number):
    train_loader, val_loader, _ = make_loaders(
        batch_size=number(100), validation_fraction=0.1, seed=number(3)
    )
    assert (len(train_loader.dataset), len(val_loader.dataset)) == (54_000, 6_000)
    assert len(next(iter(train_loader))[0]) == 100


def test_batches_equal_those_of_torchvisions_own_pipeline():
    ours = make_loaders(seed=3)
    # The recipe that everyone copies: ToTensor for each image, collated by the DataLoader.
    train_mnist, test_mnist = load_mnist(train=True), load_mnist(train=False)
    train_mnist.transform = test_mnist.transform = ToTensor()
    # The indices: one permutation, validation images first.
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(60_000, generator=generator).tolist()
    train, val = Subset(train_mnist, order[12_000:]), Subset(train_mnist, order[:12_000])
    theirs = [
        DataLoader(train, 32, shuffle=True, generator=generator),
        DataLoader(val, 32),
        DataLoader(test_mnist, 32),
    ]
    for our_loader, their_loader in zip(ours, theirs, strict=True):
        assert isinstance(our_loader, DataLoader)
        assert len(our_loader) == len(their_loader)
        for _, our_batch, their_batch in zip(range(40), our_loader, their_loader, strict=False):
            for our_tensor, their_tensor in zip(our_batch, their_batch, strict=True):
                assert our_tensor.dtype == their_tensor.dtype
                assert torch.equal(our_tensor, their_tensor)


def test_the_data_sets_work_in_any_loader(loaders):
    train_set = loaders[0].dataset
    images, labels = next(iter(DataLoader(train_set, 4)))
    assert torch.equal(images, train_set.tensors[0][:4])
    assert torch.equal(labels, train_set.tensors[1][:4])
    some, others = random_split(train_set, [0.25, 0.75])
    assert (len(some), len(others)) == (12_000, 36_000)
    images, labels = next(iter(DataLoader(some, 4)))
    assert torch.equal(images, train_set.tensors[0][some.indices[:4]])
    assert torch.equal(labels, train_set.tensors[1][some.indices[:4]])


@pytest.mark.parametrize(
    "setting",
    [{"batch_size": b} for b in (0, -1, 2.5, "32")]
    + [{"seed": s} for s in (1.5, "0", None)]
    + [{"validation_fraction": f} for f in (0, 1, -0.1, 80, float("nan"), "0.2")]
    + [{"validation_fraction": f} for f in (1e-6, 0.999999)],  # one of the sets would be empty
    ids=str,
)
def test_a_setting_out_of_range_is_named(read_once, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name} must"):
        make_loaders(**setting)


def test_the_helper_alone_loads_nothing_that_few_need():
    """In a new process, such as a kernel or a worker."""
    code = (
        "import mnist_helpers, sys; print(sorted({module.split('.')[0] for module in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "'torch'" in loaded.stdout
    for name in ("torchvision", "scipy", "skimage", "handwriting"):
        assert f"'{name}'" not in loaded.stdout


# Faults -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good():
    """The real MNIST, verified by the test of the archives: images and labels of both parts."""
    return {train: (load_mnist(train).data, load_mnist(train).targets) for train in (True, False)}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A data folder as in a fresh clone, an empty temporary folder, and a network that hangs."""
    processes.server()  # while the temporary folder is still the usual one
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(RAW / name, folder)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(mnist_helpers, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asks a network"))
    return folder


def is_good(good, train=False):
    mnist = load_mnist(train)
    images, labels = good[train]
    return torch.equal(mnist.data, images) and torch.equal(mnist.targets, labels)


def test_a_fresh_clone_loads_and_nothing_extracted_stays(raw, good, tmp_path):
    assert is_good(good, train=True) and is_good(good, train=False)
    assert sorted(path.name for path in raw.iterdir()) == sorted(NAMES)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["flip a bit", "truncate", "swap", "missing"])
def test_a_bad_archive_is_named_with_what_to_do_and_no_network_is_asked(raw, name, kind):
    other = (RAW / NAMES[NAMES.index(name) - 1]).read_bytes()
    if kind == "missing":
        (raw / name).unlink()
    else:
        (raw / name).write_bytes(corrupted((raw / name).read_bytes(), kind, 0.5, 1, 3, other))
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    for load in (
        lambda: load_mnist(train=name.startswith("t10k")),  # also the part that is not bad
        lambda: [read_mnist(train) for train in (True, False)],  # as make_loaders does
    ):
        with pytest.raises(RuntimeError) as error:
            load()
        assert f"{raw / name} is missing or damaged: run `git restore data`" in str(error.value)
        assert not any(other in str(error.value) for other in NAMES if other != name)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before


def test_a_temporary_folder_without_room_is_not_called_damaged_data(raw, good, tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(RuntimeError, match=r"TMPDIR.*55 MB.*File too large") as error:
            load_mnist(train=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "damaged" not in str(error.value)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert is_good(good)


def test_a_temporary_folder_that_is_not_there_is_named(raw, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match=r"TMPDIR.*none") as error:
        load_mnist(train=False)
    assert "damaged" not in str(error.value)


def test_files_that_an_old_torchvision_left_are_not_read(raw, good):
    wrong = (torch.zeros(10_000, 28, 28, dtype=torch.uint8), torch.zeros(10_000, dtype=torch.int64))
    processed = raw.parent / "processed"
    processed.mkdir()
    torch.save(wrong, processed / "training.pt")
    torch.save(wrong, processed / "test.pt")
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"extracted once")
    assert is_good(good)


def test_nobody_elses_folder_in_the_temporary_folder_is_touched(raw, good, tmp_path):
    """Such as an unpacked download of this repository, whose name begins as ours do."""
    theirs = tmp_path / "temporary" / "mnist-notebooks-main"
    theirs.mkdir()
    (theirs / "README.md").write_text("years of work")
    os.utime(theirs, (time.time() - 100_000,) * 2)
    assert is_good(good)
    assert (theirs / "README.md").read_text() == "years of work"
    assert list((tmp_path / "temporary").iterdir()) == [theirs]


def test_eight_processes_load_at_once(raw):
    loading = [processes.start(processes.load_in, raw.parent.parent) for _ in range(8)]
    for each in loading:
        each.join(timeout=120)
    assert [each.exitcode for each in loading] == [0] * 8


def test_a_read_only_clone_loads(raw):
    with tempfile.TemporaryDirectory(dir="/tmp" if os.name == "posix" else None) as folder:
        data = Path(folder, "data")  # outside of pytest's folder, which only we may enter
        shutil.copytree(raw.parent.parent, data)
        for path in [data, *data.rglob("*")]:
            os.chmod(path, 0o555)
        os.chmod(folder, 0o555)
        loading = processes.start(processes.load_as_nobody, data)
        loading.join(timeout=60)
        for path in [folder, data, *data.rglob("*")]:
            os.chmod(path, 0o755)
    assert loading.exitcode == 0


# Other people's digits ----------------------------------------------------------------------------


def test_semeion_is_what_torchvision_reads(tmp_path):
    (tmp_path / "semeion.data").write_bytes(gzip.decompress(data.SEMEION.read_bytes()))
    theirs = SEMEION(tmp_path, download=False)  # verifies the checksum
    scans, labels = data.load_semeion()
    assert scans.shape == (1593, 1, 16, 16) and scans.dtype == torch.float32
    assert np.array_equal(scans[:, 0].numpy(), theirs.data / 255)
    assert labels.dtype == torch.int64 and np.array_equal(labels.numpy(), theirs.labels)


def test_the_guessed_writers_of_semeion_wrote_each_digit_twice():
    scans, labels = data.load_semeion()
    person, block = data.guess_semeion_writers(labels)
    assert person.unique().tolist() == list(range(80)) and block.unique().tolist() == list(range(6))
    for number in range(80):
        blocks = block[person == number]
        first = 2 * (number // 20 if number < 40 else 2)
        assert set(blocks.tolist()) == {first, first + 1}
        counts = labels[person == number].bincount(minlength=10)
        last_place = number in (19, 39, 79)  # it also holds what is one too many, or lacks it
        assert last_place or (counts == 2).sum() >= 9
    ink = scans.mean(dim=(1, 2, 3))
    by_block = [
        torch.stack([ink[(person == p) & (block % 2 == b)].mean() for p in range(40, 79)])
        for b in (0, 1)
    ]
    same, next_one = (torch.stack([by_block[0], by_block[1].roll(k)]).corrcoef() for k in (0, 1))
    assert same[0, 1] > 0.5 > 0.3 > abs(next_one[0, 1])


def test_there_are_7494_pen_digits_by_30_people():
    digits = data.load_pen_digits()
    assert len(digits) == 7494 and len({digit.writer for digit in digits}) == 30
    assert {digit.label for digit in digits} == set(range(10))
    first = digits[0]
    assert (first.label, first.writer) == (8, 12) and first.strokes[0][0].tolist() == [267, -333]


def test_unipen_holds_what_its_readme_says():
    written = data.load_unipen()
    assert Counter(item.kind for item in written) == {
        "digit": 12_555,
        "letter": 14_546,
        "symbol": 3_921,
        "word": 3_060,
    }
    by_kind = {
        kind: {item.writer for item in written if item.kind == kind}
        for kind in ("digit", "letter", "symbol", "word")
    }
    assert [len(writers) for writers in by_kind.values()] == [148, 181, 142, 222]
    assert len(set().union(*by_kind.values())) == 400
    digits = [item for item in written if item.kind == "digit"]
    assert {item.label for item in digits} == set(range(10))
    assert {item.site for item in digits} == set("ABCDEFGH")
    assert all(isinstance(item.label, str) for item in written if item.kind != "digit")
    extents = [np.ptp(np.concatenate(item.strokes), axis=0).max() for item in digits]
    assert max(extents) == np.median(extents) == 250 > min(extents) > 150  # thinned afterwards
    starts = np.array([item.strokes[0][0] for item in digits if item.label == 7])
    x, y = starts.mean(axis=0)
    assert 0 < x < 125 and 0 < y < 125  # a 7 begins on the left and above: y grows downwards


def test_nobody_of_the_pen_digits_has_two_tasks_and_none_who_reports_chose_in_notebook_07():
    teach, choose, report = data.PEN_WRITERS
    writers = {digit.writer for digit in data.load_pen_digits()}
    assert teach | choose | report == writers
    assert len(teach) + len(choose) + len(report) == len(writers)
    assert report == set(sorted(writers)[16:])  # 07's first 16 are for choices


def test_of_five_writers_of_a_site_three_teach_one_chooses_and_one_reports():
    written = data.load_unipen()
    teach, choose, report = data.split_unipen(written)
    sites = {}
    for item in written:
        sites.setdefault(item.site, set()).add(item.writer)
    assert teach | choose | report == set().union(*sites.values())
    assert not teach & choose and not teach & report and not choose & report
    for writers in sites.values():
        fifth = len(writers) / 5
        assert fifth - 1 < len(writers & report) <= fifth
        assert fifth - 1 < len(writers & choose) < fifth + 1
    assert data.split_unipen(written[::-1]) == (teach, choose, report)


@pytest.mark.parametrize("archive", ["SEMEION", "PEN_DIGITS", "UNIPEN"])
@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"other text", mtime=0), None])
def test_damaged_digits_of_other_people_are_named(tmp_path, monkeypatch, archive, content):
    path = tmp_path / "digits.gz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(data, archive, path)
    loaders = {
        "SEMEION": data.load_semeion,
        "PEN_DIGITS": data.load_pen_digits,
        "UNIPEN": data.load_unipen,
    }
    with pytest.raises(RuntimeError, match=r"digits\.gz is missing or damaged.*git restore data"):
        loaders[archive]()
