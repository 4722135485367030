"""What is kept on disk, all of it or nothing: checkpoints, whole files, the results of full runs.

And where: the paths of what ships, and of what a learner trains. Nothing of ours is imported.
"""

import copy
import io
import json
import os
import pickle
import platform
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from errno import EACCES
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import nn
from torch.types import Device

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODEL_PATH = ROOT / "MNIST_model.pth"  # ships with the project, made by notebook 03
AUGMENTED_PATH = ROOT / "weights" / "MNIST_model_augmented.pth"  # made by notebook 06
CONVOLUTIONAL_PATH = ROOT / "weights" / "MNIST_model_convolutional.pth"  # made by notebook 08
PEOPLE_PATH = ROOT / "weights" / "MNIST_model_people.pth"  # made by notebook 09
PAGES_PATH = ROOT / "weights" / "MNIST_model_pages.pth"  # made by notebook 10


def checkpoint_folder() -> Path:
    """Return where it is kept what you train yourself.

    The environment variable ``MNIST_CHECKPOINTS`` names another folder: for a clone that can't be
    written to, and for the tests and `make model`, which must not touch what is yours.

    Raises:
        ValueError: it names a folder with weights that ship, which would be replaced there.
    """
    chosen = os.environ.get("MNIST_CHECKPOINTS")
    if not chosen:
        return ROOT / "checkpoints"
    if Path(chosen).resolve() in (MODEL_PATH.parent, AUGMENTED_PATH.parent):
        raise ValueError(
            f"MNIST_CHECKPOINTS={chosen} is where weights are that ship: name another folder"
        )
    return Path(chosen)


CHECKPOINT_DIR = checkpoint_folder()
CHECKPOINT_PATH = CHECKPOINT_DIR / "MNIST_model.pth"  # written by notebook 03

FULL = os.environ.get("FULL") == "1"  # a full run: it takes long, and stores what it finds


# Checkpoints --------------------------------------------------------------------------------------


def save_checkpoint(model: nn.Module, path: Path | str, **more) -> None:
    """Save the model's weights as a ``state_dict`` of CPU tensors, all of them or nothing.

    Given ``more``, such as an optimizer's state, the file holds a dict instead: the weights under
    "model", and each item of ``more`` under its own name.

    At any moment, even if the process is killed, the old file is there or the new one: the new one
    is written under another name first, and then renamed in one step.

    Raises:
        ValueError: ``load_checkpoint`` would refuse it: weights that are not finite, or those of a
            wrapped network, or something in ``more`` that could run code when it is loaded.
        OSError: the file can't be written. It names the path; what was there before stays.
    """
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({"model": weights, **more} if more else weights, content)
    try:
        read_checkpoint(model, content.getvalue())
    except ValueError as error:
        raise ValueError(f"Nothing was saved to {path}: {error}") from None
    write_whole(content.getvalue(), path)


def load_checkpoint(model: nn.Module, path: Path | str) -> dict | None:
    """Load into ``model`` the weights that ``save_checkpoint`` wrote, once they are verified.

    Returns:
        What was saved beside the weights, or None if they were saved alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names the file, its fault and the remedy. The model stays as it was.
    """
    remedy = (
        "Make it anew or, if it ships, get it back by `git restore '*.pth'` in the top folder of "
        "the repository. TROUBLESHOOTING.md says more."
    )
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. {remedy}")
    try:
        weights, more = read_checkpoint(model, path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged, or no checkpoint of this network: {error}. {remedy}"
        ) from None
    model.load_state_dict(weights)
    return more


def read_checkpoint(model: nn.Module, content: bytes) -> tuple[dict, dict | None]:
    """Return verified weights for the model, and what was saved beside them.

    Raises:
        ValueError: it says what is wrong with the content.
    """
    try:
        loaded = torch.load(verified_archive(content), map_location="cpu", weights_only=True)
        weights, more = split_checkpoint(loaded)
        check_weights(model, weights)
        return weights, more
    except pickle.UnpicklingError:  # its text advises to load unsafely
        fault = "it holds other things than tensors, numbers and text, and these could run code"
        raise ValueError(fault) from None
    except Exception as error:  # zipfile and PyTorch raise many kinds
        fault = str(error).rstrip(". ")
        if not content.startswith(b"PK"):  # as every zip archive does
            fault += f"; it starts with {content[:30]}"  # enough to see what it is
        raise ValueError(fault) from None


def split_checkpoint(loaded) -> tuple[dict, dict | None]:
    """Return the weights, and what was saved beside them, or None if nothing was."""
    if isinstance(loaded, dict) and "model" in loaded:
        more = {name: value for name, value in loaded.items() if name != "model"}
        return loaded["model"], more
    return loaded, None


