"""Small programming tasks, whose programs unit tests can check.

Each asks for a function of one line in words that leave no doubt, such as "Write a Python function `f(x)` that returns
7 times x plus 12." The kinds differ in difficulty: some work on numbers, some on lists and some on texts.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from datasets import Dataset, DatasetDict

from .splits import drawn, part_of


_NUMBERS, _MODULI = range(2, 22), range(22, 42)
_LETTERS = "abcdefghijklmnoprstu"


@dataclass(frozen=True)
class _Kind:
    """A kind of task: what it asks for, the expression that gives it, the choices for `a` and `b`, and arguments."""

    asks: str
    expression: str
    choices: tuple[Sequence[Any], Sequence[Any]]
    argument: Callable[[random.Random, Any], Any]  # for one a
    nearly: tuple[str, ...] = ()  # what a program may return by mistake, which the unit tests must notice


def _number(rng: random.Random, a: Any) -> int:
    return rng.randint(-20, 60)


def _numbers(rng: random.Random, a: Any) -> list[int]:
    return [rng.randint(-20, 60) for _ in range(rng.randint(3, 7))]


def _text(rng: random.Random, a: str) -> str:
    letters = [a, *(rng.choice(_LETTERS) for _ in range(rng.randint(3, 8)))]
    return "".join(rng.sample(letters, len(letters)))


# No two tasks ask for the same function, whatever their parameters.
_KINDS = {
    "linear": _Kind("{a} times x plus {b}", "{a} * x + {b}", (_NUMBERS, _NUMBERS), _number),
    "remainder": _Kind("the remainder of x plus {b} divided by {a}", "(x + {b}) % {a}", (_MODULI, _NUMBERS), _number),
    "clipped": _Kind(
        "x, but at least {a} and at most {b}",
        "min(max(x, {a}), {b})",
        (_NUMBERS, _MODULI),
        _number,
        ("max(x, {a})", "min(x, {b})"),
    ),
    "sum": _Kind(
        "{b} plus the sum of the numbers in the list x that are above {a}",
        "{b} + sum(n for n in x if n > {a})",
        (_NUMBERS, _NUMBERS),
        _numbers,
        ("{b} + sum(n for n in x if n >= {a})",),
    ),
    "counted": _Kind(
        "{b} times how many numbers in the list x are above {a}",
        "{b} * sum(n > {a} for n in x)",
        (_NUMBERS, _NUMBERS),
        _numbers,
        ("{b} * sum(n >= {a} for n in x)",),
    ),
    "scaled": _Kind(
        "the list x with each number times {a} and then minus {b}",
        "[n * {a} - {b} for n in x]",
        (_NUMBERS, _NUMBERS),
        _numbers,
    ),
    "replaced": _Kind(
        "the text x with each letter {a} replaced by {b} copies of it",
        "x.replace('{a}', '{a}' * {b})",
        (_LETTERS, _NUMBERS),
        _text,
        ("x.replace('{a}', '{a}' * {b}, 1)",),
    ),
    "framed": _Kind("the text x between the letters {a} and {b}", "'{a}' + x + '{b}'", (_LETTERS, _LETTERS), _text),
}

PROGRAM_KINDS = tuple(_KINDS)
"""The kinds of tasks that `programming_tasks` draws from, each about equally often."""

_TESTS = 4  # for each task


def programming_tasks(num_prompts: int, seed: int = 0, split: str = "train") -> Dataset:
    """
    Small programming tasks with unit tests for `code_reward`.

    Args:
        num_prompts (`int`):
            Number of tasks, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the tasks and of the arguments in their unit tests. It does not affect which split a task is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`, which have no task in common, whatever the seeds.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (one user message), `test_list` (four assert statements), `solution`
        (a program that passes, in a fenced block) and `kind` (one of `PROGRAM_KINDS`).

    Raises:
        ValueError: If `split` is not one of the three, or `num_prompts` is not between 1 and the number of tasks in
            the split.

    Example:

    ```python
    >>> from passk_trl.tasks import programming_tasks

    >>> programming_tasks(100)[0]["prompt"][0]["content"]
    'Write a Python function `f(x)` that returns the text x between the letters o and d.'
    ```
    """
    rng = random.Random(f"programming_tasks {split} {seed}")
    return Dataset.from_list([_row(*task, rng) for task in drawn(_tasks_of(split), num_prompts, split, rng)])


def small_programs() -> DatasetDict:
    """
    The splits that recipes load with `dataset_name: passk_trl.tasks.small_programs`.

    Returns:
        [`~datasets.DatasetDict`]: `programming_tasks` as `train` (1,500 tasks), `probe` (400) and `test` (256).
    """
    sizes = {"train": 1500, "probe": 400, "test": 256}
    return DatasetDict({split: programming_tasks(size, split=split) for split, size in sizes.items()})


def _tasks_of(split: str) -> list[tuple[str, Any, Any]]:
    """Kinds with their parameters. The partition is fixed: no seed moves a task from one split to another."""
    tasks = [(name, a, b) for name, kind in _KINDS.items() for a, b in product(*kind.choices)]
    return part_of(tasks, split)


def _row(name: str, a: Any, b: Any, rng: random.Random) -> dict[str, Any]:
    kind = _KINDS[name]
    expression, *nearly = (each.format(a=a, b=b) for each in (kind.expression, *kind.nearly))
    asked = f"Write a Python function `f(x)` that returns {kind.asks.format(a=a, b=b)}."
    function = _function(expression)
    arguments = _arguments(kind, a, function, [_function(each) for each in ("x", *nearly)], rng)
    return {
        "prompt": [{"role": "user", "content": asked}],
        "test_list": [f"assert f({x!r}) == {function(x)!r}" for x in arguments],
        "solution": f"```python\ndef f(x):\n    return {expression}\n```",
        "kind": name,
    }


def _function(expression: str) -> Callable[[Any], Any]:
    return eval(f"lambda x: {expression}")


def _arguments(
    kind: _Kind, a: Any, function: Callable[[Any], Any], others: list[Callable[[Any], Any]], rng: random.Random
) -> list[Any]:
    """Arguments on which the function is not constant, and differs from each of the others."""
    while True:
        arguments = [kind.argument(rng, a) for _ in range(_TESTS)]
        results = [*map(function, arguments)]
        if any(result != results[0] for result in results) and all(
            results != [*map(other, arguments)] for other in others
        ):
            return arguments
