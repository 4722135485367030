"""Run several commands at the same time, as notebook 12 does, and leave none behind."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from tempfile import TemporaryFile

import psutil

MARK = "RUN_TOGETHER"  # an environment variable


def run_together(*commands: list[str], seconds: float = 200) -> str:
    """Run commands at the same time and return what they print. None outlives this call.

    Raises:
        RuntimeError: a command failed, or they didn't come to an end in time. It ends with what
            they wrote to the standard error.
    """
    end = time.monotonic() + seconds
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark}  # which all inherit that they start, too
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        started = []
        try:
            for command in commands:
                process = psutil.Popen(command, stdout=output, stderr=errors, env=environment)
                started.append(process)
            while is_running(started) and time.monotonic() < end:
                time.sleep(0.1)
        finally:  # even if you press stop
            codes = [process.poll() for process in started]  # None: it is still running
            left = [*started, *marked(mark)]
            while left:
                for process in left:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(0.05)
                left = list(marked(mark))
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


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield all processes with this mark: what was started, and what these have started."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is another person's
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            if not is_dead and process.environ().get(MARK) == mark:
                yield process
