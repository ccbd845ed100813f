"""What verifiers are given: the text of a completion, and the content of its last box."""

import re
from collections.abc import Callable
from typing import Any


RewardFunction = Callable[..., list[float | None]]
Completion = str | list[dict[str, Any]]

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]")


def text_of(completion: Completion) -> str:
    """The text of a plain completion, or of the last message of a conversational one."""
    return completion if isinstance(completion, str) else completion[-1]["content"] or ""


def last_boxed(text: str) -> str | None:
    r"""
    Content of the `\boxed{}` that closes last, or `None`.

    It reads the text once, because degenerate completions repeat `\boxed{` without end.
    """
    content = None
    opened: list[int | None] = []  # for each open brace: where its content starts if it is a box, else None
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
