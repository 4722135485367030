"""Run a script under torchrun, and kill one worker by SIGKILL after one of its steps: once only.

    torchrun ... kill_worker_once.py FLAG RANK STEP SCRIPT [ARGUMENTS]

The file FLAG says that it is done, so that the workers started instead run to the end.
"""

import os
import runpy
import signal
import sys
from itertools import count
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook

_, flag, rank, step, *sys.argv = sys.argv
steps = count(1)


def kill(*_):
    if next(steps) == int(step) and os.environ["RANK"] == rank and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)


register_optimizer_step_post_hook(kill)
leave, os._exit = os._exit, int  # a forked worker has yet to report that it is done
runpy.run_path(sys.argv[0], run_name="__main__")
os._exit = leave
