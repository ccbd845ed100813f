"""Equality of two answers as `math_verify` has it, in the main thread."""

import pytest

from passk_trl.rewards.equality import equality, parsed


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        (r"\boxed{\frac{1}{2}}", r"\boxed{0.5}", 1.0),
        (r"\boxed{3}", r"\boxed{4}", 0.0),
        ("no answer", r"\boxed{4}", 0.0),
        (r"\boxed{4}", "no formula", None),
    ],
)
def test_equality(answer, gold, equal):
    assert equality(answer, gold) == equal


def test_a_box_is_read_and_the_text_around_it_is_not():
    assert parsed(r"\boxed{7}")
    assert parsed("") == []
