"""Verifiers: from completions and gold answers to rewards, one per completion, as TRL calls them.

`math_verify` guards itself against endless expressions with `signal.alarm`, which works in the main thread only. So in
the main thread it is called as it is, and from any other thread the work goes to a child process, in whose main thread
the same guard holds.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify


__all__ = ["accuracy_reward", "exact_match_reward", "load_reward", "load_rewards"]

RewardFunction = Callable[..., list[float | None]]
Completion = str | list[dict[str, Any]]

PARSE_SECONDS = 5
VERIFY_SECONDS = 5

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]")
_NAMES_IN_BRACES = re.compile(r"\\(?:text\w*|math\w+|operatorname|begin|end)\s*\{[^{}]*\}")
_NOT_BARE_MATH = re.compile(r"[$#\n]|\\boxed|\\[(\[]|(?<![\\A-Za-z])[A-Za-z]{3,}")

_IN_BOX = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
_IN_TEXT = [LatexExtractionConfig(), ExprExtractionConfig()]


def accuracy_reward(completions: list[Completion], solution: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    1 for a completion whose answer equals the gold answer mathematically, 0 for any other.

    The answer is the last complete `\boxed{}` of the completion. Without any `\boxed`, it is what `math_verify` finds
    in the text: the whole of it if it is bare mathematics (`\frac12`, `12`), else the last formula or number. A box
    that is never closed (a truncated completion) is no answer. The gold answer is read by the same rules, so it may be
    bare, in `$…$`, or at the end of a worked solution.

    A comparison that takes more than a few seconds counts as unequal, in every thread. Results are remembered, so that
    a completion seen before costs microseconds.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the last message is judged.
        solution (`list[str]`):
            Gold answer of each completion.
        **kwargs:
            Everything else TRL hands to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion, `None` where the gold answer cannot be parsed, so that the
        trainer leaves the completion out instead of calling it wrong.

    Example:
        ```python
        >>> accuracy_reward([r"so \boxed{\frac{2}{4}}", "The answer is 3."], ["0.5", "4"])
        [1.0, 0.0]
        ```
    """
    return [
        _accuracy(_answer(_text(completion)), _answer(str(gold)))
        for completion, gold in zip(completions, solution, strict=True)
    ]


