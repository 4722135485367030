"""Faults, what the user sees, and what is intact afterwards.

data        a bad file is named, with what to do; what is handed out is always the real MNIST
checkpoint  a bad file is named and explained; the model that should have got it is untouched
training    an interrupt or a loss that is not finite leaves the best checkpoint, whole
input       a wrong image, label or setting raises a ValueError that names it
"""

import io
import itertools
import math
import os
import pickle
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

import nbformat
import pytest
import torch
from cells import source_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST
from tqdm import tqdm

import mnist_helpers
from mnist_helpers import (
    MODEL_PATH,
    ROOT,
    Network,
    accuracy_by_digit,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
    save_checkpoint,
)

RAW = ROOT / "data" / "MNIST" / "raw"
NAMES = [name for name, _ in MNIST.resources]
NUM_CORRUPTIONS = 200
NUM_SKIPPED = 2  # of the checkpoint's headers, every third byte; all of them were tried once
MANY = settings(
    max_examples=NUM_CORRUPTIONS,
    deadline=None,
    derandomize=True,  # the same corruptions in every run
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def corrupted(
    content: bytes, kind: str, where: float, length: int, bit: int, other: bytes
) -> bytes:
    """Damage a file in one of the ways in which files get damaged."""
    start = int(where * len(content))
    if kind == "flip a bit":
        return content[:start] + bytes([content[start] ^ (1 << bit)]) + content[start + 1 :]
    if kind == "truncate":
        return content[:start]
    if kind == "zero a range":
        end = min(start + length, len(content))
        return content[:start] + bytes(end - start) + content[end:]
    return other  # swapped with another file


KINDS = st.sampled_from(["flip a bit", "truncate", "zero a range", "swap"])
DAMAGE = {
    "kind": KINDS,
    "where": st.floats(0, 1, exclude_max=True),
    "length": st.integers(1, 10_000),
    "bit": st.integers(0, 7),
}


# Data ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good():
    """The real MNIST, verified by the test of the archives: images and labels of both parts."""
    return {train: (load_mnist(train).data, load_mnist(train).targets) for train in (True, False)}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A data folder as in a fresh clone, an empty temporary folder, and no network."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(RAW / name, folder)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(mnist_helpers, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    return folder


def is_good(good, train=False):
    mnist = load_mnist(train)
    return all(map(torch.equal, (mnist.data, mnist.targets), good[train]))


def test_a_fresh_clone_loads_and_nothing_extracted_stays(raw, good, tmp_path):
    assert is_good(good, train=True) and is_good(good, train=False)
    assert sorted(path.name for path in raw.iterdir()) == sorted(NAMES)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["flip a bit", "truncate", "swap", "missing"])
def test_a_bad_archive_without_a_network_is_named_with_what_to_do(raw, name, kind):
    other = (RAW / NAMES[NAMES.index(name) - 1]).read_bytes()
    (raw / name).write_bytes(corrupted((raw / name).read_bytes(), kind, 0.5, 1, 3, other))
    if kind == "missing":
        (raw / name).unlink()
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    with pytest.raises(RuntimeError) as error:
        load_mnist(train=name.startswith("t10k"))  # also the part that is not bad
    assert f"{name} in {raw} missing or damaged: call `git restore data`" in str(error.value)
    assert not any(other in str(error.value) for other in NAMES if other != name)
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before


def test_torchvisions_download_stands_in_for_a_bad_archive(raw, good, monkeypatch):
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=RAW)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    archive = raw / "t10k-labels-idx1-ubyte.gz"
    archive.write_bytes(b"not an archive")
    try:
        assert is_good(good)
    finally:
        server.shutdown()
        server.server_close()
    assert archive.read_bytes() == b"not an archive"  # data/ is never written to


def test_a_temporary_folder_without_room_is_not_called_damaged_data(raw, good, tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(RuntimeError, match=r"TMPDIR.*80 MB.*File too large") as error:
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


def test_what_a_killed_load_left_is_removed_an_hour_later(raw, good, tmp_path):
    old, new, other = (
        tmp_path / "temporary" / name
        for name in ("mnist-notebooks-old", "mnist-notebooks-new", "other")
    )
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "t10k-images-idx3-ubyte").write_bytes(b"half a fi")
    for folder in (old, other):
        os.utime(folder, (time.time() - 3700,) * 2)
    assert is_good(good)
    assert sorted((tmp_path / "temporary").iterdir()) == [new, other]


