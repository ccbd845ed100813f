"""What the process that makes questions of reasoning-gym does.

It is a process of its own, with a fixed PYTHONHASHSEED: some tasks draw from a set, so that their questions would
differ from process to process, and from rank to rank.
"""

import difflib
import json
import random
import signal
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from reasoning_gym.factory import DATASETS

from passk_trl.child_process import serve


UNUSABLE = {
    "coin_flip": "reasoning-gym gives full score for the first digits of a probability, even for 0",
    "composite": "it is a mixture of tasks: set reasoning_gym.mixture instead",
    "game_of_life_halting": "reasoning-gym gives every answer to it full score",
    "puzzle24": "reasoning-gym gives full score for any four numbers that make 24, and not only those of the question",
}
"""Tasks of reasoning-gym 0.1.25 that are refused, and why."""

# Settings of every task that the splits set.
_OURS = ("seed", "size")
# reasoning-gym's default size. Some tasks make all their entries at once, or know no more than so many.
_BLOCK = 500


def entries(
    task: str, settings: dict[str, Any], seed: int, first: int, count: int, seconds: int
) -> list[dict[str, Any]]:
    """
    Entries of a task as reasoning-gym makes them, each with `question`, `answer` and `metadata`.

    Args:
        task (`str`), settings (`dict`):
            Name of the task, and the arguments of its configuration.
        seed (`int`), first (`int`), count (`int`):
            Seed of a series of entries, which of them comes first, and how many follow one another.
        seconds (`int`):
            An entry that takes longer than this ends the process.

    Raises:
        `ValueError`: if reasoning-gym lacks the task or the setting, refuses a value, or fails.
    """
    made = []
    for index in range(first, first + count):
        signal.alarm(seconds)
        block, place = divmod(index, _BLOCK)
        dataset = _dataset(task, json.dumps(settings), seed + block * _BLOCK)
        random.seed(f"{seed} {index}")  # list_functions draws from the module's own generator
        try:
            made.append(dataset[place])
        except Exception as error:  # settings that its own checks let through
            raise _refused(task, settings, error) from error
        finally:
            signal.alarm(0)
    return made


@lru_cache(maxsize=8)
def _dataset(task: str, settings: str, seed: int) -> Any:
    if task not in DATASETS:
        close = difflib.get_close_matches(task.lower(), DATASETS, n=1, cutoff=0)
        raise ValueError(f"reasoning-gym has no task '{task}'; did you mean '{close[0]}'?")
    if task in UNUSABLE:
        raise ValueError(f"the task '{task}' cannot be used, as {UNUSABLE[task]}.")
    make, configure = DATASETS[task]
    given = json.loads(settings)
    _check_names(task, given, [each.name for each in fields(configure) if each.name not in _OURS])
    try:
        # YAML and JSON have no tuples, enumerations and times: pydantic makes them, as the annotations ask for.
        config = TypeAdapter(configure).validate_python({**given, "seed": seed, "size": _BLOCK})
        if hasattr(config, "validate"):  # two tasks have none
            config.validate()
        return make(config)
    except ValidationError as error:
        wrong = error.errors()[0]
        if not wrong["loc"]:  # the configuration's own words
            raise _refused(task, given, wrong["msg"].removeprefix("Value error, ")) from error
        name = wrong["loc"][0]
        raise ValueError(f"the setting '{name}' of '{task}' is {given.get(name)!r}: {wrong['msg']}.") from error
    except Exception as error:  # it refuses by assert, and by whatever an unexpected value leads to
        raise _refused(task, given, error) from error


def _refused(task: str, settings: dict[str, Any], error: Exception | str) -> ValueError:
    words = str(error).strip().rstrip(".") or type(error).__name__
    return ValueError(f"reasoning-gym refuses the settings {settings} of '{task}': {words}.")


def _check_names(task: str, given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name in _OURS:
            raise ValueError(f"'{name}' is no setting of '{task}': set reasoning_gym.seed, and train, probe and test.")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f" did you mean '{close[0]}'?" if close else ""
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"the task '{task}' has no setting '{name}';{meant} {has}.")


def _answer(request: list[Any]) -> dict[str, Any]:
    try:
        return {"entries": entries(*request)}
    except ValueError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    serve(_answer)
