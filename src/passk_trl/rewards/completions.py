"""What verifiers are given: the text of a completion, and the content of its last box."""

import re
from collections.abc import Callable
from typing import Any


RewardFunction = Callable[..., list[float | None]]
Completion = str | list[dict[str, Any]]

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]")


def text_of(completion: Completion) -> str:
    """
    The text of a plain completion, or of the last message of a conversational one; `""` if it has none. What a policy
    thinks is no answer: only what follows the last `</think>` is read.
    """
    return _written(completion).rpartition("</think>")[2]


def last_boxed(text: str) -> str | None:
    r"""
    Content of the `\boxed{}` that closes last, or `None`.

    It reads the text once, because degenerate completions repeat `\boxed{` without end.
    """
    start, end = None, 0
    opened: list[int | None] = []  # for each open brace: where its content starts if it is a box, else None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token.startswith(r"\boxed"):
            opened.append(match.end())
        elif token == "}" and opened and (begun := opened.pop()) is not None:
            start, end = begun, match.start()
    return None if start is None else text[start:end]


def _written(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):  # parts, as policies that read images write them
        content = "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""
