"""Run several commands at the same time, as notebook 11 does, and leave none behind."""

import time
from contextlib import suppress
from tempfile import TemporaryFile

import psutil


def run_together(*commands: list[str], seconds: float = 200) -> str:
    """Run commands at the same time and return what they print. None outlives this call.

    Raises:
        RuntimeError: a command failed, or they didn't come to an end in time. It ends with what
            they wrote to the standard error.
    """
    end = time.monotonic() + seconds
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        started, theirs = [], set()  # processes, and what these have started
        try:
            for command in commands:
                started.append(psutil.Popen(command, stdout=output, stderr=errors))
            while is_running(started) and time.monotonic() < end:
                theirs.update(*map(children_of, started))
                time.sleep(0.1)
        finally:  # even if you press stop
            codes = [process.poll() for process in started]  # None: it is still running
            for process in [*theirs, *started]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
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
