"""How much of the time since training began goes into probes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class ProbeClock:
    """Seconds that probes take, and the part of the time that they are since training began, which is now."""

    def __init__(self) -> None:
        self.last_probe = 0.0
        self._counted = 0.0
        self._began = time.perf_counter()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts the seconds that the block takes, also if it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._counted += time.perf_counter() - began

    @contextmanager
    def probe(self) -> Iterator[None]:
        """Counts the seconds of a probe, and keeps them as `last_probe`."""
        began = time.perf_counter()
        try:
            with self.counted():
                yield
        finally:
            self.last_probe = time.perf_counter() - began

    def overhead(self, other_seconds: float = 0.0, next_probe: float = 0.0) -> float:
        """
        The part of the time since training began that probes took.

        Args:
            other_seconds (`float`, *optional*, defaults to `0.0`): seconds to count besides, such as those of figures.
            next_probe (`float`, *optional*, defaults to `0.0`): seconds of a probe that would be made now.
        """
        elapsed = time.perf_counter() - self._began
        return (self._counted + other_seconds + next_probe) / (elapsed + next_probe)
