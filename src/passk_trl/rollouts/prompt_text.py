"""The text of a prompt, plain or conversational: to show, and to compare."""

from collections.abc import Sequence
from typing import Any


# A text is cut to this many characters.
_CHARACTERS_KEPT = 2000


def text_of(prompt: str | Sequence[dict[str, Any]]) -> str:
    """The text of a prompt that a reader is shown."""
    return prompt if isinstance(prompt, str) else "\n\n".join(str(message.get("content")) for message in prompt)


def cut(text: str, characters: int = _CHARACTERS_KEPT) -> str:
    """The beginning of a text, with an ellipsis where something follows."""
    return text[:characters] + "…" * (len(text) > characters)


def comparable_text(prompt: str | Sequence[dict[str, Any]]) -> str:
    """The text of a prompt to compare by: single spaces, no letter case, no system message."""
    if isinstance(prompt, str):
        text = prompt
    else:
        text = "\n".join(str(message["content"]) for message in prompt if message["role"] != "system")
    return " ".join(text.casefold().split())
