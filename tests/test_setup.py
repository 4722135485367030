"""The set-up: one list of requirements, a lock that goes with it, and what make is asked for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from suite import find_notebooks

import mnist_helpers
from mnist_helpers import ROOT

LISTS = [ROOT / "requirements.txt", ROOT / "tests" / "browser_requirements.txt"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def read(text):
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


REQUIRED = [r for path in LISTS for r in read(path.read_text(encoding="utf-8"))]


def pins(python):
    """Version of each package that the lock holds for this Python, under Linux."""
    system = {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"}
    system |= {"python_version": python, "python_full_version": f"{python}.0"}
    pinned = [r for r in read(LOCK) if r.marker is None or r.marker.evaluate(system)]
    assert len({r.name for r in pinned}) == len(pinned)
    return {r.name: str(r.specifier).removeprefix("==") for r in pinned}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_lock_holds_a_version_within_bounds_of_all_that_is_required(python):
    pinned = pins(python)
    for requirement in REQUIRED:
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_the_lock_names_no_index_and_no_path():
    assert "//" not in LOCK and "--" not in LOCK and "file:" not in LOCK
    assert all(re.fullmatch(r"==[^,*+]+", str(r.specifier)) for r in read(LOCK))


def test_conda_reads_the_one_list_of_requirements():
    assert "- -r requirements.txt" in (ROOT / "environment.yml").read_text(encoding="utf-8")


# Make ---------------------------------------------------------------------------------------------

COPIES = [  # of a learner, and notebooks of their own
    "03_train_on_the_gpu-Copy1.ipynb",
    "04_test_each_digit copy.ipynb",
    "Untitled.ipynb",
    "11 my own.ipynb",
]


@pytest.fixture
def clone(tmp_path):
    """A clone without data, in a folder whose name a shell must not see, with a learner's files."""
    folder = tmp_path / "Pat's $HOME & more"
    folder.mkdir()
    for name in ("Makefile", "tools", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        copy = shutil.copyfile if name == "Makefile" else shutil.copytree
        copy(ROOT / name, folder / name, **({} if copy is shutil.copyfile else {"ignore": ignored}))
    for name in COPIES:
        (folder / "notebooks" / name).write_text("")
    return folder


def make(clone, *arguments):
    """Call make as if ``.venv`` were there."""
    if shutil.which("make") is None:
        pytest.skip("no make here")
    command = ["make", f"PYTHON={sys.executable}", "--old-file=.venv/ready", *arguments]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


def test_only_the_suites_own_notebooks_are_run(clone):
    own = [path.name for path in find_notebooks()]
    assert len(own) >= 10 and not set(COPIES) & set(own)
    assert [path.name for path in find_notebooks(clone)] == own
    for target in ("run", "test", "readme", "model"):
        planned = make(clone, "--dry-run", target).stdout
        named = set(re.findall(r"notebooks/(\w+\.ipynb)", planned))
        assert named == set(own) if target in ("run", "test") else named < set(own)
        assert not any(name in planned for name in COPIES)
        is_shell = subprocess.run(["bash", "-n"], input=planned, text=True, capture_output=True)
        assert is_shell.returncode == 0, is_shell.stderr


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_outputs_are_compared_where_they_can_be_equal(clone, system):
    planned = make(clone, "--dry-run", "test", f"SYSTEM={system}").stdout
    (command,) = re.findall(r"pytest -n 2 (\S+)", planned)
    assert command == ("--nbval" if system == "Linux" else "--nbval-lax")
    said = re.search(f'test "{command}" = --nbval \\|\\| echo "(.*)"', planned)[1]
    assert said == f"On {system} outputs are not compared: each cell has to run."


def test_all_tests_are_run_by_test_all_only(clone):
    assert "-m ''" in make(clone, "--dry-run", "test-all").stdout
    assert "-m ''" not in make(clone, "--dry-run", "test").stdout


def test_a_short_run_never_replaces_the_weights_that_ship(clone):
    (clone / "checkpoints").mkdir()
    (clone / "checkpoints" / "MNIST_model.pth").write_text("a learner's")
    made = make(clone, "model", "SEEDS=0")
    assert made.returncode != 0 and "SEEDS=0 is the short run" in made.stdout
    assert not list(clone.glob("*.pth")) and not (clone / "weights").exists()
    assert (clone / "checkpoints" / "MNIST_model.pth").read_text() == "a learner's"


def test_weights_are_taken_from_a_folder_in_which_nothing_is_older(clone):
    planned = make(clone, "--dry-run", "model").stdout
    copied = re.findall(r"^cp (.*)", planned, re.MULTILINE)
    assert len(copied) == 2 and planned.index("rm -rf executed/model") < planned.index("nbconvert")
    for line in copied:
        *sources, _ = line.split()
        assert all(source.startswith("executed/model/checkpoints/") for source in sources)


def test_tests_have_a_checkpoint_folder_of_their_own():
    folder = Path(os.environ["MNIST_CHECKPOINTS"])
    assert mnist_helpers.CHECKPOINT_DIR == mnist_helpers.CHECKPOINT_PATH.parent == folder
    assert ROOT not in folder.parents and (folder / "MNIST_model.pth").is_file()
