"""Faults, what the user sees, and what is intact afterwards.

data        a bad file is mended or named; what is handed out is always the real MNIST
checkpoint  a bad file is named and explained; the model that should have got it is untouched
training    an interrupt or a loss that is not finite leaves the best checkpoint, whole
input       a wrong image, label or setting raises a ValueError that names it
"""

import io
import itertools
import os
import pickle
import random
import shutil
import signal
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
    check_writable,
    evaluate,
    load_checkpoint,
    load_mnist,
    make_loaders,
    plot_losses,
    save_checkpoint,
)

RAW = ROOT / "data" / "MNIST" / "raw"
NAMES = list(mnist_helpers.EXTRACTED)
NUM_CORRUPTIONS, NUM_KILLS = 200, 50
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
    """A data folder as in a fresh clone, and no network."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(RAW / f"{name}.gz", folder)
    monkeypatch.setattr(mnist_helpers, "DATA_DIR", tmp_path / "data")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody answers there
    return folder


def is_good(good, train=False):
    mnist = load_mnist(train)
    return all(map(torch.equal, (mnist.data, mnist.targets), good[train]))


def test_a_fresh_clone_loads(raw, good):
    assert is_good(good, train=True) and is_good(good, train=False)
    left = sorted(path.name for path in raw.iterdir())
    assert left == sorted([*NAMES, *(f"{name}.gz" for name in NAMES)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["flip a bit", "truncate", "zero a range", "swap", "missing"])
def test_a_bad_extracted_file_is_replaced_from_its_archive(raw, good, name, kind):
    load_mnist(train=False)
    content = (raw / name).read_bytes()
    other = (raw / NAMES[NAMES.index(name) - 1]).read_bytes()
    (raw / name).write_bytes(corrupted(content, kind, 0.5, 50_000, 3, other))
    if kind == "missing":
        (raw / name).unlink()
    assert is_good(good, train=name.startswith("train"))
    assert (raw / name).read_bytes() == content


def test_a_bad_archive_does_not_matter_while_the_extracted_file_is_good(raw, good):
    load_mnist(train=False)
    for name in NAMES:
        (raw / f"{name}.gz").write_bytes(b"")
    assert is_good(good)


@pytest.mark.parametrize("damage", ["truncated", "missing", "another archive"])
def test_a_bad_archive_without_a_network_is_named_with_what_to_do(raw, damage):
    archive = raw / "t10k-images-idx3-ubyte.gz"
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:1000])
    elif damage == "missing":
        archive.unlink()
    else:
        shutil.copy(raw / "train-images-idx3-ubyte.gz", archive)
    before = {path.name: path.read_bytes() for path in raw.glob("*.gz")}
    with pytest.raises(RuntimeError) as error:
        load_mnist(train=False)
    message = str(error.value)
    assert archive.name in message and str(raw) in message
    assert mnist_helpers.EXTRACTED["t10k-images-idx3-ubyte"] in message and "found" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert {path.name: path.read_bytes() for path in raw.glob("*.gz")} == before


def test_a_bad_archive_is_replaced_by_torchvisions_download(raw, good, monkeypatch):
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
    assert archive.read_bytes() == (RAW / archive.name).read_bytes()


def test_files_of_an_old_torchvision_are_not_read_in_place_of_the_verified_ones(raw):
    processed = raw.parent / "processed"
    processed.mkdir()
    wrong = (torch.zeros(10_000, 28, 28, dtype=torch.uint8), torch.zeros(10_000, dtype=torch.int64))
    torch.save(wrong, processed / "training.pt")
    torch.save(wrong, processed / "test.pt")
    with pytest.raises(RuntimeError, match="processed"):
        load_mnist(train=False)


def test_no_corruption_of_the_data_is_silent(raw, good):
    load_mnist(train=False)
    intact = {path.name: path.read_bytes() for path in raw.iterdir()}
    seen = {"mended": 0, "refused": 0}

    @MANY
    @given(names=st.sets(st.sampled_from(sorted(intact)), min_size=1, max_size=3), **DAMAGE)
    def corrupt(names, kind, where, length, bit):
        for name in names:
            other = intact[NAMES[(NAMES.index(name.removesuffix(".gz")) + 1) % 4]]
            damaged = corrupted(intact[name], kind, where, length, bit, other)
            (raw / name).write_bytes(damaged)
        try:
            train = any(name.startswith("train") for name in names)
            assert is_good(good, train), f"silent: {kind} of {names}"
            seen["mended"] += 1
        except RuntimeError:
            seen["refused"] += 1
        finally:
            for name, content in intact.items():
                if not (raw / name).exists() or name in names:
                    (raw / name).write_bytes(content)

    corrupt()
    assert min(seen.values()) > 0 and sum(seen.values()) >= NUM_CORRUPTIONS


def load_in(folder: Path) -> None:
    mnist_helpers.DATA_DIR = folder
    MNIST.mirrors = ["http://127.0.0.1:9/"]
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


def test_eight_processes_load_a_fresh_clone_at_once(raw, good):
    loading = [process(load_in, raw.parent.parent) for _ in range(8)]
    for each in loading:
        each.join(timeout=120)
    assert [each.exitcode for each in loading] == [0] * 8
    assert is_good(good, train=True)


def test_a_kill_at_any_moment_of_the_first_load_loses_nothing(raw, good):
    process(time.sleep, 0).join()  # the first process of all waits for the imports
    start = time.perf_counter()
    whole = process(load_in, raw.parent.parent)
    whole.join(timeout=120)
    duration = time.perf_counter() - start
    assert whole.exitcode == 0
    moments, killed = random.Random(0), 0
    while killed < NUM_KILLS:
        for path in raw.iterdir():
            if path.suffix != ".gz":
                path.unlink()
        loading = process(load_in, raw.parent.parent)
        time.sleep(moments.uniform(0, duration))
        loading.kill()
        loading.join()
        killed += loading.exitcode == -signal.SIGKILL
        assert is_good(good, train=killed % 2 == 0)


def test_a_read_only_folder_with_good_files_loads(raw, good):
    load_mnist(train=False)
    with tempfile.TemporaryDirectory() as folder:  # outside of pytest's, which only we may enter
        data = Path(folder, "data")
        shutil.copytree(raw.parent.parent, data)
        for path in [folder, data, *data.rglob("*")]:
            os.chmod(path, 0o555)
        loading = process(load_as_nobody, data)
        loading.join(timeout=60)
        for path in [folder, data, *data.rglob("*")]:
            os.chmod(path, 0o755)
    assert loading.exitcode == 0


def load_as_nobody(folder: Path) -> None:
    load_in(folder)  # imports what it needs, which "nobody" may not be allowed to read
    if os.geteuid() == 0:  # nothing is read-only to root
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


CHECKPOINT_FAULTS = {  # fault: (file, what the user reads)
    "empty": (lambda: b"", "is empty"),
    "truncated": (lambda: MODEL_PATH.read_bytes()[:2_000_000], "truncated or damaged"),
    "damaged": (
        lambda: corrupted(MODEL_PATH.read_bytes(), "flip a bit", 0.5, 1, 6, b""),
        "truncated or damaged",
    ),
    "Git LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2871421\n",
        "git lfs pull",
    ),
    "HTML page": (lambda: b"\n<!DOCTYPE html><html>Not found</html>", "an HTML page"),
    "text": (lambda: b"hello", "is not a checkpoint"),
    "old pickle": (lambda: pickle.dumps({"a": 1}), "is not a checkpoint"),
    "other archive": (zip_of_text, "an archive, but no checkpoint"),
    "whole model": (lambda: checkpoint_of(Network()), "could run code"),
    "list": (lambda: checkpoint_of([1, 2]), "no state_dict"),
    "dict of numbers": (lambda: checkpoint_of({"hidden1.weight": 1}), "no state_dict"),
    "missing layer": (without_a_layer, "output.bias has none"),
    "another layer": (
        lambda: changed(extra=torch.zeros(2)),
        "another network's weights: extra has",
    ),
    "other shape": (
        lambda: changed(**{"hidden1.weight": torch.zeros(512, 784)}),
        r"hidden1.weight has torch.Size\(\[512, 784\]\), expected torch.Size\(\[784, 784\]\)",
    ),
    "other type": (lambda: changed(**{"output.bias": torch.zeros(10).double()}), "torch.float64"),
    "NaN": (lambda: changed(**{"output.bias": torch.full((10,), torch.nan)}), "not finite"),
    "infinity": (lambda: changed(**{"output.bias": torch.full((10,), torch.inf)}), "not finite"),
}


@pytest.mark.parametrize("fault", CHECKPOINT_FAULTS)
def test_a_bad_checkpoint_is_named_and_the_model_untouched(fault, tmp_path):
    make, what_is_said = CHECKPOINT_FAULTS[fault]
    path = tmp_path / "weights.pth"
    path.write_bytes(make())
    model = Network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=what_is_said) as error:
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


def test_no_corruption_of_a_checkpoint_is_silent(tmp_path):
    intact = MODEL_PATH.read_bytes()
    others = [b"", b"<html>", (RAW / "t10k-labels-idx1-ubyte.gz").read_bytes(), zip_of_text()]
    expected = torch.load(MODEL_PATH)
    path = tmp_path / "weights.pth"
    seen = {"same weights": 0, "refused": 0}

    @MANY
    @given(other=st.sampled_from(others), edge=st.booleans(), **DAMAGE)
    def corrupt(other, edge, kind, where, length, bit):
        # Half of the damage goes to the archive's directory, in the last kilobyte of the file.
        where = 1 - (1 - where) * 1000 / len(intact) if edge else where
        path.write_bytes(corrupted(intact, kind, min(where, 0.9999999), length, bit, other))
        model = Network()
        before = [parameter.clone() for parameter in model.parameters()]
        try:
            load_checkpoint(model, path)
        except ValueError:
            seen["refused"] += 1
            assert all(map(torch.equal, before, model.parameters()))
        else:
            seen["same weights"] += 1
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, expected[name]), f"silent: {kind} at {where}"

    corrupt()
    assert seen["refused"] > 0 and sum(seen.values()) >= NUM_CORRUPTIONS


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
    for _ in range(NUM_KILLS):
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


def test_a_checkpoint_folder_that_cannot_be_written_is_named_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "weights.pth")
    check_writable(tmp_path / "new" / "weights.pth")
    assert list((tmp_path / "new").iterdir()) == []

    def read_only(**_):
        raise PermissionError("Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(OSError, match=r"Can't write to .*new"):
        check_writable(tmp_path / "new" / "weights.pth")


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


def run_loop_of_notebook_03(train_loader, path, val_loader=None):
    """Run the training loop as it stands in notebook 03, on a few random images."""
    notebook = nbformat.read(ROOT / "notebooks" / "03_train_on_the_gpu.ipynb", as_version=4)
    (loop,) = [c.source for c in notebook.cells if "for epoch in range" in c.source]
    model = Network()
    scope = {
        "sys": sys, "torch": torch, "tqdm": tqdm, "evaluate": evaluate, "device": "cpu",
        "save_checkpoint": save_checkpoint, "CHECKPOINT_PATH": path, "num_train": 160,
        "train_loader": train_loader, "val_loader": val_loader or Batches(), "model": model,
        "loss_fn": nn.NLLLoss(), "optimizer": torch.optim.Adam(model.parameters(), lr=0.0001),
    }  # fmt: skip
    scope["val_loader"].in_epoch = None
    error = None
    try:
        exec(loop.replace("num_epochs = 10", "num_epochs = 4"), scope)
    except Exception as raised:
        error = raised
    return scope, error


def test_an_interrupt_within_an_epoch_keeps_the_best_weights_and_the_epochs_so_far(
    tmp_path, capsys
):
    path = tmp_path / "weights.pth"
    scope, error = run_loop_of_notebook_03(Batches(KeyboardInterrupt), path)
    assert error is None and "interrupted in epoch 2" in capsys.readouterr().out
    assert len(scope["train_losses"]) == len(scope["val_losses"]) == 1
    load_checkpoint(Network(), path)
    plot_losses(scope["train_losses"], scope["val_losses"])


def test_an_interrupt_while_validating_keeps_both_curves_equally_long(tmp_path):
    class Interrupting(Batches):
        def __iter__(self):
            self.epoch += 1
            if self.epoch == 3:
                raise KeyboardInterrupt
            return list.__iter__(self)

    scope, error = run_loop_of_notebook_03(
        Batches(in_epoch=None), tmp_path / "w.pth", Interrupting()
    )
    assert error is None
    assert len(scope["train_losses"]) == len(scope["val_losses"]) == 2


def test_a_loss_that_is_not_finite_is_located_and_nothing_saved(tmp_path):
    path = tmp_path / "weights.pth"
    scope, error = run_loop_of_notebook_03(Batches("NaN"), path)
    assert isinstance(error, FloatingPointError)
    assert "epoch 2, batch 3" in str(error)
    assert len(scope["val_losses"]) == 1
    load_checkpoint(Network(), path)  # refuses values that are not finite


def test_a_plot_of_no_epochs_says_so():
    with pytest.raises(ValueError, match="no epoch"):
        plot_losses([], [])


# Inputs -------------------------------------------------------------------------------------------

IMAGES = torch.rand(4, 1, 28, 28)
LABELS = torch.tensor([0, 1, 2, 3])
WRONG_IMAGES = {
    "raw uint8 pixels": ((IMAGES * 255).byte(), "torch.uint8.*divide by 255"),
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


def test_nbval_notices_a_dying_kernel_in_bounded_time_and_names_the_notebook(tmp_path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (flags,) = [line.split(":=")[1].split() for line in makefile.splitlines() if "NBVAL " in line]
    timeout = flags.index("--nbval-cell-timeout") + 1
    assert float(flags[timeout]) <= 300
    flags[timeout] = "5"
    cells = [nbformat.v4.new_code_cell("import os; os._exit(1)", execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "dying.ipynb")
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, str(tmp_path)], capture_output=True, text=True
    )
    assert result.returncode == 1 and "dying.ipynb::Cell 0" in result.stdout
    assert time.perf_counter() - start < 5 * 12
