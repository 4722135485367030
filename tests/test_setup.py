"""The set-up: one list of requirements, and a lock that goes with it on every Python."""

import re

import pytest
from packaging.requirements import Requirement

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
