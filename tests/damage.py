"""Ways in which files get damaged, for the tests of the data and of checkpoints."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

NUM_CORRUPTIONS = 200
MANY = settings(
    max_examples=NUM_CORRUPTIONS,
    deadline=None,
    derandomize=True,  # the same corruptions in every run
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
DAMAGE = {
    "kind": st.sampled_from(["flip a bit", "truncate", "zero a range", "swap"]),
    "where": st.floats(0, 1, exclude_max=True),
    "length": st.integers(1, 10_000),
    "bit": st.integers(0, 7),
}


def corrupted(
    content: bytes, kind: str, where: float, length: int, bit: int, other: bytes
) -> bytes:
    """Return the content damaged in one way, at a place from 0 (start) to 1 (end)."""
    start = int(where * len(content))
    if kind == "flip a bit":
        return content[:start] + bytes([content[start] ^ (1 << bit)]) + content[start + 1 :]
    if kind == "truncate":
        return content[:start]
    if kind == "zero a range":
        end = min(start + length, len(content))
        return content[:start] + bytes(end - start) + content[end:]
    assert kind == "swap"
    return other
