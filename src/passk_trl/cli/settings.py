"""What a recipe may hold: keys that exist, values of their type, and what to say of others."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


# What a value should have been, in words.
_TOLD = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a block of keys",
    NoneType: "null",
}

# Annotated `str` by TRL, which takes true and false too.
_BOOL_TOO = ("scale_rewards",)


def check_settings(settings: dict[str, Any], hints: dict[str, Any], block: str = "") -> dict[str, Any]:
    """
    Settings with their numbers read, for YAML takes `1e-6` for a text.

    Args:
        settings (`dict`):
            As they were written.
        hints (`dict`):
            The type of each key there is.
        block (`str`, *optional*, defaults to `""`):
            What the keys are in, such as `"monitor."`.

    Raises:
        `ValueError`: if a key is unknown, with the one that may be meant, or a value is of another type.
    """
    read = {}
    for key, value in settings.items():
        if key not in hints:
            raise ValueError(f"unknown key '{block}{key}'; {meant(str(key), hints, block)}")
        read[key] = _number(value, hints[key])
        if not _fits(read[key], hints[key]) and not (key in _BOOL_TOO and isinstance(value, bool)):
            # YAML reads no and off as false, and 1.0 as a number.
            quoted = ", in quotes" if _fits("", hints[key]) and not isinstance(value, list | dict) else ""
            raise ValueError(f"{block}{key} is {value!r}; set {_told(hints[key])}{quoted}.")
    return read


def arguments_of(function: Callable, but: Sequence[str] = ()) -> dict[str, Any]:
    """The type of each argument of a function that a recipe's block may set."""
    return {name: hint for name, hint in get_type_hints(function).items() if name not in ("return", *but)}


def meant(key: str, known: Iterable[str], before: str = "") -> str:
    """What to tell who wrote a key that is not known."""
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean '{before}{close[0]}'?" if close else "`--help` lists what there is."


def _number(value: Any, hint: Any) -> Any:
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


def takes_block(hint: Any) -> bool:
    """Whether a value of this type can be a block of keys."""
    return any((get_origin(each) or each) is dict for each in _alternatives(hint))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML is of an annotated type. Types that YAML has not fit nothing."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    kind = get_origin(hint) or hint
    if kind in (list, Sequence):
        elements = get_args(hint) or (Any,)
        return isinstance(value, list) and all(_fits(each, elements[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind is Any or (isinstance(kind, type) and isinstance(value, kind))


def _told(hint: Any) -> str:
    kinds = [Literal if get_origin(each) is Literal else get_origin(each) or each for each in _alternatives(hint)]
    kinds = [list if kind is Sequence else kind for kind in kinds]
    return " or ".join(dict.fromkeys(_TOLD[kind] for kind in kinds if kind in _TOLD))
