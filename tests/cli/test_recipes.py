"""No recipe rots: each parses, builds its configs and passes a dry run with a tiny model of its architecture."""

import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from trl import ModelConfig

import tiny
from passk_trl import PassKGRPOConfig
from passk_trl.cli import evaluate, probe, train
from passk_trl.cli.recipe import parse_recipe


ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("recipes/*/**/config_*.yaml"))
OWN = [
    f"passk_trl.tasks.{splits}"
    for splits in (
        *("quickstart", "short_question_splits", "sums_splits", "formats_splits", "divisibility_splits"),
        "small_programs",
    )
]
STAND_INS = {
    "DigitalLearningGmbH/MATH-lighteval": "tiny.math_splits",
    "openai/gsm8k": "tiny.gsm8k_splits",
    **{name: name for name in OWN},
    "reasoning_gym:chain_sum": "reasoning_gym:chain_sum",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, str]:
    return {name: tiny.checkpoint(tmp_path_factory.mktemp(name), name) for name in ("qwen2", "llama")}


def resolved(command, path: Path, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        command.main([f"--config={path}", "--print-config", "--use_cpu", "true"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_there_are_recipes():
    assert len(RECIPES) == 22


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_every_recipe_passes_a_dry_run(path, checkpoints, tmp_path, capsys):
    text = path.read_text()
    recipe = yaml.safe_load(text)
    assert f"--config {path.relative_to(ROOT)}" in text  # the launch line it opens with
    assert "# Hardware: " in text
    changes = {
        "model_name_or_path": checkpoints["llama" if "llama" in path.parts[-3] else "qwen2"],
        "dataset_name": STAND_INS[recipe["dataset_name"]],
        "dataset_config": "",
        "output_dir": str(tmp_path),
        "use_cpu": "true",
    }
    command = {"config_probe": probe, "config_evaluate": evaluate}.get(path.stem, train)
    if "against" in recipe:
        changes["against"] = changes["model_name_or_path"]
    command.main(
        ["--config", str(path), "--dry-run", "8", *(x for key in changes for x in (f"--{key}", changes[key]))]
    )
    output = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert {"model", "data", "rewards", "rollouts", "memory", "or"} <= set(rows)
    assert ("LlamaConfig" if "llama" in path.parts[-3] else "Qwen2Config") in rows["model"]
    if command is train:
        assert f"x {recipe['num_generations']}, for pass@{recipe['pass_at_k']};" in rows["batch"]
    if path.stem == "config_lora":
        assert re.search(r", [\d.]+K trained", rows["model"])
    assert not list(tmp_path.iterdir())
    printed = tmp_path / "printed.yaml"
    printed.write_text(resolved(command, path, capsys))
    assert resolved(command, printed, capsys) == printed.read_text()


def test_gold_answers_of_gsm8k_are_cut_from_their_solutions(checkpoints):
    path = ROOT / "recipes/qwen2.5-1.5b/gsm8k/config_pass8.yaml"
    types = (train.TrainArguments, PassKGRPOConfig, ModelConfig)
    data = ["--dataset_name", "tiny.gsm8k_splits", "--dataset_config", ""]
    arguments = ["--config", str(path), *data, "--use_cpu", "true"]
    script_args, training_args, *_ = parse_recipe(types, "passk-trl train", arguments)
    given = train.trainer_arguments(script_args, training_args)
    row = given["train_dataset"][0]
    assert row["solution"] == "2"
    assert [message["role"] for message in row["prompt"]] == ["user"]
    assert row["prompt"][0]["content"] == (
        "Ann has $1 and gets $1. How much? (0)\n"
        "Please reason step by step, and put your final answer within \\boxed{}."
    )
    assert given["callbacks"][0].probe_dataset[0]["solution"] == "2"


@pytest.mark.parametrize("name", ["single", "ddp", "fsdp2", "zero2", "zero3"])
def test_accelerate_takes_every_engine(name):
    path = ROOT / f"recipes/accelerate/{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.num_processes == (1 if name == "single" else 8)
    assert config.mixed_precision == "bf16"


def test_every_launch_line_names_an_engine_that_is_there():
    named = {match for path in RECIPES for match in re.findall(r"recipes/accelerate/\w+\.yaml", path.read_text())}
    assert len(named) >= 4
    assert all((ROOT / name).exists() for name in named)
    readme = (ROOT / "recipes/README.md").read_text()
    assert all(str(path.relative_to(ROOT)) in readme for path in RECIPES)
