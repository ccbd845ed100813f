"""The tasks of reasoning-gym, as splits that have no question in common.

Source: [reasoning-gym](https://github.com/open-thought/reasoning-gym) 0.1.25, Apache-2.0.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from datasets import Dataset, DatasetDict

from passk_trl.child_process import ChildProcess


# A question that takes longer than this to make is too slow.
_SECONDS = 60
# After this many draws in a row without a new question, a task is taken to have no more.
_PATIENCE = 1000
_DRAWN_AT_A_TIME = 256

_process = ChildProcess("passk_trl.tasks.reasoning_process", seconds=10 * _SECONDS, PYTHONHASHSEED="0")


def reasoning_gym_splits(
    tasks: str | None = None,
    settings: dict | None = None,
    mixture: list[dict] | None = None,
    train: int = 1000,
    probe: int = 256,
    test: int = 256,
    seed: int = 0,
    chat: bool = True,
) -> DatasetDict:
    """
    Questions of one or more tasks of reasoning-gym. No question is twice in them, in one split or in two. The same
    arguments give the same questions, in every process.

    Args:
        tasks (`str`, *optional*):
            A task, such as `"chain_sum"`, or several with equal weights, such as `"chain_sum+leg_counting"`.
        settings (`dict`, *optional*):
            Settings of the task, if it is one. What is not set has reasoning-gym's default.
        mixture (`list[dict]`, *optional*):
            Instead of `tasks`: parts, each with `task`, and optionally `weight` (1) and `settings`. A task may be in
            several parts.
        train, probe, test (`int`, *optional*, defaults to `1000`, `256` and `256`):
            Number of questions in each split. A split with 0 is left out. The questions of `test` and `probe` do not
            depend on the size of `train`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the questions.
        chat (`bool`, *optional*, defaults to `True`):
            Whether a prompt is a conversation, with the message of a user, or the question itself.

    Returns:
        [`~datasets.DatasetDict`]: the splits, with the columns `prompt`, `solution` (reasoning-gym's reference answer;
        empty where a task has none), `task`, and what [`~passk_trl.rewards.reasoning_gym_reward`] reads too:
        `settings` and `entry`, both as JSON.

    Raises:
        `ValueError`: if a task or a setting is unknown, a value is refused, or a task has too few different questions.
        `ImportError`: if reasoning-gym is not installed.

    Example:

    ```python
    >>> from passk_trl.tasks import reasoning_gym_splits

    >>> splits = reasoning_gym_splits("chain_sum", {"max_terms": 2, "max_digits": 1}, train=64, probe=32, test=32)
    >>> splits["train"][0]["solution"]
    '1'
    ```
    """
    if find_spec("reasoning_gym") is None:
        raise ImportError('reasoning-gym is not installed: pip install "passk-trl[reasoning-gym]".')
    sizes = {"train": train, "probe": probe, "test": test}
    for split, size in sizes.items():
        if size < 0:
            raise ValueError(f"reasoning_gym.{split} is {size}: set 0 or more questions.")
    parts = _parts(tasks, settings, mixture)
    shares = {split: _shares(size, [part.weight for part in parts]) for split, size in sizes.items()}
    for number, part in enumerate(parts):
        if not any(shares[split][number] for split in sizes):
            raise ValueError(
                f"no question of '{part.task}' is in the splits of {train}, {probe} and {test}: set "
                "reasoning_gym.train, probe or test to more, or its weight."
            )
    asked: set[str] = set()
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in sizes}
    for split in ("test", "probe", "train"):
        for number, part in enumerate(parts):
            needed = sum(shares[each][number] for each in sizes)
            draws = part.draws(random.Random(f"{seed} {split} {number}").randrange(2**31))
            new = _new_entries(draws, shares[split][number], asked, part, needed)
            rows[split] += [part.row(entry, chat) for entry in new]
        random.Random(f"{seed} {split}").shuffle(rows[split])
    return DatasetDict({split: Dataset.from_list(rows[split]) for split, size in sizes.items() if size})


@dataclass
class _Part:
    """A task of a mixture, its weight, and the questions that were found."""

    task: str
    weight: float = 1
    settings: dict[str, Any] = field(default_factory=dict)
    found: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.settings, dict):
            raise ValueError(f"the settings of '{self.task}' are {self.settings!r}: set a block of keys.")
        self.settings = json.loads(json.dumps(self.settings, default=str))  # YAML has dates

    def draws(self, seed: int) -> Iterator[dict[str, Any]]:
        """Entries without end. Questions repeat."""
        first, count = 0, 8  # a first few, as a question of some tasks takes a second
        while True:
            try:
                reply = _process.ask([self.task, self.settings, seed, first, count, _SECONDS])
            except ChildProcessError as error:
                raise ValueError(
                    f"no question of '{self.task}' can be made with the settings {self.settings}: it took more than "
                    f"{_SECONDS} seconds or too much memory ({str(error).rstrip('.')}); set others."
                ) from error
            if "error" in reply:
                raise ValueError(reply["error"])
            yield from reply["entries"]
            first, count = first + count, min(2 * count, _DRAWN_AT_A_TIME)

    def row(self, entry: dict[str, Any], chat: bool) -> dict[str, Any]:
        question = entry["question"]
        return {
            "prompt": [{"role": "user", "content": question}] if chat else question,
            "solution": "" if entry["answer"] is None else entry["answer"],
            "task": self.task,
            "settings": json.dumps(self.settings),
            "entry": json.dumps(entry),
        }


def _parts(tasks: str | None, settings: dict | None, mixture: list[dict] | None) -> list[_Part]:
    if (tasks is None) == (mixture is None):
        raise ValueError(
            "a task of reasoning-gym is named by dataset_name, as in reasoning_gym:chain_sum, or by "
            "reasoning_gym.mixture with dataset_name: reasoning_gym; set one of them."
        )
    if mixture is None:
        assert tasks is not None
        names = tasks.split("+")
        if settings and len(names) > 1:
            raise ValueError(
                f"reasoning_gym.settings are those of one task, not of {tasks}: set reasoning_gym.mixture, with "
                "settings for each."
            )
        return [_Part(name, settings=settings or {}) for name in names]
    if settings or not mixture:
        raise ValueError("reasoning_gym.mixture is a list of {task, weight, settings}: set settings in its parts.")
    return [_part(part) for part in mixture]


def _part(written: Any) -> _Part:
    keys = {"task", "weight", "settings"}
    if not isinstance(written, dict) or not isinstance(written.get("task"), str) or not {*written} <= keys:
        raise ValueError(
            f"reasoning_gym.mixture has the part {written!r}: set task, and optionally weight and settings."
        )
    part = _Part(**{"settings": {}, **written})
    if not isinstance(part.weight, int | float) or not 0 < part.weight < math.inf:
        raise ValueError(f"the weight of '{part.task}' in reasoning_gym.mixture is {part.weight!r}: set it above 0.")
    return part


def _shares(size: int, weights: list[float]) -> list[int]:
    """Whole numbers whose sum is the size, as near to the weights' shares as can be: the largest remainders go up."""
    exact = [size * weight / sum(weights) for weight in weights]
    by_remainder = sorted(range(len(exact)), key=lambda part: int(exact[part]) - exact[part])
    up = by_remainder[: size - sum(map(int, exact))]
    return [int(share) + (part in up) for part, share in enumerate(exact)]


def _new_entries(
    draws: Iterator[dict[str, Any]], count: int, asked: set[str], part: _Part, needed: int
) -> list[dict[str, Any]]:
    """Entries whose question was not asked yet. Notes their questions."""
    new: list[dict[str, Any]] = []
    in_vain = 0
    while len(new) < count:
        entry = next(draws)
        if entry["question"] not in asked:
            asked.add(entry["question"])
            new.append(entry)
            part.found += 1
            in_vain = 0
        elif (in_vain := in_vain + 1) == _PATIENCE:
            raise ValueError(
                f"no more than {part.found} different questions of '{part.task}' were found with the settings "
                f"{part.settings}, and the splits need {needed}: set reasoning_gym.train, probe and test to fewer, or "
                "other settings."
            )
    return new
