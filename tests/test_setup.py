"""The set-up: two lists of requirements, one lock for both, and what make is asked for."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from suite import find_notebooks

import mnist_helpers
from checkpoints import AUGMENTED_PATH, ROOT, checkpoint_folder

LISTS = [ROOT / "requirements.txt", ROOT / "requirements-test.txt"]
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


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_holds_a_version_within_bounds_of_all_that_is_required(python):
    pinned = pins(python)
    for requirement in REQUIRED:
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_the_lock_names_no_index_and_no_path():
    assert "//" not in LOCK and "--" not in LOCK and "file:" not in LOCK
    assert all(re.fullmatch(r"==[^,*+]+", str(r.specifier)) for r in read(LOCK))


def test_no_package_stands_in_both_lists():
    names = [requirement.name for requirement in REQUIRED]
    assert len(set(names)) == len(names) > 20


# Make ---------------------------------------------------------------------------------------------

COPIES = [  # of a learner, and notebooks of their own
    "03_train_the_network-Copy1.ipynb",
    "04_test_each_digit copy.ipynb",
    "Untitled.ipynb",
    "11 my own.ipynb",
]


@pytest.fixture
def clone(tmp_path):
    """A clone without data, in a folder whose name a shell must not see, with a learner's files."""
    if os.name == "nt" or shutil.which("make") is None:
        pytest.skip("no make here, or none for this Makefile")
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
    command = ["make", f"PYTHON={sys.executable}", "--old-file=.venv/ready", *arguments]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


def test_only_the_suites_own_notebooks_are_run(clone):
    own = [path.name for path in find_notebooks()]
    assert len(own) >= 10 and not set(COPIES) & set(own)
    assert [path.name for path in find_notebooks(clone)] == own
    for target in ("run", "test", "readme"):
        planned = make(clone, "--dry-run", target).stdout
        assert set(re.findall(r"notebooks/(\w+\.ipynb)", planned)) == set(own)
        assert not any(name in planned for name in COPIES)
        is_shell = subprocess.run(["bash", "-n"], input=planned, text=True, capture_output=True)
        assert is_shell.returncode == 0, is_shell.stderr


def test_a_learners_own_notebooks_are_not_linted(clone):
    """These are empty files, of which ruff would say that they are no notebooks."""
    shutil.copy(ROOT / "pyproject.toml", clone)

    def lint(*paths):
        command = [sys.executable, "-m", "ruff", "check", "--select=F", *paths]
        return subprocess.run(command, cwd=clone, capture_output=True).returncode

    assert lint(".") == 0
    assert lint("notebooks/Untitled.ipynb") != 0


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


@pytest.mark.parametrize("number", ["", "13", "Untitled"])
def test_a_full_run_is_of_a_notebook_that_is_named(clone, number):
    made = make(clone, "model", f"NOTEBOOK={number}")
    assert made.returncode != 0 and "make model NOTEBOOK=06" in made.stdout
    assert not list(clone.glob("**/*.pth"))


@pytest.mark.parametrize(
    "number, path", [("03", mnist_helpers.MODEL_PATH), ("06", AUGMENTED_PATH), ("11", None)]
)
def test_a_full_run_replaces_its_own_weights_by_those_that_it_made(clone, number, path):
    planned = make(clone, "--dry-run", "model", f"NOTEBOOK={number}").stdout
    assert planned.index("nbconvert") < planned.index("\ncp ") < planned.index("rm -r executed/")
    named = set(re.findall(r"notebooks/(\w+\.ipynb)", planned))
    assert len(named) == 1 and not any(name in planned for name in COPIES)
    copied = re.findall(r"^cp (.*)", planned, re.MULTILINE)
    made = f"executed/model/{number}"
    expected = [f"{made}/{path.name} {path.relative_to(ROOT)}"] if path else []
    assert copied == [f"{made}/*.json results", *expected]


