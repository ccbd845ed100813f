"""What verifiers read in a completion: its text, and the content of its last box."""

import pytest

from passk_trl.rewards.completions import last_boxed, last_tagged, last_text, text_of


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "last"}], "last"),
        ([{"role": "assistant", "content": "first"}, {"role": "assistant", "content": "last"}], "last"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant"}], ""),
        ([], ""),
        ([{"content": "no role"}], "no role"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}], "ab"),
        ([{"role": "assistant", "content": "mine"}, {"role": "tool", "content": "the tool's"}], "mine"),
        ([{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "the tool's"}], ""),
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


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<answer> 1 </answer> and <answer>2</answer> so", "2"),
        ("<answer>1</answer> and <answer>2", "1"),
        ("1</answer>", None),
        ("<answer>1", None),
    ],
)
def test_the_last_tagged_answer(text, content):
    assert last_tagged(text) == content


def test_the_last_text_of_a_prompt_is_that_of_whoever_wrote_it():
    assert last_text([{"role": "user", "content": "question"}]) == "question"
    assert last_text("question") == "question"


def test_a_box_repeated_without_end_is_read_once():
    assert last_boxed(r"\boxed{" * 100_000) is None
