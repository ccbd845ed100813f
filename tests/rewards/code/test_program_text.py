"""Which part of a completion is its program."""

import pytest

from passk_trl.rewards.code.program_text import head_of, program_of


HEAD = 'import math\n\n\ndef half(x):\n    return x / 2\n\n\ndef f(x):\n    """Twice x."""\n'


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("x = 1", "x = 1"),
        ("Look:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\nNo:\n```python\nx = 2\n```", "x = 2\n"),
        ("```py\nx = 1\n```\n```text\nx is 1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n```\nIt prints\n```\n1\n```", "x = 1\n"),
        ("```Python title=a\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n", "x = 1\n"),
        ("```python\nx = 1```\nDone.", "x = 1"),
        ("1. Look:\n   ```python\n   if 1:\n       x = 1\n   ```", "if 1:\n    x = 1\n"),
        ("x = 1\n```", "x = 1\n"),
        ("x = 1\n```\nIt sets x to 1.", "x = 1\n"),
        ("It is:\n```\nx = 1", "x = 1"),
        ("```\nx = 1", "x = 1"),
        ("```python\nx = (\n", None),
        ("The answer is clear.", None),
        ("x = '\0'", None),
        ("(" * 5000, None),
    ],
)
def test_the_program_of_a_completion(completion, program):
    assert program_of(completion) == program


@pytest.mark.parametrize(
    ("completion", "end"),
    [
        ("    return 2 * x\n", "    return 2 * x\n"),
        ("return 2 * x", "    return 2 * x"),
        ("    y = 2\n\n    return y * x\n\nprint(f(2))\n", "    return y * x\n\nprint(f(2))\n"),
        ("    return 2 * x\n\nSo f is done.", "    return 2 * x\n\n"),
        ("```python\n    return 2 * x\n```", "    return 2 * x\n"),
        ("    return 2 * x\n```\n\nIt doubles x.", "    return 2 * x\n"),
        ("    return 2 * x\n```", "    return 2 * x\n"),
    ],
)
def test_a_completion_goes_on_from_the_head_of_a_function(completion, end):
    program = program_of(completion, HEAD, "f")
    assert program.startswith(HEAD)
    assert program.endswith(end)


def test_a_function_written_anew_takes_the_place_of_the_head():
    program = program_of("```python\ndef f(x):\n    return half(4 * x)\n```", HEAD, "f")
    assert program == "import math\n\n\ndef half(x):\n    return x / 2\n\n\n\ndef f(x):\n    return half(4 * x)\n"


def test_a_completion_that_fits_no_head_has_no_program():
    assert program_of("    return (", HEAD, "f") is None


def test_the_head_is_the_prompt_or_its_block():
    assert head_of(HEAD, "f") == HEAD
    assert head_of(f"Complete this:\n```python\n{HEAD}```", "f") == HEAD
    assert head_of(f"{HEAD}\nComplete this function.\nThink first.", "f") == f"{HEAD}\n"
    assert head_of("Write a function f.", "f") is None
    assert head_of(HEAD, "g") is None
