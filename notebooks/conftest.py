"""For nbval: its kernels inherit the environment of the tests."""

import environment  # noqa: F401
