"""The probe command: a recipe in, a report out, under a launcher too, and mistakes in a recipe named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from trl import ModelConfig, TrlParser

from passk_trl import PassKGRPOConfig
from passk_trl.cli.data import draw_prompts
from passk_trl.cli.probe import ProbeArguments, main


ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("recipes/**/config_probe.yaml"))

RECIPE = {
    "bf16": False,
    "block_size": 4,
    "dataset_name": "tiny.splits",
    "disable_tqdm": True,
    "k": 3,
    "max_completion_length": 4,
    "num_prompts": 12,
    "num_rollouts": 8,
    "report_to": "none",
    "reward_funcs": ["tiny.starts_low"],
    "seed": 0,
    "use_cpu": True,
}


def recipe(directory: Path, model: str, **changes) -> str:
    """A recipe file; a change to `None` takes the key out."""
    content = {"model_name_or_path": model, "output_dir": str(directory / "audit"), **RECIPE, **changes}
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)


@pytest.fixture(scope="module")
def audited(tmp_path_factory, model) -> Path:
    """The directory of a finished audit."""
    directory = tmp_path_factory.mktemp("audited")
    main(["--config", recipe(directory, model)])
    return directory / "audit"


def test_the_report_holds_all_that_was_measured(audited):
    report = json.loads((audited / "report.json").read_text())
    assert report["num_prompts"] == sum(report["success_histogram"]) == len(report["prompts"]) == 12
    assert len(report["success_histogram"]) == 9
    assert sorted({prompt["row"] for prompt in report["prompts"]}) == sorted(
        draw_prompts(ProbeArguments(dataset_name="tiny.splits", num_prompts=12), seed=0)[1]
    )
    assert [point["k"] for point in report["curve"]] == list(range(1, 8))
    assert [point["k"] for point in report["curve_plugin"]] == list(range(1, 9))
    assert len(report["filtered_plugin"]) == len(report["filtered_unbiased"]) == 9
    assert report["gradients"]["covered"] == report["gradients"]["total"]
    for point in report["curve"]:
        assert point["inner_product_sum"] == pytest.approx(12 * point["weighted_agreement"])
        if point["weighted_agreement"] != 0:
            assert point["low"] <= point["weighted_agreement"] <= point["high"]
        else:  # no pair of prompts has weight at so large a k
            assert point["k"] > 4
            assert point["low"] is point["high"] is None
    at_k = report["curve"][2]["weighted_agreement"]
    assert sum(prompt["contribution"] for prompt in report["prompts"]) / 12 == pytest.approx(at_k)
    worst = report["most_negative"]
    negative = [prompt["contribution"] for prompt in report["prompts"] if prompt["contribution"] < 0]
    assert [prompt["contribution"] for prompt in worst] == sorted(negative)[:10]
    assert all(prompt["text"] == f"{prompt['row']}?" for prompt in worst)


def test_the_report_can_be_read(audited):
    text = (audited / "report.md").read_text()
    report = json.loads((audited / "report.json").read_text())
    assert text.index("## Verdict") < text.index(report["verdict"]) < text.index("## What was measured")
    for worst in report["most_negative"]:
        assert f"**Row {worst['row']}**: {worst['num_correct']} of 8 correct" in text
        assert f"> {worst['text']}" in text
    assert "0.85, 0.10" in text
    for figure in ("success.png", "weights.png", "curve.png"):
        assert f"({figure})" in text
        assert (audited / figure).read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_pays_nothing_and_says_the_same(audited, model, tmp_path, capsys):
    paid = [*audited.glob("rollouts/*"), *audited.glob("gradients/*/*.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in paid}
    report = (audited / "report.json").read_text()
    assert len(before) == 6
    main(["--config", recipe(tmp_path, model, output_dir=str(audited))])
    assert (audited / "report.json").read_text() == report
    assert {path: path.stat().st_mtime_ns for path in before} == before
    output = capsys.readouterr().out
    assert json.loads(report)["verdict"] in output
    assert f"report: {audited / 'report.md'}" in output


def test_truncated_sampling_is_warned_about_and_reported(model, tmp_path):
    with pytest.warns(UserWarning, match="top_p=0.95: completions are sampled from a truncated policy"):
        main(["--config", recipe(tmp_path, model), "--top_p", "0.95"])
    directory = tmp_path / "audit"
    assert json.loads((directory / "report.json").read_text())["truncated_sampling"] == ["top_p=0.95"]
    assert "Rollouts were sampled with top_p=0.95" in (directory / "report.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_prompt": 8}, "num_prompt"),
        ({"model_name_or_path": None}, "model_name_or_path is not set"),
        ({"prompt_column": "problem"}, "the dataset has no column 'problem', only ['prompt', 'solution']; set prompt"),
        ({"answer_column": "gold"}, "the dataset has no column 'gold'"),
        ({"dataset_probe_split": "validation"}, "has no split 'validation', only train, probe, test"),
        ({"num_prompts": 17}, "the split 'probe' has 16 rows, fewer than num_prompts=17"),
        ({"num_prompts": 4}, "num_prompts=4 is too few"),
        ({"k": 8}, "k=8 cannot be measured with num_rollouts=8; set k from 1 to 7"),
        ({"parameters": "nowhere"}, "parameters='nowhere' selects no trainable parameter"),
        ({"dataset_name": "tiny.plain_splits", "prompt_column": "question", "reward_funcs": ["tiny.starts_right"]},
         "the reward function 'starts_right' needs solution, which the probe prompts lack"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_mistakes_in_a_recipe_end_in_one_line_and_status_2(tmp_path, model, changes, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", recipe(tmp_path, model, **changes)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("passk-trl probe: ")
    assert message in error


def test_other_settings_in_the_same_place_end_in_one_line(audited, model, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", recipe(tmp_path, model, output_dir=str(audited), temperature=0.5)])
    assert ended.value.code == 2
    assert "holds rollouts made with temperature=1.0, not 0.5; set temperature as it was" in capsys.readouterr().err


def test_there_are_recipes():
    assert len(RECIPES) == 9


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_every_recipe_parses(path):
    parser = TrlParser((ProbeArguments, PassKGRPOConfig, ModelConfig))
    probe, training, _ = parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true"])
    assert f"--config {path.relative_to(ROOT)}" in path.read_text()  # the launch line it opens with
    if "deepseek" in str(path):
        settings = (probe.num_prompts, probe.num_rollouts, training.temperature, training.top_p, probe.parameters)
        assert settings == (2000, 32, 0.7, 0.95, "final_norm")


def test_several_processes_under_a_launcher(tmp_path, model, audited):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    # Not accelerate's launcher, which starts one process for CPUs whatever it is asked for.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "passk_trl.cli.probe"]
    done = subprocess.run(
        [sys.executable, *launch, "--config", recipe(tmp_path, model)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: ") == 1
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    alone = json.loads((audited / "report.json").read_text())
    assert report["num_prompts"] == 12
    assert [prompt["row"] for prompt in report["prompts"]] == [prompt["row"] for prompt in alone["prompts"]]
