"""The train command: a recipe in, a trained policy and its report out, and mistakes in a recipe named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import concatenate_datasets
from transformers import AutoModelForCausalLM
from trl import ModelConfig

import tiny
from passk_trl import PassKGRPOConfig
from passk_trl.cli.recipe import parse_recipe
from passk_trl.cli.train import TrainArguments, main, trainer_arguments
from passk_trl.control import CONTROLLERS
from passk_trl.records import read_records
from passk_trl.reports.text import write_report
from passk_trl.rollouts.probe_sets import overlap
from small_recipes import RECIPE, write_recipe


def recipe(directory: Path, model: str, **changes) -> str:
    own = {"monitor": {**RECIPE["monitor"], "at_start": True}, "logging_steps": 2, "save_strategy": "no"}
    return write_recipe(directory, model, **{**own, **changes})


def test_a_recipe_trains_reports_and_can_be_overridden(tmp_path, model, capsys):
    run = tmp_path / "run"
    main(["--config", recipe(tmp_path, model), "--pass_at_k", "2"])
    output = capsys.readouterr().out
    arguments = json.loads((run / "training_args.json").read_text())
    assert (arguments["pass_at_k"], arguments["num_generations"]) == (2, 8)
    assert [record["step"] for record in read_records(run / "conflict.jsonl")] == [0, 2, 4]
    trained = AutoModelForCausalLM.from_pretrained(run).state_dict()
    start = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert any(not torch.equal(trained[name], start[name]) for name in start)
    for line in ("before", "trained for pass@2", "conflict at step", "onset", f"figure: {run / 'conflict.png'}"):
        assert line in output
    assert (run / "conflict.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_can_be_set_beside_another(tmp_path, model, capsys):
    first = tmp_path / "first"
    main(["--config", recipe(tmp_path, model, monitor=None, pass_at_k=1, output_dir=str(first), max_steps=2)])
    assert "trained for pass@1" in capsys.readouterr().out
    absent = str(tmp_path / "absent")
    main(["--config", recipe(tmp_path, model, beside=[str(first), absent], max_steps=2)])
    output = capsys.readouterr().out
    assert "trained for pass@4" in output
    assert "trained for pass@1" in output
    assert f"(no run in {absent} to compare with)" in output
    assert write_report(tmp_path / "run") in output  # which remembers them
    assert "trained for pass@1" not in write_report(tmp_path / "run", beside=())


def arguments_of(tmp_path, model, **changes) -> dict:
    script_args, training_args, _, _ = parse_recipe(
        (TrainArguments, PassKGRPOConfig, ModelConfig), "train", ["--config", recipe(tmp_path, model, **changes)]
    )
    return trainer_arguments(script_args, training_args)


def test_prompts_are_held_out_of_training_for_the_monitor(tmp_path, model):
    held_out = arguments_of(tmp_path, model, hold_out_prompts=10)
    trained_on, [monitor] = held_out["train_dataset"], held_out["callbacks"]
    assert (len(trained_on), len(monitor.probe_dataset)) == (22, 10)
    assert overlap(monitor.probe_dataset, trained_on) == []
    again = arguments_of(tmp_path, model, hold_out_prompts=10)
    assert again["callbacks"][0].probe_dataset["prompt"] == monitor.probe_dataset["prompt"]


def test_no_prompt_is_probed_that_is_trained_on(tmp_path, model, monkeypatch, caplog):
    splits = tiny.splits()
    splits["probe"] = concatenate_datasets([splits["train"].select(range(3)), splits["probe"]])
    monkeypatch.setattr(tiny, "splits", lambda: splits)
    given = arguments_of(tmp_path, model)
    assert given["callbacks"][0].probe_dataset["prompt"] == splits["probe"]["prompt"][3:]
    assert "3 of 19 prompts to probe are also trained on, and left out" in caplog.text
    with pytest.raises(ValueError, match="set hold_out_prompts"):
        arguments_of(tmp_path, model, dataset_probe_split="train")


def test_the_batch_itself_can_be_probed(tmp_path, model, capsys):
    changes = {
        "dataset_probe_split": "batch",
        "per_device_train_batch_size": 64,
        "monitor": {"every": 2, "num_prompts": 8},
    }
    main(["--config", recipe(tmp_path, model, **changes), "--dry-run"])
    assert "8 prompts of the batch every 2 steps" in capsys.readouterr().out
    main(["--config", recipe(tmp_path, model, **changes)])
    assert [record["step"] for record in read_records(tmp_path / "run" / "conflict.jsonl")] == [2, 4]


def test_the_training_steps_themselves_can_be_measured(tmp_path, model, capsys):
    changes = {"per_device_train_batch_size": 64, "monitor": {"ride": True, "every": 2, "window": 8}}
    main(["--config", recipe(tmp_path, model, **changes), "--dry-run"])
    assert "the latest 8 prompts of training every 2 steps" in capsys.readouterr().out
    main(["--config", recipe(tmp_path, model, **changes)])
    records = read_records(tmp_path / "run" / "conflict.jsonl")
    assert [(record["step"], record["first_step"]) for record in records] == [(2, 2), (4, 4)]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_block_turns_a_controller_on(name, tmp_path, model):
    [_, controller] = arguments_of(tmp_path, model, mitigation={"controller": name})["callbacks"]
    assert type(controller) is CONTROLLERS[name]


def test_a_controller_takes_arguments_from_recipe_and_command_line(tmp_path, model):
    command = ["--config", recipe(tmp_path, model, mitigation={"controller": "mix"}), "--mitigation.margin", "0.25"]
    types = (TrainArguments, PassKGRPOConfig, ModelConfig)
    [_, mix] = trainer_arguments(*parse_recipe(types, "train", command)[:2])["callbacks"]
    assert mix.margin == 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mitigation": {"controller": "govenor"}}, "mitigation.controller is 'govenor'; set one of guard, mix"),
        ({"mitigation": {"margin": 0.1}}, "mitigation.controller is None; set one of"),
        ({"mitigation": {"controller": ["mix"]}}, "mitigation.controller is ['mix']; set one of"),
        ({"mitigation": {"controller": "mix", "margn": 1}}, "unknown key 'mitigation.margn'; did you mean"),
        ({"mitigation": {"controller": "mix", "margin": 2}}, "margin=2 is not a fraction below 1"),
        (
            {"mitigation": {"controller": "governor"}, "monitor": None},
            "acts on reports; set a monitor block too",
        ),
        ({"mitigation": {"controller": "guard"}, "pass_at_k": 1, "objective": "maxrl"}, "leaves Guard nothing to"),
        ({"dataset_probe_split": "batch", "monitor": {"num_prompts": 8}}, "is more than the 2 prompts of a training"),
        ({"monitor": {"ride": True}, "hold_out_prompts": 9}, "hold_out_prompts is 9, but with monitor.ride nothing"),
        ({"lerning_rate": 0.1}, "lerning_rate"),
        ({"monitor": {"evry": 2}}, "unknown key 'monitor.evry'; did you mean 'monitor.every'?"),
        ({"pass_at_k": 9}, "pass_at_k=9 is larger than num_generations=8"),
    ],
)
def test_mistakes_in_a_recipe_end_in_one_line_and_status_2(tmp_path, model, changes, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", recipe(tmp_path, model, **changes)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("passk-trl train: ")
    assert message in error


def test_a_recipe_that_is_not_there_ends_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(tmp_path / "none.yaml")])
    assert ended.value.code == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "launch",
    [["passk_trl.cli", "train"], ["accelerate.commands.launch", "--cpu", "-m", "passk_trl.cli.train"]],
    ids=["passk-trl", "accelerate launch"],
)
def test_the_command_and_the_launcher_take_the_same_recipe(tmp_path, model, launch):
    config = recipe(tmp_path, model, max_steps=1, eval_strategy="no", eval_on_start=False, eval_steps=None)
    environment = {**os.environ, "PYTHONPATH": str(Path(tiny.__file__).parent), "OMP_NUM_THREADS": "1"}
    module = [sys.executable, "-m", *launch] if launch[0] != "passk_trl.cli" else ["passk-trl", "train"]
    module[0] = str(Path(sys.executable).parent / module[0]) if module[0] == "passk-trl" else module[0]
    done = subprocess.run(
        [*module, "--config", config], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "figure: " in done.stdout


def test_a_mixture_of_reasoning_gym_trains_under_the_monitor(tmp_path, model, capsys):
    mixture = [{"task": "gcd", "settings": {"max_value": 9}}, {"task": "lcm"}]
    block = {"mixture": mixture, "train": 32, "probe": 8, "test": 8}
    path = recipe(
        tmp_path, model, dataset_name="reasoning_gym", reasoning_gym=block, reward_funcs=["reasoning_gym_reward"]
    )
    main(["--config", path, "--max_steps", "2"])
    records = read_records(tmp_path / "run" / "conflict.jsonl")
    assert [record["step"] for record in records] == [0, 2]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["--config", path, "--reasoning_gym.seed", "1"])
    assert "holds a run with reasoning_gym={" in capsys.readouterr().err
