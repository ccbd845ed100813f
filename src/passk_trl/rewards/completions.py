"""What verifiers are given: the text of a completion, and the content of its last box."""

import re
from collections.abc import Callable
from typing import Any


RewardFunction = Callable[..., list[float | None]]
Completion = str | list[dict[str, Any]]

_OPEN, _CLOSED = "<answer>", "</answer>"
_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]")


def text_of(completion: Completion) -> str:
    """
    The text of a plain completion, or of the policy's last message in a conversational one; `""` if it has none. What
    a tool or an environment says after that is no answer of the policy. Nor is what a policy thinks: only what follows
    the last `</think>` is read.
    """
    if not isinstance(completion, str):
        completion = [message for message in completion or [] if message.get("role", "assistant") == "assistant"]
    return last_text(completion).rpartition("</think>")[2]


def last_text(messages: Completion) -> str:
    """A plain prompt or completion, or the text of the last message, whoever wrote it; `""` if it has none."""
    if isinstance(messages, str):
        return messages
    content = messages[-1].get("content") if messages else None
    if isinstance(content, list):  # parts, as policies that read images write them
        texts = [part if isinstance(part, str) else part.get("text") for part in content]
        content = "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def last_tagged(text: str) -> str | None:
    """What is between the last `<answer>` and the `</answer>` after it, or `None`."""
    start = text.rfind(_OPEN, 0, max(0, text.rfind(_CLOSED)))
    return None if start < 0 else text[start + len(_OPEN) :].partition(_CLOSED)[0].strip()


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
