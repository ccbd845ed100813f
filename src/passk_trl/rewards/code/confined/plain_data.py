"""Python's plain values as JSON and back: all that crosses from a program to its unit tests.

A value of any other type stays where it is, and a handle crosses in its place. So no method of a program's own class
ever runs among the unit tests: an object that claims to equal everything equals nothing there.
"""

from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any


_LONGEST_ITERATOR = 100_000
_EXACT_FLOATS = 2**53  # larger integers are written in base 16, since reading base 10 takes quadratic time


def encoded(value: Any, other: Callable[[Any], Any]) -> Any:
    """A value as JSON. `other` gives the handle of a value that is not plain, or raises."""
    if value is None or isinstance(value, bool | float | str):
        return _of_scalar(value)
    if isinstance(value, int):
        return int(value) if abs(value) < _EXACT_FLOATS else {"integer": hex(value)}
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            items = [encoded(item, other) for item in value]
            return items if name == "list" else {name: items}
    if isinstance(value, dict):
        return {"dict": [[encoded(key, other), encoded(item, other)] for key, item in value.items()]}
    for name, (kind, write, _) in _BY_TEXT.items():
        if isinstance(value, kind):
            return {name: write(value)}
    if isinstance(value, Iterator):
        return {"iterator": [encoded(item, other) for item in islice(value, _LONGEST_ITERATOR)]}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encoded(value.tolist(), other)
    return other(value)


def decoded(value: Any, handle: Callable[[Any], Any]) -> Any:
    """
    The value that was written. `handle` makes something of the handle of a value that is not plain.

    Raises:
        `ValueError`: if it was not written by [`encoded`].
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [decoded(item, handle) for item in value]
    ((name, content),) = value.items()
    if name in _SEQUENCES:
        return _SEQUENCES[name](decoded(item, handle) for item in content)
    if name == "dict":
        return {decoded(key, handle): decoded(item, handle) for key, item in content}
    if name in _BY_TEXT:
        return _BY_TEXT[name][2](content)
    if name == "integer":
        return int(content, 16)
    if name == "iterator":
        return iter([decoded(item, handle) for item in content])
    return handle(value)


def _of_scalar(value: Any) -> Any:
    """The value itself, without a subclass that it may have."""
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else value


_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}

_BY_TEXT: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "complex": (complex, str, complex),
    "bytes": (bytes, lambda value: value.hex(), bytes.fromhex),
    "bytearray": (bytearray, lambda value: value.hex(), bytearray.fromhex),
    "range": (range, lambda value: [value.start, value.stop, value.step], lambda content: range(*content)),
    "decimal": (Decimal, str, Decimal),
    "fraction": (Fraction, str, Fraction),
}
