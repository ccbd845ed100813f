"""Settings are checked against type hints: numbers are read, everything else must have its type as written."""

from collections.abc import Sequence
from typing import Any

import pytest

from passk_trl.cli.settings import arguments_of, check_settings, suggestion, takes_block


HINTS = {
    "steps": int,
    "rate": float,
    "name": str,
    "flag": bool,
    "maybe": int | None,
    "ks": Sequence[float] | None,
    "block": dict | str | None,
    "anything": Any,
    "names": list[str] | None,
    "names or name": list[str] | str,
    "scale_rewards": str,
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rate", "1e-6", 1e-6),
        ("rate", 3, 3),
        ("steps", "8", 8),
        ("maybe", None, None),
        ("maybe", "8", 8),
        ("name", "8", "8"),  # text stays text where text is asked for
        ("ks", [1, 2.5], [1, 2.5]),
        ("block", {"a": 1}, {"a": 1}),
        ("names", "all-linear", ["all-linear"]),
        ("names", ["a", "b"], ["a", "b"]),
        ("names or name", "a", "a"),
        ("anything", object, object),
        ("scale_rewards", False, False),  # TRL takes it, though it is annotated as text
    ],
)
def test_what_fits_is_taken(key, value, expected):
    checked = check_settings({key: value}, HINTS)[key]
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", 8.5, "steps is 8.5; set a whole number."),
        ("steps", True, "steps is True; set a whole number."),
        ("rate", True, "rate is True; set a number."),
        ("rate", "fast", "rate is 'fast'; set a number."),
        ("flag", "yes", "flag is 'yes'; set true or false."),
        ("flag", 1, "flag is 1; set true or false."),
        ("name", 1.0, "name is 1.0; set text, in quotes."),
        ("name", [1], "name is \\[1\\]; set text."),
        ("maybe", "none", "maybe is 'none'; set a whole number or null."),
        ("ks", ["a"], "ks is \\['a'\\]; set a list or null."),
        ("ks", "a", "ks is 'a'; set a list or null."),
        ("names", 1, "names is 1; set a list or null."),
        ("block", 3, "block is 3; set a block of keys or text or null, in quotes."),
        ("stps", 1, "unknown key 'stps'; did you mean 'steps'\\?"),
    ],
)
def test_what_does_not_fit_is_named(key, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_settings({key: value}, HINTS)


def test_keys_of_a_block_carry_its_name():
    with pytest.raises(ValueError, match=r"^monitor\.steps is None; set a whole number\.$"):
        check_settings({"steps": None}, HINTS, "monitor.")
    assert suggestion("stps", HINTS, "monitor.") == "did you mean 'monitor.steps'?"
    with pytest.raises(ValueError, match=r"^unknown key 'monitor\.xyzzy'; the keys of monitor are steps, rate, "):
        check_settings({"xyzzy": 1}, HINTS, "monitor.")
    assert suggestion("xyzzy", HINTS) == "`--help` lists the known ones."


def test_the_arguments_of_a_function_and_the_types_that_are_blocks():
    def function(a: int, b: dict[str, int] | None, c: str) -> None: ...

    hints = arguments_of(function, exclude=["c"])
    assert hints == {"a": int, "b": dict[str, int] | None}
    assert [takes_block(hint) for hint in hints.values()] == [False, True]
