"""Prompts are built from the columns that a recipe names."""

import json

from passk_trl.cli.data import PromptArguments, draw_prompts, load_splits
from passk_trl.cli.evaluate import EvaluateArguments
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


def test_questions_of_reasoning_gym_with_an_instruction():
    arguments = ProbeArguments(
        dataset_name="reasoning_gym:chain_sum",
        reasoning_gym={"settings": {"max_digits": 1}, "train": 0, "probe": 16, "test": 8},
        instruction="Answer with the answer alone.",
        num_prompts=8,
    )
    dataset, _ = draw_prompts(arguments, seed=0)
    entry = json.loads(dataset["entry"][0])
    assert dataset["prompt"][0] == [{"role": "user", "content": f"{entry['question']}\nAnswer with the answer alone."}]
    assert dataset["solution"][0] == entry["answer"]
    arguments.chat = False
    assert draw_prompts(arguments, seed=0)[0]["prompt"][0] == f"{entry['question']}\nAnswer with the answer alone."


def test_a_mixture_needs_no_task_in_its_name():
    mixture = [{"task": "gcd", "weight": 3}, {"task": "lcm"}]
    arguments = EvaluateArguments(dataset_name="reasoning_gym", reasoning_gym={"mixture": mixture, "test": 16})
    assert sorted(draw_prompts(arguments, seed=0)[0]["task"]) == ["gcd"] * 12 + ["lcm"] * 4


def test_a_mixture_of_datasets_as_trl_writes_it(tmp_path):
    for name in ("one", "two"):
        lines = [json.dumps({"prompt": f"{name} {i}", "solution": "1", "more": i}) for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    mixture = [
        {
            "path": "json",
            "data_files": str(tmp_path / "one.jsonl"),
            "columns": ["prompt", "solution"],
            "fraction": 0.75,
        },
        {
            "path": "json",
            "data_files": str(tmp_path / "two.jsonl"),
            "columns": ["prompt", "solution"],
            "fraction": 0.25,
        },
    ]
    splits = load_splits(PromptArguments(datasets=mixture, test_split_size=2))
    assert {name: len(split) for name, split in splits.items()} == {"train": 9, "test": 2}
    prompts = [*splits["train"]["prompt"], *splits["test"]["prompt"]]
    assert sum(prompt.startswith("one") for prompt in prompts) == 8
