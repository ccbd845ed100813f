"""Recipes: both ways to name one, overrides, blocks, the resolved recipe, and help."""

import json
import os
import sys

import pytest
import torch
import yaml
from trl import ModelConfig

from passk_trl import PassKGRPOConfig
from passk_trl.cli import main as command
from passk_trl.cli.recipe import parse_recipe
from passk_trl.cli.train import TrainArguments, main


TYPES = (TrainArguments, PassKGRPOConfig, ModelConfig)


def written(directory, **content) -> str:
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump({"use_cpu": True, "bf16": False, "output_dir": str(directory), **content}))
    return str(path)


def parse(*args: str):
    return parse_recipe(TYPES, "passk-trl train", args)


def printed(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*args, "--print-config"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_a_recipe_is_named_in_either_way_and_overridden(tmp_path):
    path = written(tmp_path, learning_rate=0.5, num_generations=4, reward_funcs=["tiny.starts_low"])
    for named in (["--config", path], [f"--config={path}"]):
        script, training, model, processes = parse(*named, "--num_generations", "8", "--dtype=bfloat16")
        assert (training.learning_rate, training.num_generations, model.dtype) == (0.5, 8, "bfloat16")
        assert (script.reward_funcs, processes) == (["tiny.starts_low"], None)


def test_the_number_of_processes_of_a_dry_run_is_optional(tmp_path):
    path = written(tmp_path)
    assert parse("--config", path, "--dry-run")[-1] == 0
    assert parse("--config", path, "--dry-run", "8")[-1] == 8


def test_keys_of_a_block_are_overridden_one_by_one(tmp_path):
    path = written(tmp_path, monitor={"every": 5, "num_prompts": 9})
    script = parse("--config", path, "--monitor.every=7", "--monitor.ks", "[1, 2.5]")[0]
    assert script.monitor == {"every": 7, "num_prompts": 9, "ks": [1, 2.5]}
    assert parse("--config", path, "--monitor", json.dumps({"every": 3}))[0].monitor == {"every": 3}
    assert parse("--config", written(tmp_path), "--monitor.every", "2")[0].monitor == {"every": 2}


def test_keys_of_a_block_in_a_block_are_overridden_too(tmp_path):
    block = {"settings": {"min_terms": 2, "max_terms": 3}, "train": 5}
    path = written(tmp_path, dataset_name="reasoning_gym:chain_sum", reasoning_gym=block)
    script = parse("--config", path, "--reasoning_gym.settings.max_terms", "4", "--reasoning_gym.seed=1")[0]
    assert script.reasoning_gym == {"settings": {"min_terms": 2, "max_terms": 4}, "train": 5, "seed": 1}


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "use_cpu: true\nbf16: false\nlearning_rate: 1e-6\nmonitor:\n  max_overhead: 1e-2\nsave_steps: 10\n"
    )
    script, training, *_ = parse("--config", str(path))
    assert (training.learning_rate, script.monitor, training.save_steps) == (1e-6, {"max_overhead": 0.01}, 10)


def test_what_trl_takes_as_true_or_false_may_be_so_written(tmp_path):
    assert parse("--config", written(tmp_path, scale_rewards=False))[1].scale_rewards == "none"


def test_environment_variables_are_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSK_TRL_TEST", "before")
    parse("--config", written(tmp_path, env={"PASSK_TRL_TEST": 3}))
    assert os.environ["PASSK_TRL_TEST"] == "3"


def test_the_printed_recipe_resolves_to_itself(tmp_path, capsys):
    recipe = {"learning_rate": 1e-5, "monitor": {"every": 5}, "save_strategy": "no", "env": {"PASSK_TRL_TEST": "x"}}
    path = written(tmp_path, **recipe)
    output = printed(capsys, "--config", path, "--pass_at_k", "4", "--reward_funcs", "a.b", "c.d")
    settings = yaml.safe_load(output)
    assert (settings["pass_at_k"], settings["reward_funcs"]) == (4, ["a.b", "c.d"])  # overrides
    assert {key: settings[key] for key in recipe} == recipe
    assert settings["advantage_estimator"] == "weighted_loo"  # defaults of ours
    assert "weight_decay" not in settings  # and none of TRL's
    again = tmp_path / "again.yaml"
    again.write_text(output)
    assert printed(capsys, f"--config={again}") == output
    one, other = (parse("--config", name) for name in (str(again), path))
    assert one[0].monitor == other[0].monitor
    assert one[1].to_dict() == other[1].to_dict() | {"pass_at_k": 4}


