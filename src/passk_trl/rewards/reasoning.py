r"""The scorers of reasoning-gym's tasks, as reward functions.

Source: [reasoning-gym](https://github.com/open-thought/reasoning-gym) 0.1.25, Apache-2.0.
"""

import logging
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from passk_trl.child_process import ChildProcess

from .completions import Completion, last_boxed, last_tagged, text_of
from .final_answer import without_commands
from .plain_text import plain_signs


logger = logging.getLogger(__name__)

# One thread: the address space that others reserve would be taken from the limit of the process.
_process = ChildProcess("passk_trl.rewards.reasoning_process", seconds=120, OMP_NUM_THREADS="1")

_warned: set[str] = set()  # tasks of which a failure was logged

_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_PUNCTUATION = ".,;:!?*\"'`"


def reasoning_gym_reward(
    completions: list[Completion],
    solution: list[str],
    task: list[str],
    settings: list[str],
    entry: list[str],
    **kwargs: Any,
) -> list[float | None]:
    r"""
    1 for a completion to which the scorer of its reasoning-gym task gives full score, 0 for any other.

    A partial score, which some scorers give even to wrong answers (0.01 for any text), counts as 0: pass@k is about
    answers that are right. [`~passk_trl.rewards.reasoning.reasoning_gym_score`] returns the score itself.

    The answer is the first of these that the completion has:

    1. the last complete `\boxed{}`, with `\text{…}` and such or without; a box that is never closed is no answer,
    2. the last `<answer>…</answer>`,
    3. the whole text, or its last line, or, where the reference answer is one number or one word, the last number or
       word of the text. Of these the best counts.

    A completion on which the scorer fails, or runs for more than 5 seconds of processor time, is wrong. Their share is
    logged as `reasoning_gym/scorer_failed`, and each task's first failure as a warning. The scorers run in a process
    of their own, where they cannot run a completion as code.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list[str]`), task (`list[str]`), settings (`list[str]`), entry (`list[str]`):
            Columns of [`~passk_trl.tasks.reasoning_gym_splits`].
        **kwargs:
            Other arguments that TRL passes to a reward function. Only `log_metric` is used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where the task's own reference answer does not
        get full score, so that the trainer leaves the completion out.

    Raises:
        `ImportError`: if reasoning-gym is not installed.
        `RuntimeError`: if the process of the scorers cannot start.
    """
    scores = reasoning_gym_score(completions, solution, task, settings, entry, **kwargs)
    return [None if score is None else float(score >= 1) for score in scores]


def reasoning_gym_score(
    completions: list[Completion],
    solution: list[str],
    task: list[str],
    settings: list[str],
    entry: list[str],
    **kwargs: Any,
) -> list[float | None]:
    """
    The score itself, from 0 to 1, for training with partial credit. With `success_threshold: 1.0` in
    [`~passk_trl.PassKGRPOConfig`], it means the same as [`~passk_trl.rewards.reasoning_gym_reward`].

    Args:
        completions, solution, task, settings, entry, **kwargs:
            As for [`~passk_trl.rewards.reasoning_gym_reward`].

    Returns:
        `list[float | None]`: One score per completion, `None` as there.

    Raises:
        `ImportError`: if reasoning-gym is not installed.
        `RuntimeError`: if the process of the scorers cannot start.
    """
    if find_spec("reasoning_gym") is None:
        raise ImportError('reasoning-gym is not installed: pip install "passk-trl[reasoning-gym]".')
    rows = list(zip(completions, solution, task, settings, entry, strict=True))
    replies = [
        _reply(name, its_settings, row, tuple(readings(text_of(completion), gold or "")))
        for completion, gold, name, its_settings, row in rows
    ]
    failed = [(name, raised) for name, (_, raised) in zip(task, replies, strict=True) if raised is not None]
    for name, raised in failed:
        if name not in _warned:
            _warned.add(name)
            logger.warning("the scorer of %s failed on a completion, which counts as wrong: %s", name, raised)
    if "log_metric" in kwargs and rows:
        kwargs["log_metric"]("reasoning_gym/scorer_failed", len(failed) / len(rows))
    return [score for score, _ in replies]


def readings(text: str, reference: str) -> list[str]:
    r"""
    What may be the answer in a completion.

    Args:
        text (`str`):
            The completion.
        reference (`str`):
            The reference answer. It says only whether a number, a word or any text is asked for.

    Returns:
        `list[str]`: Readings, the likeliest first, each once. None if a `\boxed` is never closed.
    """
    if r"\boxed" in text:
        boxed = last_boxed(text)
        found = [] if boxed is None else [boxed, without_commands(plain_signs(boxed))]
        return list(dict.fromkeys(each.strip() for each in found))
    if (tagged := last_tagged(text)) is not None:
        return [tagged]
    text = text.strip()
    found = [text, *text.splitlines()[-1:]]
    if _NUMBER.fullmatch(reference):
        found += _NUMBER.findall(plain_signs(text))[-1:]
    elif len(reference.split()) == 1:
        found += [word.strip(_PUNCTUATION) for word in text.split()[-1:]]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def _reply(task: str, settings: str, entry: str, answers: tuple[str, ...]) -> tuple[float | None, str | None]:
    """The score, and the error of the scorer if it failed."""
    try:
        reply = _process.ask([task, settings, entry, answers])
    except ChildProcessError:
        return 0.0, "it took too long, or too much memory"
    return reply["score"], reply["raised"]
