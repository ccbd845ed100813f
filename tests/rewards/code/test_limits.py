"""Limits that make no sense are named."""

import pytest

from passk_trl.rewards import CodeLimits


@pytest.mark.parametrize("name", ["seconds", "cpu_seconds", "memory_mb", "file_mb", "threads"])
def test_limits_are_above_zero(name):
    with pytest.raises(ValueError, match=f"{name} is 0: set it to a number above 0"):
        CodeLimits(**{name: 0})


def test_python_needs_some_memory():
    with pytest.raises(ValueError, match="memory_mb is 10: set it to at least 64"):
        CodeLimits(memory_mb=10)
