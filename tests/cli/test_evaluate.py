"""The evaluate command: one checkpoint or two in, pass@k out, after a kill and under a launcher too."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import yaml

import passk_trl.cli
import tiny
from passk_trl.cli.evaluate import main
from passk_trl.evaluation import read_counts
from ranks import run_ranks


ROOT = Path(__file__).parents[2]

PROMPTS, ROLLOUTS, BLOCK = 16, 8, 4  # four blocks

RECIPE = {
    "bf16": False,
    "block_size": BLOCK,
    "dataset_name": "tiny.splits",
    "dataset_test_split": "probe",
    "disable_tqdm": True,
    "max_completion_length": 4,
    "num_rollouts": ROLLOUTS,
    "per_device_train_batch_size": BLOCK * ROLLOUTS,  # the reward function is called once a block
    "report_to": "none",
    "reward_funcs": ["tiny.starts_low"],
    "seed": 0,
    "use_cpu": True,
}


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> str:
    return str(tiny.saved_policy(tmp_path_factory.mktemp("other"), seed=1))


def recipe(directory: Path, model: str, **changes) -> str:
    """A recipe file; a change to `None` takes the key out."""
    content = {"model_name_or_path": model, "output_dir": str(directory / "evaluation"), **RECIPE, **changes}
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, model, other) -> Path:
    """The directory of a finished evaluation of two checkpoints."""
    directory = tmp_path_factory.mktemp("evaluated")
    main(["--config", recipe(directory, model, against=other)])
    return directory / "evaluation"


def content(directory: Path) -> dict:
    return json.loads((directory / "evaluation.json").read_text())


def rollouts(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/rollouts/*.jsonl"))


def pass_at(k: int, num_correct: list[int]) -> float:
    values = [1 - math.comb(ROLLOUTS - correct, k) / math.comb(ROLLOUTS, k) for correct in num_correct]
    return sum(values) / len(values)


def test_a_program_finds_all_that_was_measured(evaluated, model, other):
    found = content(evaluated)
    assert (found["models"], found["ks"]) == ([model, other], [1, 2, 4, 8])
    assert found["overall"]["num_prompts"] == PROMPTS
    assert [prompt["id"] for prompt in found["prompts"]] == list(range(PROMPTS))
    assert {n for prompt in found["prompts"] for n in prompt["num_samples"]} == {ROLLOUTS}
    by_model = list(zip(*[prompt["num_correct"] for prompt in found["prompts"]], strict=True))
    curves = found["overall"]["pass_at_k"]
    for num_correct, band in zip(by_model, curves["policies"], strict=True):
        assert band["value"] == pytest.approx([pass_at(k, num_correct) for k in range(1, ROLLOUTS + 1)])
        for low, value, high in zip(band["low"], band["value"], band["high"], strict=True):
            assert low <= value <= high
    assert curves["difference"]["value"] == pytest.approx(
        [pass_at(k, by_model[0]) - pass_at(k, by_model[1]) for k in range(1, ROLLOUTS + 1)]
    )
    assert (curves["ranges"][0]["first"], curves["ranges"][-1]["last"]) == (1, ROLLOUTS)
    assert found["overall"]["pass_hat_k"]["policies"][0]["value"][0] == pytest.approx(pass_at(1, by_model[0]))
    assert by_model[0] != by_model[1]
    assert found["about"]["reward_funcs"] == ["starts_low"]
    assert found["unscorable"] == []


def test_the_counts_are_those_of_the_rollouts_on_disk(evaluated):
    lines = [json.loads(line) for file in rollouts(evaluated) for line in file.read_text().splitlines()]
    assert len(lines) == 2 * PROMPTS
    counted = [correct for prompt in content(evaluated)["prompts"] for correct in prompt["num_correct"]]
    assert sorted(sum(line["success"]) for line in lines) == sorted(counted)


def test_bands_are_measured_on_the_rollouts_that_did_not_choose_them(evaluated):
    found = content(evaluated)
    groups = found["by_difficulty"]
    assert sum(group["num_prompts"] for group in groups.values()) == PROMPTS
    assert {prompt["difficulty"] for prompt in found["prompts"]} == set(groups)
    for group in groups.values():
        assert len(group["pass_at_k"]["difference"]["value"]) == ROLLOUTS // 2


def test_a_reader_finds_the_verdict_a_table_and_a_picture(evaluated, model, other):
    text = (evaluated / "evaluation.md").read_text()
    assert f"`{model}`, against `{other}`" in text
    assert "- **pass@k**: undecided at k = 1" in text
    band = content(evaluated)["overall"]["pass_at_k"]["difference"]
    row = next(line for line in text.splitlines() if line.startswith("| 1 "))
    assert f"| {band['value'][0]:+.3f} [{band['low'][0]:+.3f}, {band['high'][0]:+.3f}] |" in row
    assert (evaluated / "evaluation.png").read_bytes().startswith(b"\x89PNG")


def test_the_counts_of_each_checkpoint_can_be_compared_later(evaluated, model, other, tmp_path, capsys):
    one, against = (next(evaluated.glob(f"{Path(name).name}-*/counts.jsonl")) for name in (model, other))
    main(["--counts", str(against), str(one), "--output_dir", str(tmp_path)])
    later, before = content(tmp_path), content(evaluated)
    for key in ("overall", "contributions", "ks"):
        assert later[key] == before[key]


def test_the_same_command_again_pays_nothing_and_says_the_same(evaluated, model, other, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in rollouts(evaluated)}
    assert len(before) == 2 * PROMPTS // BLOCK
    report = (evaluated / "evaluation.json").read_text()
    main(["--config", recipe(tmp_path, model, against=other, output_dir=str(evaluated))])
    assert (evaluated / "evaluation.json").read_text() == report
    assert {path: path.stat().st_mtime_ns for path in rollouts(evaluated)} == before
    output = capsys.readouterr().out
    assert (evaluated / "evaluation.md").read_text() in output
    assert f"report: {evaluated / 'evaluation.md'}" in output


def test_a_kill_pays_for_no_rollout_twice(evaluated, model, other, tmp_path, monkeypatch):
    path = recipe(tmp_path, model, against=other)
    blocks = PROMPTS // BLOCK
    monkeypatch.setattr(tiny, "starts_low", tiny.Counting(fatal=blocks + 2))  # in the second block of the second model
    with pytest.raises(KeyboardInterrupt):
        main(["--config", path])
    resumed = tiny.Counting()
    monkeypatch.setattr(tiny, "starts_low", resumed)
    main(["--config", path])
    assert resumed.completions == (blocks - 1) * BLOCK * ROLLOUTS
    assert content(tmp_path / "evaluation") == content(evaluated)


def test_a_copy_of_a_checkpoint_does_not_differ_from_it(model, evaluated, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    main(["--config", recipe(tmp_path, model, against=str(tmp_path / "copy"), ks=[1, 3])])
    found = content(tmp_path / "evaluation")
    assert len(rollouts(tmp_path / "evaluation")) == 2 * PROMPTS // BLOCK
    assert found["ks"] == [1, 3]
    curves = found["overall"]["pass_at_k"]
    assert curves["difference"]["value"] == [0] * ROLLOUTS
    assert curves["ranges"] == [{"outcome": "undecided", "first": 1, "last": ROLLOUTS}]
    assert curves["policies"][0] == content(evaluated)["overall"]["pass_at_k"]["policies"][0]


def test_one_checkpoint_by_a_column_of_difficulty(model, tmp_path, capsys):
    columns = {"dataset_name": "tiny.plain_splits", "dataset_test_split": "test", "prompt_column": "question"}
    main(["--config", recipe(tmp_path, model, difficulty_column="gold", ks=[8], num_prompts=12, **columns)])
    found = content(tmp_path / "evaluation")
    assert found["overall"]["pass_at_k"]["difference"] is None
    assert found["ks"] == [8]
    assert len({prompt["id"] for prompt in found["prompts"]}) == 12
    for prompt in found["prompts"]:
        assert prompt["difficulty"] == str(prompt["id"] % 10)
    for name, group in found["by_difficulty"].items():
        mine = [prompt["num_correct"][0] for prompt in found["prompts"] if prompt["difficulty"] == name]
        assert group["num_prompts"] == len(mine)
        assert group["pass_at_k"]["policies"][0]["value"][7] == pytest.approx(pass_at(8, mine))
    assert "## pass@k by `gold`" in capsys.readouterr().out


def test_prompts_that_cannot_be_scored_are_left_out_and_said_so(model, tmp_path, monkeypatch, capsys):
    score = tiny.starts_low

    def starts_low(completions, solution, **kwargs):
        return [None if digit == "3" else reward for digit, reward in zip(solution, score(completions), strict=True)]

    monkeypatch.setattr(tiny, "starts_low", starts_low)
    main(["--config", recipe(tmp_path, model)])
    found = content(tmp_path / "evaluation")
    assert found["unscorable"] == [3, 13]
    [counts] = (tmp_path / "evaluation").glob("*/counts.jsonl")
    assert [n for _, n in read_counts(counts).values()] == [0 if row in (3, 13) else 8 for row in range(PROMPTS)]
    assert found["overall"]["num_prompts"] == PROMPTS - 2
    assert "Left out, because a rollout could not be scored: 2 prompts" in capsys.readouterr().out


def score_nothing(completions, **kwargs):
    return [None] * len(completions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_rollout": 8}, "num_rollout"),
        ({"model_name_or_path": None}, "model_name_or_path is not set"),
        ({"ks": [4, 16]}, "pass@16 has no unbiased estimate from 8 rollouts of a prompt: set ks between 1 and 8, or "
                          "sample at least 16 of each (num_rollouts)."),
        ({"num_rollouts": 1}, "num_rollouts=1 is too few; set at least 2"),
        ({"num_prompts": 4}, "num_prompts=4 is too few"),
        ({"num_prompts": 17}, "the split 'probe' has 16 rows, fewer than num_prompts=17; lower num_prompts or set "
                              "another dataset_test_split"),
        ({"dataset_test_split": "dev"}, "has no split 'dev', only train, probe, test; set dataset_test_split"),
        ({"difficulty_column": "level"}, "the dataset has no column 'level', only ['prompt', 'solution']; set "
                                         "difficulty_column"),
        ({"against": "./nowhere"}, "against='./nowhere' cannot be loaded"),
        ({"confidence": 95}, "confidence=95 is not between 0 and 1"),
        ({"reward_funcs": ["test_evaluate.score_nothing"]}, "there is no prompt to evaluate"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_mistakes_end_in_one_line_and_status_2(tmp_path, model, changes, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", recipe(tmp_path, model, **changes)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("passk-trl evaluate: ")
    assert message in error


def test_it_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["passk-trl", "evaluate", "--num_rollouts", "1"])
    with pytest.raises(SystemExit):
        passk_trl.cli.main()
    assert "passk-trl evaluate: num_rollouts=1 is too few" in capsys.readouterr().err


def test_other_settings_in_the_same_place_end_in_one_line(evaluated, model, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", recipe(tmp_path, model, output_dir=str(evaluated), temperature=0.5)])
    assert ended.value.code == 2
    assert "holds rollouts made with temperature=1.0, not 0.5; set temperature as it was" in capsys.readouterr().err


def test_two_ranks_share_the_prompts(tmp_path, model, other):
    run_ranks(main, ["--config", recipe(tmp_path, model, against=other)])
    found = content(tmp_path / "evaluation")
    assert [prompt["id"] for prompt in found["prompts"]] == list(range(PROMPTS))
    assert len(found["overall"]["pass_at_k"]["difference"]["value"]) == ROLLOUTS
    lines = [json.loads(line) for file in rollouts(tmp_path / "evaluation") for line in file.read_text().splitlines()]
    assert sorted(line["prompt"] for line in lines) == sorted([*range(PROMPTS)] * 2)
    assert {len(line["completion_ids"]) for line in lines} == {ROLLOUTS}
