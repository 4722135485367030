"""Commands that notebook 12 runs at the same time: what they print, and that none is left."""

import sys
import time

import psutil
import pytest
from run_together import run_together

# It starts a process of its own, says its number, and then waits for long.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(100)
"""
FAILS_LATER = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
time.sleep(0.5)
sys.exit("this one fails")
"""


def python(code, *arguments):
    return [sys.executable, "-c", code, *map(str, arguments)]


def is_gone(pid):
    """A process that has ended, and that nobody waits for, stays as a zombie in a container."""
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


# It starts a process that starts another one and ends, and then fails.
LEAVES_A_GRANDCHILD = """
import subprocess, sys
inner = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; " \
    "time.sleep(100)']); open(sys.argv[1], 'w').write(str(child.pid))"
subprocess.run([sys.executable, "-c", inner, sys.argv[1]])
sys.exit("it fails")
"""


def test_a_process_whose_parent_has_ended_is_not_left_either(tmp_path):
    with pytest.raises(RuntimeError, match="it fails"):
        run_together(python(LEAVES_A_GRANDCHILD, tmp_path / "child"))
    assert is_gone(int((tmp_path / "child").read_text()))


def test_what_all_print_comes_back():
    said = run_together(*(python(f"print({number})") for number in (1, 2)))
    assert sorted(said.split()) == ["1", "2"]


@pytest.mark.parametrize("why", ["the other fails", "the time is up"])
def test_nothing_outlives_a_failure(tmp_path, why):
    child = tmp_path / "child"
    commands = [python(PARENT, child)]
    if why == "the other fails":
        commands.append(python(FAILS_LATER, child))
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match="this one fails" if len(commands) == 2 else r"\[None\]"):
        run_together(*commands, seconds=3 if len(commands) == 1 else 60)
    assert time.perf_counter() - start < 30
    assert is_gone(int(child.read_text()))
