"""Text from elsewhere in a Markdown report: a dataset must not add headings, images or HTML to it."""

import re
from typing import Any


__all__ = ["code_block", "code_span", "escaped"]


def escaped(value: Any) -> str:
    """The value as text on one line, also of a table, in which no character has a meaning in Markdown or HTML."""
    text = re.sub(r"([\\`*\[\]<>&|~$#!])", r"\\\1", _on_one_line(value))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # in the middle of a word it has none


def code_span(value: Any) -> str:
    """The value as code on one line. Not for tables, where code may not hold a `|`."""
    text = _on_one_line(value)
    fence = "`" * (_longest_run(text) + 1)
    space = " " * (text[:1] == "`" or text[-1:] == "`")
    return f"{fence}{space}{text}{space}{fence}"


def code_block(text: str) -> str:
    """A text of several lines as it is, in a block of code."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _on_one_line(value: Any) -> str:
    """Without the control characters that a terminal would obey."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", str(value))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
