"""The set-up: the lock, and what make does with it, with stand-ins for the packages."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement

from mnist_helpers import ROOT

LISTS = [ROOT / "requirements.txt", ROOT / "tests" / "browser_requirements.txt"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
UV = ROOT / ".venv" / "bin" / "uv"


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


def stand_in(folder, name, version, requires=()):
    """Write a wheel that holds nothing."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {other}\n" for other in requires)
    files = {
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{record},,"]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            lines.append(f"{path},sha256={digest.decode().rstrip('=')},{len(text)}")
        wheel.writestr(record, "\n".join(lines))


@pytest.mark.skipif(not UV.exists(), reason="the environment was not set up by make")
@pytest.mark.parametrize("backend, local, gpu_library", [("", "", True), ("cpu", "+cpu", False)])
def test_make_takes_the_locked_versions_of_the_builds_chosen(tmp_path, backend, local, gpu_library):
    """torch-backend=cpu asks PyTorch's own index, and what only CUDA needs stays out."""
    links = tmp_path / "links"
    links.mkdir()
    pinned = pins("{}.{}".format(*sys.version_info))
    for name in {r.name for r in REQUIRED} - {"torch"}:
        stand_in(links, name, pinned[name])
        stand_in(links, name, "9999")  # newer than the lock
    gpu = ["nvidia-nccl-cu13"] if gpu_library else []
    stand_in(links, "torch", pinned["torch"] + local, gpu)
    stand_in(links, "torch", "9999" + local)
    stand_in(links, "nvidia-nccl-cu13", pinned["nvidia-nccl-cu13"])

    for name in ("Makefile", "requirements.txt", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (tmp_path / ".venv" / "bin" / "uv").symlink_to(UV)
    settings = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(links), "UV_CACHE_DIR": str(tmp_path / "c")}
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("UV_", "MAKE", "MFLAGS"))
    }
    result = subprocess.run(
        ["make", ".venv/ready", f"TORCH_BACKEND={backend}"],
        cwd=tmp_path,
        env=environment | settings | {"RUST_LOG": "uv=debug"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"{tmp_path}/.venv" in result.stdout and "GB" in result.stdout  # what, and where to
    assert ("https://download.pytorch.org/whl/cpu/torch/" in result.stderr) == (backend == "cpu")

    packages = (tmp_path / ".venv").rglob("*.dist-info")
    installed = dict(path.name.removesuffix(".dist-info").split("-") for path in packages)
    assert installed.pop("torch") == pinned["torch"] + local
    assert ("nvidia_nccl_cu13" in installed) == gpu_library
    for requirement in read(LISTS[0].read_text(encoding="utf-8")):
        if requirement.name != "torch":
            assert installed[requirement.name.replace("-", "_")] == pinned[requirement.name]