def check_weights(model: nn.Module, weights) -> None:
    """Raise an error that says what is wrong, unless the weights fit the model and are finite."""
    if not isinstance(weights, dict):
        raise ValueError(f"it holds a {type(weights).__name__} in place of a dict of weights")
    for wrapper, prefix in ("DataParallel", "module."), ("compile", "_orig_mod."):
        all_begin_so = weights and all(str(name).startswith(prefix) for name in weights)
        # A network may also have a child of this name, and no other.
        if all_begin_so and (is_wrapper(model) or weights.keys() != model.state_dict().keys()):
            raise ValueError(f"the network was wrapped by {wrapper}: save the inner one")
    trial = copy.deepcopy(model)  # the model itself stays as it is until all is well
    trial.load_state_dict(weights)  # PyTorch names what doesn't fit
    for name, tensor in trial.state_dict().items():
        if weights[name].dtype != tensor.dtype:
            raise ValueError(f"{name} must be {tensor.dtype}, not {weights[name].dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite: the training that made it has failed")


def is_wrapper(model: nn.Module) -> bool:
    """Tell whether a network is inside of this one, which only changes how it is computed."""
    in_parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return isinstance(model, in_parallel) or hasattr(model, "_orig_mod")  # torch.compile's


# Whole files --------------------------------------------------------------------------------------


def write_whole(content: bytes, path: Path | str) -> None:
    """Write a file as ``save_checkpoint`` does: all of it, or nothing and an OSError."""
    path = Path(path).resolve()  # of a link its target: the link itself would be replaced
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not may_be_written(path):  # to rename needs no permission
            raise PermissionError(EACCES, "The file is write-protected")
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # wait until the bytes are on the disk
        if path.exists():
            shutil.copymode(path, unfinished)  # keep the old file's permissions
        os.replace(unfinished, path)
    except OSError as error:  # some, such as that of a full disk, don't name the file
        fault = f"{error.strerror}, so nothing was saved"
        raise OSError(error.errno, fault, str(path)) from error
    finally:
        with suppress(OSError):  # the error above tells more than that of a clean-up
            unfinished.unlink(missing_ok=True)


def may_be_written(path: Path) -> bool:
    """Tell whether the file's permissions allow it, also to root, whom nothing else stops."""
    somebody_may = path.stat().st_mode & 0o222 != 0
    return somebody_may and os.access(path, os.W_OK)


def verified_archive(content: bytes, may_be_compressed: bool = False) -> io.BytesIO:
    """Pack the entries of a zip archive anew, each read with its checksum verified.

    PyTorch reads no checksums, so it gets an archive of which no byte is unverified. It compresses
    nothing either: what is compressed is not its own, and could become a thousand times as large.
    """
    verified = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(verified, "w") as new:
        for entry in old.infolist():
            if entry.compress_type != zipfile.ZIP_STORED and not may_be_compressed:
                raise ValueError(f"{entry.filename} is compressed, which PyTorch never does")
        each_name_once = dict.fromkeys(old.namelist())  # a damaged directory may repeat one
        for name in each_name_once:
            new.writestr(name, old.read(name))
    verified.seek(0)
    return verified


# Results ------------------------------------------------------------------------------------------


class Results:
    """What the full run of a notebook found, by name: data, which a plain run only recalls.

    A full run keeps each entry as soon as it is found, in the folder of checkpoints. So if it was
    stopped, it goes on where it was. `make model` puts the file into ``results/`` at the end.
    """

    def __init__(self, name: str, device: Device = "cpu"):
        self.name = name
        self.device = torch.device(device)
        self.path = CHECKPOINT_DIR / f"{name}.json"
        self.stored = read_entries(ROOT / "results" / f"{name}.json")
        self.found = read_entries(self.path) if FULL else {}

    def recall(self, entry: str, find: Callable | None = None, *args, **kwargs) -> Any:
        """Return what is stored under a name. In a full run it is first found, by calling ``find``.

        Args:
            find: what returns it, called with all further arguments, if this full run hasn't found
                it yet. Without it, what is in ``results/`` is returned in a full run, too.

        Returns:
            What JSON makes of it: a list of a tuple, and so on.

        Raises:
            KeyError: nothing is stored under this name.
        """
        if FULL and find is not None:
            if entry not in self.found:
                found = find(*args, **kwargs)
                self.found[entry] = about_this_machine(self.device) | {"found": found}
                write_whole(lines_of(self.found), self.path)
                self.found = read_entries(self.path)
            return self.found[entry]["found"]
        if entry not in self.stored:
            raise KeyError(f"results/{self.name}.json has no {entry!r}: see `make model`")
        return self.stored[entry]["found"]

    def about(self) -> str:
        """Say when, and on what machines, the stored entries were found."""
        text = "{date}, {processor}, threads: {threads}, PyTorch {pytorch}"
        return "; ".join(dict.fromkeys(text.format(**entry) for entry in self.stored.values()))


def read_entries(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def lines_of(entries: dict[str, dict]) -> bytes:
    """Return entries as JSON, a line for each."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def about_this_machine(device: torch.device) -> dict:
    """Return the day, and what computes here."""
    return {
        "date": date.today().isoformat(),
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "pytorch": torch.__version__.split("+")[0],
    }


def processor_name(device: torch.device) -> str:
    """Return what a device is called, as far as the system tells it."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).get_device_name(device)
    if device.type != "cpu":  # an Apple GPU, say, which has the name of its processor
        return f"{device.type} device of {processor_name(torch.device('cpu'))}"
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:  # no Linux
        names = []
    name = names[0] if names else platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{name.replace('(R)', '')} with {instructions}"
