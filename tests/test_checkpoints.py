"""Checkpoints: loaded back bit for bit, or refused with the reason; saved whole, or not at all."""

import errno
import io
import os
import pickle
import random
import re
import signal
import stat
import struct
import threading
import zipfile
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from damage import DAMAGE, MANY, NUM_CORRUPTIONS, corrupted
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from checkpoints import DATA_DIR, MODEL_PATH, load_checkpoint, save_checkpoint
from mnist_helpers import Network

STRIDE = 9  # of the checkpoint's headers, every ninth byte; all of them were tried once


# Saved and loaded ---------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"losses": ([0.5, 0.25], [1.0]), "best": torch.ones(2)}])
def test_a_saved_checkpoint_loads_back_bit_for_bit(tmp_path, more):
    path = tmp_path / "folder" / "weights.pth"
    saved, loaded = Network(), Network()
    save_checkpoint(saved, path, **more)
    beside = load_checkpoint(loaded, path)
    for name, weights in saved.state_dict().items():
        assert torch.equal(weights, loaded.state_dict()[name])
    assert (beside is None) if not more else (list(beside) == list(more))
    assert not more or (beside["losses"] == more["losses"] and beside["best"].equal(more["best"]))
    assert [file.name for file in path.parent.iterdir()] == ["weights.pth"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_saved_checkpoint_has_the_permissions_that_a_plain_write_gives(tmp_path):
    path, plain = tmp_path / "weights.pth", tmp_path / "plain"
    plain.touch()
    save_checkpoint(Network(), path)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    save_checkpoint(Network(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    link = tmp_path / "link.pth"
    link.symlink_to(path)
    save_checkpoint(Network(), link)
    assert link.is_symlink() and not path.is_symlink()


def test_threads_that_save_to_one_path_do_not_disturb_each_other(tmp_path):
    path, failures = tmp_path / "weights.pth", []

    def save():
        try:
            for _ in range(10):
                save_checkpoint(Network(), path)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    load_checkpoint(Network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


# Bad files ----------------------------------------------------------------------------------------


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


def compressed():
    packed = io.BytesIO()
    new_archive = zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(MODEL_PATH) as stored, new_archive as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    return packed.getvalue()


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
    "other archive": (zip_of_text, "not in a subdirectory: readme.txt"),
    "compressed": (compressed, "data.pkl is compressed, which PyTorch never does"),
    "whole model": (lambda: checkpoint_of(Network()), "could run code"),
    "list": (lambda: checkpoint_of([torch.zeros(2)]), "a list in place of a dict of weights"),
    "tensor": (lambda: checkpoint_of(torch.zeros(2)), "a Tensor in place of a dict of weights"),
    "list beside more": (lambda: checkpoint_of({"model": [1]}), "a list in place of a dict"),
    "dict of numbers": (lambda: checkpoint_of({"hidden1.weight": 1}), "hidden1.weight"),
    "of a DataParallel": (lambda: wrapped("module."), "was wrapped by DataParallel"),
    "of a compiled model": (lambda: wrapped("_orig_mod."), "was wrapped by compile"),
    "missing layer": (without_a_layer, 'Missing.*"output.bias"'),
    "another layer": (lambda: changed(extra=torch.zeros(2)), 'Unexpected.*"extra"'),
    "other shape": (
        lambda: changed(**{"hidden1.weight": torch.zeros(512, 784)}),
        r"hidden1.weight.*\[512, 784\].*\[784, 784\]",
    ),
    "other type": (
        lambda: changed(**{"output.bias": torch.zeros(10).double()}),
        "output.bias must be torch.float32, not torch.float64",
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
    assert str(path) in message and "git restore '*.pth'" in message
    shown = "".join(str(e) for e in (error.value, error.value.__cause__, error.value.__context__))
    assert "weights_only" not in shown, "never advise to load unsafely"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_missing_checkpoint_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="git restore"):
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
    others = [
        b"",
        b"<html>",
        (DATA_DIR / "MNIST/raw/t10k-labels-idx1-ubyte.gz").read_bytes(),
        zip_of_text(),
    ]
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
    flips = [(place, bits.randrange(8)) for place in places[::STRIDE]]
    # One bit of an entry's attributes says "directory": PyTorch then reads nothing for a tensor.
    records = [m.start() for m in re.finditer(b"PK\x01\x02", intact) if m.start() >= directory]
    flips += [(record + 38, 4) for record in records]
    seen = {"same weights": 0, "refused": 0, "silent": 0}
    for place, bit in flips:
        flipped = bytes([intact[place] ^ 1 << bit])
        seen[check_corruption(intact[:place] + flipped + intact[place + 1 :])] += 1
    assert len(records) == len(entries) and seen["silent"] == 0
    assert min(seen["refused"], seen["same weights"]) > 0


# Saving is disturbed ------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("step", ["write", "fsync", "replace", "unlink"])
def test_a_kill_at_any_step_of_saving_leaves_a_whole_checkpoint(tmp_path, step):
    """Until the new file is in its place, the old one is there."""
    path = tmp_path / "weights.pth"
    save_checkpoint(processes.constant_network(0), path)
    saving = processes.start(processes.save_and_be_killed, path, step)
    saving.join(timeout=60)
    assert saving.exitcode == -signal.SIGKILL
    model = Network()
    load_checkpoint(model, path)
    is_replaced = step == "unlink"  # the last step, which finds nothing to clean up
    assert all((parameter == is_replaced).all() for parameter in model.parameters())


def test_processes_that_save_to_one_path_and_one_that_loads_see_whole_files_only(tmp_path):
    path = tmp_path / "weights.pth"
    save_checkpoint(processes.constant_network(0), path)
    saving = [processes.start(processes.save_often, path, value, 20) for value in (0, 1)]
    model = Network()
    loads = 0
    while any(process.is_alive() for process in saving):
        load_checkpoint(model, path)
        assert len({parameter.mean().item() for parameter in model.parameters()}) == 1
        loads += 1
    for process in saving:
        process.join()
    assert [process.exitcode for process in saving] == [0, 0] and loads > 0
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """Let no file grow beyond 2 MB, which is less than the weights take."""
    resource = pytest.importorskip("resource")  # not on Windows
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_save_without_room_names_path_and_reason_and_keeps_the_old_file(tmp_path, request):
    path = tmp_path / "weights.pth"
    save_checkpoint(Network(), path)
    before = path.read_bytes()
    request.getfixturevalue("full_disk")
    with pytest.raises(
        OSError, match=r"File too large, so nothing was saved: .*weights\.pth"
    ) as error:
        save_checkpoint(Network(), path)
    assert error.value.errno == errno.EFBIG
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]
    assert path.read_bytes() == before


def test_a_disk_that_is_full_at_the_very_end_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    save_checkpoint(Network(), path)
    before = path.read_bytes()

    def disk_full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match=r"No space left on device, .*weights\.pth"):
        save_checkpoint(Network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]
    assert path.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        save_checkpoint(Network(), tmp_path / "file" / "weights.pth")


# What would not load is not saved -----------------------------------------------------------------


def with_a_nan():
    model = Network()
    nn.init.constant_(model.output.bias, torch.nan)
    return model


UNLOADABLE = {  # what: (model, more, what the user reads)
    "nan": (with_a_nan, {}, "output.bias must be finite"),
    "compiled": (lambda: torch.compile(Network(), backend="eager"), {}, "was wrapped by compile"),
    "DataParallel": (lambda: nn.DataParallel(Network()), {}, "was wrapped by DataParallel"),
    "a number of numpy's": (Network, {"best": np.float64(0.5)}, "could run code"),
    "a path": (Network, {"folder": Path("here")}, "could run code"),
}


@pytest.mark.parametrize("what", UNLOADABLE)
def test_what_load_checkpoint_would_refuse_is_not_saved(tmp_path, what):
    make_model, more, what_is_said = UNLOADABLE[what]
    path = tmp_path / "weights.pth"
    save_checkpoint(Network(), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"Nothing was saved to .*weights\.pth.*{what_is_said}"):
        save_checkpoint(make_model(), path, **more)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


def test_a_network_whose_parts_have_such_names_is_saved_and_loaded(tmp_path):
    """Such as the running average of a network's weights, beside which stands a counter."""
    averaged, other = (torch.optim.swa_utils.AveragedModel(Network()) for _ in range(2))
    save_checkpoint(averaged, tmp_path / "averaged.pth")
    load_checkpoint(other, tmp_path / "averaged.pth")
    assert torch.equal(averaged.module.output.bias, other.module.output.bias)


class Holder(nn.Module):
    """A network whose only child has a name that wrappers use."""

    def __init__(self, name):
        super().__init__()
        self.add_module(name, nn.Linear(3, 2))


def test_a_network_may_have_one_child_that_is_called_module(tmp_path):
    saved, loaded = Holder("module"), Holder("module")
    save_checkpoint(saved, tmp_path / "weights.pth")
    load_checkpoint(loaded, tmp_path / "weights.pth")
    assert torch.equal(saved.module.weight, loaded.module.weight)


def test_a_write_protected_file_stays_for_root_too(tmp_path):
    path = tmp_path / "weights.pth"
    save_checkpoint(Network(), path)
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(PermissionError, match=r"write-protected, so nothing was saved.*weights"):
        save_checkpoint(Network(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]
    path.chmod(0o644)
    save_checkpoint(Network(), path)
    assert path.read_bytes() != before


def test_saving_and_loading_name_their_file():
    """With defaults, what was saved would not be what is loaded next."""
    for function in (save_checkpoint, load_checkpoint):
        with pytest.raises(TypeError, match="path"):
            function(Network())