def test_help_opens_with_examples_and_our_options(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["passk-trl", "train", "--help"])
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 0
    output = capsys.readouterr().out
    order = [
        "usage: passk-trl train",
        "accelerate launch -m passk_trl.cli.train",
        "--dry-run [PROCESSES]",
        "--monitor STR",
    ]
    order += ["--pass_at_k", "options of trl.GRPOConfig", "--learning_rate FLOAT", "--model_name_or_path"]
    places = [output.index(each) for each in order]
    assert places == sorted(places)
    assert "may be import paths. The code that they name is run." in output


# As people write them. -----


def from_text(directory, text: str, *args: str):
    path = directory / "recipe.yaml"
    path.write_text(f"use_cpu: true\nbf16: false\noutput_dir: {directory}\n{text}")
    return parse("--config", str(path), *args)


def test_one_text_is_a_list_of_one(tmp_path):
    script, _, model, _ = from_text(tmp_path, "lora_target_modules: all-linear\nreward_funcs: accuracy_reward\n")
    assert (model.lora_target_modules, script.reward_funcs) == ("all-linear", ["accuracy_reward"])


@pytest.mark.parametrize("key", ["save_strategy", "eval_strategy", "logging_strategy"])
def test_no_is_no_and_not_false(tmp_path, key):
    assert getattr(from_text(tmp_path, f"{key}: no\n")[1], key) == "no"


def test_a_regular_expression_on_the_command_line(tmp_path):
    for pattern in ("[qk]_proj", "*.q_proj", ".*(q|k)_proj$"):
        assert from_text(tmp_path, "", "--monitor.parameters", pattern)[0].monitor == {"parameters": pattern}


def test_a_key_of_a_block_without_a_value_is_true(tmp_path):
    script, training, *_ = from_text(tmp_path, "", "--monitor.at_start", "--learning_rate", "1e-5")
    assert (script.monitor, training.learning_rate) == ({"at_start": True}, 1e-5)
    assert from_text(tmp_path, "", "--monitor.at_start")[0].monitor == {"at_start": True}
    script = from_text(tmp_path, "", "--monitor.seed", "-1", "--monitor.stratify_by", "null")[0]
    assert script.monitor == {"seed": -1, "stratify_by": None}


def test_a_key_of_a_block_may_be_written_with_a_dot(tmp_path):
    assert from_text(tmp_path, "monitor:\n  every: 5\nmonitor.num_prompts: 9\n")[0].monitor == {
        "every": 5,
        "num_prompts": 9,
    }


def test_variables_in_paths_are_replaced_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("RUN", "7")
    text = "model_name_or_path: ~/policy\nbeside: [$HOME/a, '${HOME}/b']\ninstruction: In $HOME, what is $5?\n"
    script, training, model, _ = from_text(tmp_path, text, "--output_dir", "$HOME/run-$RUN")
    assert (training.output_dir, model.model_name_or_path) == ("/home/ann/run-7", "/home/ann/policy")
    assert (script.beside, script.instruction) == (["/home/ann/a", "/home/ann/b"], "In $HOME, what is $5?")


def test_a_variable_may_be_set_by_the_recipe_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSK_TRL_TEST", "before")
    text = "env:\n  PASSK_TRL_TEST: after\nmodel_name_or_path: $PASSK_TRL_TEST/policy\n"
    assert from_text(tmp_path, text)[2].model_name_or_path == "after/policy"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_recipe_is_told_to_use_the_cpu(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"output_dir: {tmp_path}\n")
    with pytest.raises(ValueError, match="no GPU is found here: set use_cpu to true to use the CPU instead"):
        parse("--config", str(path))
