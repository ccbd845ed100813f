"""Checks the keys and values of a recipe against type hints, and says what a wrong one should have been."""

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from passk_trl.withheld import has_secret_name

from .replaced_keys import replacement


IN_HELP = "`--help` lists the known ones."
"""A hint where no known key is close to an unknown one."""

# What a value should be, in words.
_DESCRIPTIONS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a block of keys",
    NoneType: "null",
}

# TRL and transformers annotate these as `str`, but take true and false too.
_ALSO_BOOL = ("scale_rewards", "resume_from_checkpoint")


def check_settings(settings: dict[str, Any], hints: dict[str, Any], block: str = "") -> dict[str, Any]:
    """
    Checks settings, and converts text where numbers are asked for, since YAML takes `1e-6` for a text, and one text
    where a list of texts is.

    Args:
        settings (`dict`):
            As they were written.
        hints (`dict`):
            The type of each known key.
        block (`str`, *optional*, defaults to `""`):
            Which block the keys are in, such as `"monitor."`.

    Returns:
        `dict`: the settings, with numbers as numbers and lists as lists.

    Raises:
        `ValueError`: if a key is unknown, with the key that may be meant, or a value has the wrong type.
    """
    checked = {}
    for key, value in settings.items():
        if key not in hints:
            # `--help` lists blocks, and not their keys.
            otherwise = f"the keys of {block[:-1]} are {', '.join(hints)}." if block else IN_HELP
            raise ValueError(f"unknown key '{block}{key}'; {suggestion(str(key), hints, block, otherwise)}")
        hint = hints[key]
        checked[key] = _as_list(_as_number(value, hint), hint)
        if not _fits(checked[key], hint) and not (key in _ALSO_BOOL and isinstance(value, bool)):
            # YAML reads no and off as false, and 1.0 as a number.
            quoted = ", in quotes" if _fits("", hint) and not isinstance(value, list | dict) else ""
            is_told = key != "env" and not has_secret_name(str(key))
            shown = repr(value) if is_told else "of another type"
            raise ValueError(f"{block}{key} is {shown}; set {_description(hint)}{quoted}.")
    return checked


def block_of(name: str, value: Any) -> dict[str, Any] | None:
    """
    A block of keys, from YAML or from JSON on the command line.

    Raises:
        `ValueError`: if it is neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{name} is {value!r}, which is not JSON: {error}; set --{name}.key value for each key."
            ) from error
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}; set a block of keys.")
    return value


def arguments_of(function: Callable, exclude: Sequence[str] = ()) -> dict[str, Any]:
    """The type of each argument of a function that a block of a recipe may set."""
    return {name: hint for name, hint in get_type_hints(function).items() if name not in ("return", *exclude)}


def suggestion(key: str, known: Iterable[str], prefix: str = "", otherwise: str = IN_HELP) -> str:
    """What to write instead of an unknown key: what replaced it, a known key close to it, or the other hint."""
    if replaced := replacement(key):
        return replaced
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean '{prefix}{close[0]}'?" if close else otherwise


def takes_block(hint: Any) -> bool:
    """Whether a value of this type can be a block of keys."""
    return any((get_origin(option) or option) is dict for option in _options(hint))


def _options(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML has the annotated type without conversion."""
    try:
        TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError:
        return False
    return True


def _as_number(value: Any, hint: Any) -> Any:
    """The number that a text stands for, if the type asks for a number; otherwise the value itself."""
    if not isinstance(value, str) or _fits(value, hint):
        return value
    for convert in (int, float):
        try:
            number = convert(value)
        except ValueError:
            continue
        if _fits(number, hint):
            return number
    return value


def _as_list(value: Any, hint: Any) -> Any:
    """A list of the one text that is given where a list of texts is asked for; otherwise the value itself."""
    return [value] if isinstance(value, str) and not _fits(value, hint) and _fits([value], hint) else value


def _description(hint: Any) -> str:
    kinds = [get_origin(option) or option for option in _options(hint)]
    kinds = [list if kind is Sequence else kind for kind in kinds]
    return " or ".join(dict.fromkeys(_DESCRIPTIONS[kind] for kind in kinds if kind in _DESCRIPTIONS))