def test_no_setting_makes_the_weights_that_ship_those_of_a_learner(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_CHECKPOINTS", "")
    assert checkpoint_folder() == ROOT / "checkpoints"
    monkeypatch.setenv("MNIST_CHECKPOINTS", str(tmp_path))
    assert checkpoint_folder() == tmp_path
    monkeypatch.chdir(ROOT / "notebooks")
    for folder in ("..", str(ROOT), "../weights/", str(ROOT / "notebooks" / ".." / "weights")):
        monkeypatch.setenv("MNIST_CHECKPOINTS", folder)
        with pytest.raises(ValueError, match="name another folder"):
            checkpoint_folder()


def environment_of_recipes(clone, **environment):
    """What the commands of make get of the environment that it is called in."""
    show = "show:\n\t@env"
    command = [
        "make",
        f"PYTHON={sys.executable}",
        "--old-file=.venv/ready",
        f"--eval={show}",
        "show",
    ]
    made = subprocess.run(
        command, cwd=clone, env=os.environ | environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return dict(line.split("=", 1) for line in made.stdout.splitlines() if "=" in line)


def test_what_changes_results_is_not_taken_from_the_readers_environment(clone):
    unset = {
        "MPLBACKEND": "Agg",
        "MATPLOTLIBRC": "/theirs",
        "PIP_USER": "1",
        "PIP_TARGET": "/theirs",
    }
    unset |= {"PIP_PREFIX": "/theirs", "PYTHONSAFEPATH": "1", "PYTHONPATH": "/theirs"}
    unset |= {"PYTHONOPTIMIZE": "1", "PYTHONSTARTUP": "/theirs", "PYTHONWARNINGS": "ignore"}
    moved = {"IPYTHONDIR": "/theirs", "MPLCONFIGDIR": "/not/writable"}
    kept = {"HTTPS_PROXY": "a proxy", "UV_DEFAULT_INDEX": "a mirror", "PIP_INDEX_URL": "a mirror"}
    given = environment_of_recipes(clone, **unset, **moved, **kept)
    assert not set(unset) & set(given)
    assert kept.items() <= given.items()
    for name in moved:
        assert given[name].startswith(f"{clone.resolve()}/.venv/")


@pytest.fixture
def planned_set_up(clone):
    """A clone that was set up, and what make would do to have it set up."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=clone, check=True)
    about = clone / ".venv" / "pyvenv.cfg"
    about.write_text(about.read_text().replace("venv --without-pip", "venv"))
    (packages,) = (clone / ".venv" / "lib").glob("python*/site-packages")
    (packages / "pip.py").touch()
    (clone / ".venv" / "bin" / "uv").touch()
    for name in ("requirements.txt", "requirements-test.txt", "requirements.lock"):
        (clone / name).touch()
    (clone / ".venv" / "ready").write_text("cpu\n")

    def plan(folder=clone, **environment):
        quietly = ["--dry-run", "--no-print-directory"]  # it may be called by make itself
        command = ["make", f"PYTHON={sys.executable}", *quietly, ".venv/ready"]
        made = subprocess.run(
            command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        return made.stdout

    return clone, plan


def test_what_is_set_up_stays(planned_set_up):
    clone, plan = planned_set_up
    assert "up to date" in plan()
    later = time.time() + 60
    os.utime(clone / "requirements.lock", (later, later))
    assert "uv pip install" in plan() and "rm -rf" not in plan()


def test_what_is_not_set_up_yet_is_set_up(planned_set_up):
    clone, plan = planned_set_up
    shutil.rmtree(clone / ".venv")
    planned = plan()
    assert planned.index("-m venv") < planned.index("uv pip install") and "rm -rf" not in planned
    subprocess.run(["bash", "-n"], input=planned, text=True, check=True)


def test_a_set_up_is_made_anew_where_the_clone_was_moved(planned_set_up):
    clone, plan = planned_set_up
    moved = clone.rename(clone.with_name("moved"))
    planned = plan(moved)
    assert (
        planned.index("rm -rf .venv") < planned.index("-m venv") < planned.index("uv pip install")
    )


def test_a_foreign_pythons_home_changes_nothing(planned_set_up):
    """Make gives it to the commands that it runs for itself, whatever is not exported."""
    clone, plan = planned_set_up
    elsewhere = {"PYTHONHOME": "/theirs"}
    assert "up to date" in plan(**elsewhere)
    command = ["make", f"PYTHON={sys.executable}", "--dry-run", "run"]
    planned = subprocess.run(command, cwd=clone, env=os.environ | elsewhere, capture_output=True)
    assert b"01_explore_the_data.ipynb" in planned.stdout


@pytest.mark.parametrize("gone", ["bin/python", "lib"])  # as after an upgrade of Python
def test_a_set_up_is_made_anew_where_its_python_is_gone(planned_set_up, gone):
    clone, plan = planned_set_up
    (clone / ".venv" / gone).rename(clone / "gone")
    planned = plan()
    assert (
        planned.index("rm -rf .venv") < planned.index("-m venv") < planned.index("uv pip install")
    )


@pytest.mark.parametrize("browser, returncode", [("", 0), ("required", 2)])
def test_without_a_browser_the_tests_fail_only_where_one_is_required(clone, browser, returncode):
    """Never because of CI, which bare machines set too."""
    shell = shutil.which("sh")
    arguments = ["CHROMIUM=no-such-browser", "NOTEBOOKS=none", "BIN=true #", f"SHELL={shell}"]
    command = ["make", "--old-file=lint", "--old-file=.venv/ready", *arguments, "test"]
    environment = os.environ | {"CI": "true", "BROWSER": browser}
    made = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert made.returncode == returncode, made.stdout + made.stderr
    assert "No Chromium with its driver here" in made.stdout


def test_jupyterlab_is_told_that_one_may_be_root(clone):
    planned = make(clone, "--dry-run", "lab").stdout
    assert ("--allow-root" in planned) == (os.geteuid() == 0)


def test_tests_have_a_checkpoint_folder_of_their_own():
    folder = Path(os.environ["MNIST_CHECKPOINTS"])
    assert mnist_helpers.CHECKPOINT_DIR == mnist_helpers.CHECKPOINT_PATH.parent == folder
    assert ROOT not in folder.parents and (folder / "MNIST_model.pth").is_file()
