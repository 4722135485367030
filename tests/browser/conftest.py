"""Chromium, without a window, and JupyterLab, for the tests in this folder.

They need Chromium's driver too (Debian: chromium and chromium-driver). Each file has a browser and
a server of its own, so that files can be tested beside each other.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from checkpoints import ROOT


@pytest.fixture(scope="module")  # a browser of their own: fingers leave their trace
def browser():
    from selenium import webdriver  # here, as the unit tests don't need it

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--window-size=1200,900"):
        options.add_argument(option)
    names = ("chromium", "google-chrome", "chromium-browser")
    options.binary_location = next(filter(None, map(shutil.which, names)))
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    driver.set_script_timeout(180)  # seconds: some wait until a whole notebook has run
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository, with what is not in it left out."""
    copy = tmp_path_factory.mktemp("repository") / "copy"
    left_out = shutil.ignore_patterns(".*", "checkpoints", "executed")
    return Path(shutil.copytree(ROOT, copy, ignore=left_out))


@pytest.fixture(scope="module")
def server(copy):
    """JupyterLab on the copy, as `make lab` serves it; yields its address."""
    folder = copy.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--ServerApp.root_dir={copy}", "--ServerApp.ip=127.0.0.1"),
        *(f"--ServerApp.port={port}", "--IdentityProvider.token=pad", "--expose-app-in-browser"),
    ]
    # The theme that a test chooses must not become that of the person who runs it.
    own_settings = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=own_settings)
    try:
        for _ in range(120):
            try:
                urlopen(f"http://127.0.0.1:{port}/api?token=pad").close()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=pad&reset"
    finally:
        process.terminate()
        process.wait(timeout=30)
