"""Secrets, such as tokens and passwords, that nothing which is written or printed may hold."""

import re
from collections.abc import Iterator
from typing import Any


__all__ = ["has_secret_name", "is_secret", "names_of_secrets", "settings_without_secrets", "text_without_secrets"]

# A token of text, such as pad_token or think_token, is no secret, and what it is can matter.
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:(?:hf|hub|access|auth|api|bearer|bot|refresh|session|github|gitlab)[_-]?token"
    r"|secret|password|passwd|pwd|passphrase|credentials?|authorization|(?:api|access|private|secret|auth|ssh)[_-]?key)$"
    r"|^token$|(?-i:^[A-Z0-9_]+_TOKEN$)",  # the last is a variable of the environment
    re.IGNORECASE,
)

_SECRET = re.compile(
    # JSON writes ends of lines, and what is not ASCII, with letters.
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))(?:"
    r"hf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|sk-(?=[A-Za-z_-]*[0-9])(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic; not words with hyphens
    r"|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # Amazon
    r"|AIza[A-Za-z0-9_-]{35}"  # Google
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r")|(?<=://)(?:[^\s/:@\"'\\?#,]|\\u[0-9a-fA-F]{4})*:(?:[^\s/@\"'\\?#,]|\\u[0-9a-fA-F]{4})+(?=@)"  # of a URL
)


def text_without_secrets(text: str) -> str:
    """The text with `(withheld)` in the place of what looks like a secret."""
    return _SECRET.sub("(withheld)", text)


def has_secret_name(name: str) -> bool:
    """Whether a setting of this name is a secret, whatever it looks like."""
    return _SECRET_NAME.search(name) is not None


def is_secret(name: str, value: Any) -> bool:
    """Whether a setting is a secret: by its name, or because it holds what looks like one."""
    if value is None or isinstance(value, bool | dict | list | tuple):
        return False
    return has_secret_name(name) or text_without_secrets(str(value)) != str(value)


def settings_without_secrets(value: Any) -> Any:
    """Settings at any depth, JSON-safe or not, without the keys whose values are secrets."""
    if isinstance(value, dict):
        return {k: settings_without_secrets(each) for k, each in value.items() if not is_secret(str(k), each)}
    if isinstance(value, list | tuple):
        return [settings_without_secrets(each) for each in value]
    return text_without_secrets(value) if isinstance(value, str) else value


def names_of_secrets(settings: dict[str, Any], block: str = "") -> Iterator[str]:
    """The keys that [`settings_without_secrets`] leaves out, with the blocks that they are in."""
    for name, value in settings.items():
        if is_secret(str(name), value):
            yield f"{block}{name}"
        elif isinstance(value, dict):
            yield from names_of_secrets(value, f"{block}{name}.")
