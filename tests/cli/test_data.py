"""Prompts are built from the columns that a recipe names."""

from passk_trl.cli.data import draw_prompts
from passk_trl.cli.probe import ProbeArguments
from passk_trl.rollouts.prompt_text import text_of


def test_columns_of_other_names_and_plain_prompts():
    arguments = ProbeArguments(
        dataset_name="tiny.plain_splits",
        prompt_column="question",
        answer_column="gold",
        instruction="Answer.",
        system_prompt="Be brief.",
        num_prompts=8,
    )
    dataset, rows = draw_prompts(arguments, seed=3)
    assert len(set(rows)) == 8
    assert dataset["level"][:] == rows
    assert dataset["solution"][:] == [str(row % 10) for row in rows]
    assert dataset["prompt"][0] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{rows[0]}?\nAnswer."},
    ]
    assert text_of(dataset["prompt"][0]) == f"Be brief.\n\n{rows[0]}?\nAnswer."
    assert draw_prompts(arguments, seed=4)[1] != rows
    arguments.chat, arguments.system_prompt = False, None
    assert draw_prompts(arguments, seed=3)[0]["prompt"][0] == f"{rows[0]}?\nAnswer."
