"""What all tests share: one thread a process, as pytest runs two, interrupts that arrive, examples without a clock."""

import os
import signal

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts background processes with SIGINT ignored, and theirs would be, too; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long examples take to generate and to run tells of the machine, not of hinpaint.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run whole workflows first: the longest of all, they would keep one process waiting for the other at the end."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
