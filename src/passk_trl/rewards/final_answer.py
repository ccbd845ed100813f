"""The final answer in a completion, for the verifiers of short answers."""

import re
from typing import NamedTuple

from .completions import Completion, last_boxed, last_tagged, text_of


LONGEST = 10_000
"""Characters of an answer that are read: of a named answer the first, of a whole text the last."""

_NAMED = re.compile(r"\banswer[*_ \t]{0,4}(?:is\b|[:：])", re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:text[a-z]{0,9}|math[a-z]{0,9}|operatorname|mbox)[ ]?\{((?:[^{}]|\{[^{}]*\})*)\}")
_GLUED = re.compile(r"(\\[A-Za-z]{1,20})(?=\\)")  # as in `\cdot\text{m}`
_DEEPEST = 4  # commands within one another that are taken away


class FinalAnswer(NamedTuple):
    """The text of an answer, and whether the completion names it as the answer or it is the whole completion."""

    text: str
    named: bool


def final_answer(completion: Completion) -> FinalAnswer:
    r"""
    The answer of a completion, by the first rule that applies:

    1. the content of the `\boxed{}` that closes last. A box that is never closed is an empty answer.
    2. the rest of the line after the last "answer is" or "Answer:". If nothing is left of that line, the next line.
    3. the whole text.

    Where there is an `<answer>…</answer>`, rules 2 and 3 read what is in the last one alone.
    Commands such as `\text{…}` are replaced by what is in them. At most [`LONGEST`] characters are read.
    """
    text = text_of(completion)
    if r"\boxed" in text:
        return FinalAnswer(without_commands((last_boxed(text) or "")[:LONGEST]), named=True)
    tagged = last_tagged(text)
    text = text if tagged is None else tagged
    start = max((match.end() for match in _NAMED.finditer(text)), default=None)
    if start is None:
        return FinalAnswer(without_commands(text[-LONGEST:]).strip(), named=tagged is not None)
    line = text[start : start + LONGEST].lstrip(" \t\r\n:*_").partition("\n")[0]
    return FinalAnswer(without_commands(line).strip(), named=True)


def without_commands(text: str) -> str:
    r"""A text with what is in commands such as `\text{…}` in their place."""
    text = _GLUED.sub(r"\1 ", text)
    for _ in range(_DEEPEST):
        text = _COMMAND.sub(r"\1", text)
    return text
