import environment  # noqa: F401
import matplotlib
import pytest

matplotlib.use("Agg")  # no test opens a window


@pytest.fixture(scope="session")
def loaders():
    """The three loaders, with the seed 0 and batches of 32."""
    from mnist_helpers import make_loaders

    return make_loaders()