def load_in(folder: Path, temporary: Path | None = None) -> None:
    mnist_helpers.DATA_DIR = folder
    MNIST.mirrors = ["http://127.0.0.1:9/"]
    tempfile.tempdir = temporary and str(temporary)
    for train in (True, False):
        mnist = load_mnist(train)
        expected = (60_000 if train else 10_000, 28, 28)
        if tuple(mnist.data.shape) != expected:
            os._exit(3)


def process(target, *args):
    """Start a process that has imported all there is to import, by forking it from one that has."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["mnist_helpers", "test_faults"])
    started = context.Process(target=target, args=args)
    started.start()
    return started


@pytest.fixture(scope="module", autouse=True)
def fork_server():
    """Start the first process of all, which waits for the imports, with the usual folders."""
    process(time.sleep, 0).join()


def test_eight_processes_load_at_once(raw):
    loading = [process(load_in, raw.parent.parent) for _ in range(8)]
    for each in loading:
        each.join(timeout=120)
    assert [each.exitcode for each in loading] == [0] * 8


def test_a_kill_at_any_moment_of_a_load_loses_nothing(raw, good, tmp_path):
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    moments, killed = random.Random(0), 0
    while killed < 10:
        loading = process(load_in, raw.parent.parent, tmp_path / "temporary")
        time.sleep(moments.uniform(0, 0.5))
        loading.kill()
        loading.join()
        killed += loading.exitcode == -signal.SIGKILL
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before
    assert is_good(good)


def test_a_read_only_clone_loads(raw):
    with tempfile.TemporaryDirectory(dir="/tmp" if os.name == "posix" else None) as folder:
        data = Path(folder, "data")  # outside of pytest's folder, which only we may enter
        shutil.copytree(raw.parent.parent, data)
        for path in [data, *data.rglob("*")]:
            os.chmod(path, 0o555)
        os.chmod(folder, 0o555)
        loading = process(load_as_nobody, data)
        loading.join(timeout=60)
        for path in [folder, data, *data.rglob("*")]:
            os.chmod(path, 0o755)
    assert loading.exitcode == 0


def load_as_nobody(folder: Path) -> None:
    load_in(folder)  # imports what it needs, which "nobody" may not be allowed to read
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # nothing is read-only to root
        os.setuid(65534)
    assert not os.access(folder, os.W_OK)
    load_in(folder)


# Checkpoints --------------------------------------------------------------------------------------


def checkpoint_of(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def changed(**changes):
    return checkpoint_of(Network().state_dict() | changes)


def without_a_layer():
    weights = Network().state_dict()
    del weights["output.bias"]
    return checkpoint_of(weights)


def zip_of_text():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "no weights here")
    return file.getvalue()


def wrapped(prefix):
    return checkpoint_of({prefix + name: value for name, value in Network().state_dict().items()})


def old_format():
    file = io.BytesIO()
    torch.save(Network().state_dict(), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2871421\n"
CHECKPOINT_FAULTS = {  # fault: (file, what the user reads)
    "empty": (lambda: b"", "not a zip file.*starts with b''"),
    "truncated": (lambda: MODEL_PATH.read_bytes()[:2_000_000], "not a zip file"),
    "damaged": (
        lambda: corrupted(MODEL_PATH.read_bytes(), "flip a bit", 0.5, 1, 6, b""),
        "Bad CRC-32",
    ),
    "Git LFS pointer": (lambda: LFS_POINTER, "starts with b'version https://git-lfs"),
    "HTML page": (lambda: b"<!DOCTYPE html><html>Not found</html>", "starts with b'<!DOCTYPE html"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "not a zip file.*starts with"),
    "format before PyTorch 1.6": (old_format, r"not a zip file.*starts with b'\\x80\\x02"),
    "other archive": (zip_of_text, "no checkpoint of this network"),
    "whole model": (lambda: checkpoint_of(Network()), "could run code"),
    "list": (lambda: checkpoint_of([torch.zeros(2)]), "damaged, or no checkpoint of this network"),
    "dict of numbers": (lambda: checkpoint_of({"hidden1.weight": 1}), "hidden1.weight"),
    "of a DataParallel": (lambda: wrapped("module."), "was wrapped .DataParallel"),
    "of a compiled model": (lambda: wrapped("_orig_mod."), "was wrapped .*compile"),
    "missing layer": (without_a_layer, 'Missing.*"output.bias"'),
    "another layer": (lambda: changed(extra=torch.zeros(2)), 'Unexpected.*"extra"'),
    "other shape": (
        lambda: changed(**{"hidden1.weight": torch.zeros(512, 784)}),
        r"hidden1.weight.*\[512, 784\].*\[784, 784\]",
    ),
    "other type": (
        lambda: changed(**{"output.bias": torch.zeros(10).double()}),
        "output.bias, torch.float64, must be finite torch.float32",
    ),
    "NaN": (
        lambda: changed(**{"output.bias": torch.full((10,), torch.nan)}),
        "output.bias.*must be finite",
    ),
    "infinity": (
        lambda: changed(**{"output.bias": torch.full((10,), torch.inf)}),
        "output.bias.*must be finite",
    ),
}


@pytest.mark.parametrize("fault", CHECKPOINT_FAULTS)
def test_a_bad_checkpoint_is_named_and_the_model_untouched(fault, tmp_path):
    make, what_is_said = CHECKPOINT_FAULTS[fault]
    path = tmp_path / "weights.pth"
    path.write_bytes(make())
    model = Network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"(?s){what_is_said}") as error:
        load_checkpoint(model, path)
    message = str(error.value)
    assert str(path) in message and "notebook 03" in message
    shown = "".join(str(e) for e in (error.value, error.value.__cause__, error.value.__context__))
    assert "weights_only" not in shown, "never advise to load unsafely"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="notebook 03"):
        load_checkpoint(Network(), tmp_path / "none.pth")


@pytest.mark.parametrize("as_archive", [True, False])
def test_a_malicious_pickle_does_not_run(as_archive, tmp_path):
    trap = tmp_path / "trap"
    harmful = {"hidden1.weight": Malicious(trap)}
    path = tmp_path / "weights.pth"
    path.write_bytes(checkpoint_of(harmful) if as_archive else pickle.dumps(harmful))
    with pytest.raises(ValueError):
        load_checkpoint(Network(), path)
    assert not trap.exists()


@pytest.fixture(scope="module")
def check_corruption(tmp_path_factory):
    """Load a damaged copy of the shipped file: is it refused, or are the weights the same?"""
    path, model = tmp_path_factory.mktemp("damaged") / "weights.pth", Network()
    expected = torch.load(MODEL_PATH)

    def check(damaged: bytes) -> str:
        path.write_bytes(damaged)
        with torch.no_grad():
            model.output.bias.fill_(7)
        try:
            load_checkpoint(model, path)
        except ValueError:
            assert (model.output.bias == 7).all(), "refused, and loaded all the same"
            return "refused"
        same = all(torch.equal(tensor, expected[n]) for n, tensor in model.state_dict().items())
        return "same weights" if same else "silent"

    return check


def test_no_corruption_of_a_checkpoint_is_silent(check_corruption):
    intact = MODEL_PATH.read_bytes()
    others = [b"", b"<html>", (RAW / "t10k-labels-idx1-ubyte.gz").read_bytes(), zip_of_text()]
    seen = {"same weights": 0, "refused": 0, "silent": 0}

    @MANY
    @given(other=st.sampled_from(others), **DAMAGE)
    def corrupt(other, kind, where, length, bit):
        seen[check_corruption(corrupted(intact, kind, where, length, bit, other))] += 1

    corrupt()
    assert seen["silent"] == 0 and seen["refused"] > 0 and sum(seen.values()) >= NUM_CORRUPTIONS


def test_no_bit_flipped_in_the_headers_of_a_checkpoint_is_silent(check_corruption):
    """In the directory or before an entry: PyTorch alone loads some of these as wrong weights."""
    intact = MODEL_PATH.read_bytes()
    with zipfile.ZipFile(io.BytesIO(intact)) as archive:
        directory, entries = archive.start_dir, archive.infolist()
        places = list(range(directory, len(intact)))
        for entry in entries:
            start = entry.header_offset
            names = struct.unpack("<HH", intact[start + 26 : start + 30])  # lengths: name and extra
            places += range(start, start + 30 + sum(names))
    assert len(places) > 1_500
    bits = random.Random(0)
    flips = [(place, bits.randrange(8)) for place in places[:: NUM_SKIPPED + 1]]
    # One bit of an entry's attributes says "directory": PyTorch then reads nothing for a tensor.
    records = [m.start() for m in re.finditer(b"PK\x01\x02", intact) if m.start() >= directory]
    flips += [(record + 38, 4) for record in records]
    seen = {"same weights": 0, "refused": 0, "silent": 0}
    for place, bit in flips:
        flipped = bytes([intact[place] ^ 1 << bit])
        seen[check_corruption(intact[:place] + flipped + intact[place + 1 :])] += 1
    assert len(records) == len(entries) and seen["silent"] == 0
    assert min(seen["refused"], seen["same weights"]) > 0


def save_for_ever(path: Path) -> None:
    models = [Network(), Network()]
    for value, model in enumerate(models):
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
    for model in itertools.cycle(models):
        save_checkpoint(model, path)


def test_a_kill_at_any_moment_of_saving_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    moments = random.Random(0)
    for _ in range(50):
        saving = process(save_for_ever, path)
        while not path.exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        saving.kill()
        saving.join()
        assert saving.exitcode == -signal.SIGKILL
        model = Network()
        load_checkpoint(model, path)
        assert len({parameter.mean().item() for parameter in model.parameters()}) == 1
        path.unlink()


def test_a_failed_save_keeps_the_old_checkpoint_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    save_checkpoint(Network(), path)
    before = path.read_bytes()

    def disk_full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(Network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]
    assert path.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        save_checkpoint(Network(), tmp_path / "file" / "weights.pth")


# Training -----------------------------------------------------------------------------------------


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
    return {
        "sys": sys, "math": math, "torch": torch, "tqdm": tqdm, "evaluate": evaluate,
        "save_checkpoint": save_checkpoint, "CHECKPOINT_PATH": tmp_path / "weights.pth",
        "device": "cpu", "num_epochs": 4, "num_train": 160, "train_loader": Batches(in_epoch=None),
        "val_loader": Batches(in_epoch=None), "model": model, "loss_fn": nn.NLLLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.0001),
        "train_losses": [], "val_losses": [], "val_accuracies": [],
    }  # fmt: skip


def run_loop(training):
    exec(source_of("03", "for epoch in range"), training)


def lengths(training):
    return [len(training[name]) for name in ("train_losses", "val_losses", "val_accuracies")]


def test_after_an_interrupt_the_best_weights_are_there_and_the_loop_goes_on(training):
    training["train_loader"] = Batches(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_loop(training)
    assert lengths(training) == [1, 1, 1]
    load_checkpoint(Network(), training["CHECKPOINT_PATH"])
    healthy = {"train_losses": [0.9], "val_losses": [0.9]}
    exec(source_of("03", "best_epoch ="), training | healthy)
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

    training["save_checkpoint"] = interrupted_before
    training["evaluate"] = lambda *_: (1 / (1 + len(training["val_losses"])), LABELS, LABELS)
    with pytest.raises(KeyboardInterrupt):  # in epoch 2, whose loss is lower
        run_loop(training)
    assert lengths(training) == [1, 1, 1]


def test_the_loop_run_again_does_not_replace_a_better_checkpoint(training):
    run_loop(training)
    before = training["CHECKPOINT_PATH"].read_bytes()
    training["num_epochs"] = 6
    training["evaluate"] = lambda *_: (max(training["val_losses"]) + 1, LABELS, LABELS)
    run_loop(training)
    assert lengths(training) == [6, 6, 6]
    assert training["CHECKPOINT_PATH"].read_bytes() == before


def test_a_loss_that_is_not_finite_is_never_saved_and_the_next_cell_says_so(training):
    training["train_loader"] = Batches("NaN")
    run_loop(training)
    assert lengths(training) == [4, 4, 4] and math.isnan(training["val_losses"][-1])
    load_checkpoint(Network(), training["CHECKPOINT_PATH"])  # refuses values that are not finite
    with pytest.raises(AssertionError, match="lower the learning rate"):
        exec(source_of("03", "best_epoch ="), training)


@pytest.mark.parametrize(
    "losses, advice",
    [
        ([], "run the loop"),
        ([0.5, 700.0], "learning rate"),
        ([0.1] * 4, "the recipe"),  # the training loss doesn't fall
        ([0.9, 0.5, 0.3, 0.2], "the recipe"),  # the validation loss stays high
    ],
)
def test_the_cell_after_the_loop_says_what_to_do(training, losses, advice):
    training |= {"train_losses": losses, "val_losses": losses}
    with pytest.raises(AssertionError, match=advice):
        exec(source_of("03", "best_epoch ="), training)


# Inputs -------------------------------------------------------------------------------------------

IMAGES = torch.rand(4, 1, 28, 28)
LABELS = torch.tensor([0, 1, 2, 3])
WRONG_IMAGES = {
    "raw uint8 pixels": ((IMAGES * 255).byte(), "torch.uint8.*divide by 255"),
    "float64": (IMAGES.double(), r"images are torch.float64: convert them with .float\(\)$"),
    "values from 0 to 255": (IMAGES * 255, r"\[0, 1\].*divide by 255"),
    "negative values": (IMAGES - 0.5, r"\[0, 1\]"),
    "NaN": (IMAGES * torch.nan, r"\[0, 1\]"),
    "RGB": (torch.rand(4, 3, 28, 28), r"\(4, 3, 28, 28\)"),
    "32 × 32": (torch.rand(4, 1, 32, 32), r"\(4, 1, 32, 32\)"),
    "no channel": (torch.rand(4, 28, 28), r"\(4, 28, 28\)"),
    "flat": (torch.rand(4, 784), r"\(4, 784\)"),
    "empty batch": (torch.rand(0, 1, 28, 28), r"\(0, 1, 28, 28\)"),
}


@pytest.mark.parametrize("fault", WRONG_IMAGES)
def test_wrong_images_are_named(fault):
    images, what_is_said = WRONG_IMAGES[fault]
    with pytest.raises(ValueError, match=what_is_said):
        Network().eval()(images)
    if "values" not in fault and fault != "NaN":  # training reads no values: that would cost time
        with pytest.raises(ValueError, match=what_is_said):
            Network().train()(images)


def test_right_images_pass():
    for images in (IMAGES, IMAGES[0], torch.zeros(1, 1, 28, 28), torch.ones(1, 28, 28)):
        Network().eval()(images)


@pytest.mark.parametrize("labels", [LABELS + 7, LABELS - 1, LABELS.float()])
def test_wrong_labels_are_named(labels):
    with pytest.raises(ValueError, match="labels must be integers from 0 to 9"):
        evaluate(Network(), DataLoader(TensorDataset(IMAGES, labels)), nn.NLLLoss())
    for arguments in [(labels, LABELS), (LABELS, labels)]:
        with pytest.raises(ValueError, match="labels must be integers from 0 to 9"):
            accuracy_by_digit(*arguments)


def test_an_error_in_evaluate_puts_the_training_mode_back():
    model = Network().train()
    with pytest.raises(ValueError):
        evaluate(model, DataLoader(TensorDataset(IMAGES, LABELS + 9)), nn.NLLLoss())
    assert model.training


def test_an_empty_loader_is_named():
    with pytest.raises(ValueError, match="no images"):
        evaluate(Network(), DataLoader(TensorDataset(IMAGES[:0], LABELS[:0])), nn.NLLLoss())


@pytest.mark.parametrize(
    "setting", [{"batch_size": b} for b in (0, -1, 2.5)]
    + [{"validation_fraction": f} for f in (0, 1, -0.1, 80, float("nan"))],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_range_is_named(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name} must"):
        make_loaders(**setting)


# nbval --------------------------------------------------------------------------------------------


def nbval(folder, cell_timeout):
    """Run nbval as the Makefile does, with another timeout."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (flags,) = [line.split(":=")[1].split() for line in makefile.splitlines() if "NBVAL " in line]
    timeout = flags.index("--nbval-cell-timeout") + 1
    assert float(flags[timeout]) <= 300
    flags[timeout] = str(cell_timeout)
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", folder]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *settings, folder],
        capture_output=True,
        text=True,
    )


def test_nbval_notices_a_dying_kernel_in_bounded_time_and_names_the_notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell("import os; os._exit(1)", execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "dying.ipynb")
    start = time.perf_counter()
    result = nbval(tmp_path, cell_timeout=5)
    assert result.returncode == 1 and "dying.ipynb::Cell 0" in result.stdout
    assert time.perf_counter() - start < 5 * 12


def test_nbval_fails_when_the_training_runs_into_the_timeout(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "03_train_on_the_gpu.ipynb", as_version=4)
    (loop,) = [i for i, c in enumerate(notebook.cells) if "for epoch in range" in c.source]
    del notebook.cells[loop + 3 :]  # the loop, the prose and the cell after it stay
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "03_train.ipynb")
    shutil.copy(ROOT / "mnist_helpers.py", tmp_path)  # so that the checkpoint is written here
    shutil.copytree(ROOT / "data", tmp_path / "data")
    result = nbval(tmp_path / "notebooks", cell_timeout=6)
    assert result.returncode == 1, result.stdout
    assert "Timeout of 6 seconds exceeded" in result.stdout
