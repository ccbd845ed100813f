"""Programs of completions and what becomes of them, in real processes."""

import os
from pathlib import Path

from passk_trl.rewards import CodeLimits
from passk_trl.rewards.code.unit_tests import unit_tests_of
from passk_trl.rewards.code.workers import verdicts_of


BRIEF = CodeLimits(seconds=3, cpu_seconds=1, memory_mb=256, file_mb=4, threads=8)
SQUARE = {"test_list": ["assert square(3) == 9", "assert square(-2) == 4"]}


def verdict_on(program: str, row: dict | None = None, limits: CodeLimits = BRIEF) -> str:
    """The verdict on a program, of the unit tests in a row; those of a square if there is none."""
    return verdicts_of([(program, unit_tests_of(row or SQUARE))], limits)[0]["verdict"]


def seen_inside(expression: str, limits: CodeLimits = BRIEF) -> str:
    """The `repr` of an expression inside a program's process, or the name of what it raises there."""
    program = (
        "def square(x):\n"
        "    try:\n"
        f"        value = repr({expression})\n"
        "    except BaseException as error:\n"
        "        value = type(error).__name__\n"
        "    raise Exception('<' + value + '>')\n"
    )
    text = verdicts_of([(program, unit_tests_of(SQUARE))], limits)[0]["text"]
    return text.partition("<")[2].rpartition(">")[0]


def descendants(of: int | None = None) -> list[int]:
    """Processes below one, below this one by default."""
    found: list[int] = []
    new = [of or os.getpid()]
    while new:
        children = _children(new.pop())
        found += children
        new += children
    return found


def _children(pid: int) -> list[int]:
    try:
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it has ended
        return []
    return [int(child) for text in lists for child in text.split()]