def exact_match_reward(completions: list[Completion], solution: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    1 for a completion whose answer is the gold answer, letter for letter, 0 for any other.

    The answer is the content of the last complete `\boxed{}`, or the whole text without one; the gold answer is read
    the same way. Runs of white space count as one space, and none at the ends.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the last message is judged.
        solution (`list[str]`):
            Gold answer of each completion.
        **kwargs:
            Everything else TRL hands to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion.
    """
    return [
        float(_exact_answer(_text(completion)) == _exact_answer(str(gold)))
        for completion, gold in zip(completions, solution, strict=True)
    ]


def load_reward(name: str) -> RewardFunction:
    """
    Look up a reward function by name.

    Args:
        name (`str`):
            `"accuracy_reward"` or `"exact_match_reward"` of this module; a name `trl grpo` knows
            (`"reasoning_accuracy_reward"`, `"think_format_reward"`, `"get_soft_overlong_punishment"`, the last with
            the values of `trl grpo`); or any dotted import path, such as `"my_lib.rewards.custom_reward"`, for which
            the working directory is importable; importing it runs its code. Where a name is ours and TRL's, ours is
            taken, because it also reads bare answers; TRL's own is `"trl.rewards.accuracy_reward"`.

    Returns:
        `Callable`: The reward function.

    Raises:
        `ValueError`: If the name is neither known nor an import path, or what it names cannot be called.
        `ImportError`: If the import path leads nowhere.
    """
    if name in _OWN:
        return _OWN[name]
    if name in _TRL:
        return _trl_reward(name)
    if "." in name:
        return _imported_reward(name)
    known = ", ".join([*_OWN, *_TRL])
    raise ValueError(
        f"Unknown reward {name!r}: set reward_funcs to any of {known}, or an import path module.function."
    )


def load_rewards(names: list[str]) -> list[RewardFunction]:
    """Look up several reward functions, each by [`load_reward`]."""
    return [load_reward(name) for name in names]


_OWN: dict[str, RewardFunction] = {
    "accuracy_reward": accuracy_reward,
    "exact_match_reward": exact_match_reward,
}
_TRL = ("reasoning_accuracy_reward", "think_format_reward", "get_soft_overlong_punishment")


def _trl_reward(name: str) -> RewardFunction:
    reward = getattr(importlib.import_module("trl.rewards"), name)
    if name == "get_soft_overlong_punishment":
        return reward(max_completion_len=1280, soft_punish_cache=256)  # the values of `trl grpo`
    return reward


def _imported_reward(path: str) -> RewardFunction:
    module_name, _, function_name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        reward = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # the module runs, and may raise anything
        raise ImportError(
            f"Reward {path!r} cannot be imported ({type(error).__name__}: {error}): set reward_funcs to the path "
            "module.function of a function in the working directory or an installed package."
        ) from error
    if not callable(reward):
        raise ValueError(f"Reward {path!r} is a {type(reward).__name__}: set reward_funcs to the path of a function.")
    return reward


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"] or ""


def _last_boxed(text: str) -> str | None:
    """Content of the `\\boxed{}` that closes last, or `None`. One pass: degenerate completions repeat it endlessly."""
    content = None
    opened: list[int | None] = []  # one entry per open brace: where its content starts if it is a box, else None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token.startswith(r"\boxed"):
            opened.append(match.end())
        elif token == "}" and opened:
            start = opened.pop()
            content = content if start is None else text[start : match.start()]
    return content


def _exact_answer(text: str) -> str:
    boxed = _last_boxed(text)
    return " ".join((text if boxed is None else boxed).split())


def _answer(text: str) -> str:
    """The part of a text to be parsed. Short where it can be, so that equal answers are remembered as one."""
    text = text.strip()
    if r"\boxed" in text:
        boxed = _last_boxed(text)
        return "" if boxed is None else rf"\boxed{{{boxed.strip()}}}"
    if _NOT_BARE_MATH.search(_NAMES_IN_BRACES.sub("", text)):
        return text
    return rf"\boxed{{{text}}}"


@lru_cache(maxsize=4096)
def _accuracy(answer: str, gold: str) -> float | None:
    if threading.current_thread() is threading.main_thread():
        return _accuracy_here(answer, gold)
    return _accuracy_in_child(answer, gold)


def _accuracy_here(answer: str, gold: str) -> float | None:
    gold_parsed = _parse(gold)
    if not gold_parsed:
        return None
    return float(verify(gold_parsed, _parse(answer), timeout_seconds=VERIFY_SECONDS))


@lru_cache(maxsize=4096)
def _parse(text: str) -> list[Any]:
    targets = _IN_BOX if text.startswith(r"\boxed") else _IN_TEXT
    return parse(text, targets, extraction_mode="first_match", parsing_timeout=PARSE_SECONDS)


_child: subprocess.Popen[str] | None = None
_child_lock = threading.Lock()


def _accuracy_in_child(answer: str, gold: str) -> float | None:
    global _child
    with _child_lock:
        if _child is None or _child.poll() is not None:
            # Not multiprocessing: that would run the user's training script again. -P: this folder is no import root.
            command = [sys.executable, "-P", __file__]
            _child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert _child.stdin is not None
        assert _child.stdout is not None
        try:
            _child.stdin.write(json.dumps([answer, gold]) + "\n")
            _child.stdin.flush()
            reply = _child.stdout.readline()
        except BrokenPipeError:
            reply = ""
    if not reply:
        warnings.warn(f"The process that verifies answers died on {answer[-200:]!r}: counted as wrong.")
        return 0.0
    return json.loads(reply)


def _forget_child() -> None:
    global _child, _child_lock
    _child, _child_lock = None, threading.Lock()


# A forked process must not read the replies meant for its parent.
os.register_at_fork(after_in_child=_forget_child)


def _serve() -> None:
    """What the child process does: a line of JSON in, a line of JSON out, until its parent is gone."""
    for line in sys.stdin:
        print(json.dumps(_accuracy_here(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
