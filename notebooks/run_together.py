"""Run several commands at the same time, as notebook 11 does, and leave none behind."""

import os
import signal
import time
from contextlib import suppress
from tempfile import TemporaryFile

import psutil

GROUP = 0 if hasattr(os, "killpg") else None  # 0 makes a new one; Windows has none


def run_together(*commands: list[str], seconds: float = 200) -> str:
    """Run commands at the same time and return what they print. None outlives this call.

    Raises:
        RuntimeError: a command failed, or they didn't come to an end in time. It ends with what
            they wrote to the standard error.
    """
    end = time.monotonic() + seconds
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        started, theirs = [], set()  # processes, and what these have started
        groups = set()
        try:
            for command in commands:
                # In a group of its own, in which all stay that it starts, and that those start,
                # unless they make groups of theirs.
                process = psutil.Popen(command, stdout=output, stderr=errors, process_group=GROUP)
                started.append(process)
            while is_running(started) and time.monotonic() < end:
                theirs.update(*map(children_of, started))
                groups.update(*map(group_of, [*started, *theirs]))
                time.sleep(0.1)
        finally:  # even if you press stop
            codes = [process.poll() for process in started]  # None: it is still running
            for process in [*theirs, *started]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            for group in groups:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            for process in started:
                process.wait()
        if any(code != 0 for code in codes):
            errors.seek(0)
            raise RuntimeError(f"the commands ended with {codes}: {errors.read()[-3000:]}")
        output.seek(0)
        return output.read()


def is_running(started: list[psutil.Popen]) -> bool:
    """Tell whether some are still at work, and none has failed."""
    codes = [process.poll() for process in started]
    return None in codes and not any(codes)


def children_of(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:  # it has ended
        return []


def group_of(process: psutil.Process) -> set[int]:
    """Return the number of its group, which its children join; none under Windows."""
    if GROUP is None:
        return set()
    with suppress(ProcessLookupError):
        return {os.getpgid(process.pid)}
    return set()  # it has ended
