"""What verifiers read in a completion: its text, and the content of its last box."""

import pytest

from passk_trl.rewards.completions import last_boxed, text_of


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "last"}], "last"),
        ([{"role": "assistant", "content": "first"}, {"role": "assistant", "content": "last"}], "last"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": "a</think>b"}], "b"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>a</think>", ""),
        ("<think>a", "<think>a"),
    ],
)
def test_the_text_of_a_completion(completion, text):
    assert text_of(completion) == text


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {3}", "3"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{a \} b}", r"a \} b"),
        (r"\boxed{", None),
        ("no box", None),
        ("} {", None),
    ],
)
def test_the_last_box_is_the_one_that_closes_last(text, content):
    assert last_boxed(text) == content


def test_a_box_repeated_without_end_is_read_once():
    assert last_boxed(r"\boxed{" * 100_000) is None
