"""A dry run prints what a run would do, with its batch arithmetic, against numbers worked out by hand."""

import re

import pytest

import tiny
from passk_trl.cli import train
from passk_trl.cli.dry_run import _batch
from passk_trl.memory import Engine


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.checkpoint(tmp_path_factory.mktemp("policy"))


def dry_run(capsys, model: str, directory, **changes) -> dict[str, str]:
    settings = {
        "model_name_or_path": model,
        "dataset_name": "tiny.splits",
        "reward_funcs": "tiny.starts_right",
        "output_dir": directory,
        "use_cpu": "true",
        "bf16": "false",
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        **changes,
    }
    train.main(["--dry-run", "3", *(str(x) for key in settings for x in (f"--{key}", settings[key]))])
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_the_table(capsys, model, tmp_path):
    changes = {"gradient_accumulation_steps": 2, "pass_at_k": 4, "max_completion_length": 20, "monitor.num_prompts": 8}
    rows = dry_run(capsys, model, tmp_path / "run", **changes)
    parameters = sum(each.numel() for each in tiny.policy().parameters())
    assert f"Qwen2Config, {parameters / 1000:.3g}K parameters, all trained" in rows["model"]
    assert rows["data"] == "32 rows to train on, 16 rows to probe; prompts up to 3 tokens, completions 20"
    assert rows["rewards"] == "starts_right"
    assert (
        rows["batch"] == "3 processes x 8 x 2 = 48 completions, 6 prompts x 8, for pass@4; an optimizer step takes 48"
    )
    assert rows["monitor"] == "8 prompts x 16 rollouts every 50 steps"
    share = 4 * parameters / 2**20  # in MiB, since all is less than 1 GiB
    weights = f"(DDP): weights {share:.1f}, gradients {share:.1f}, optimizer {2 * share:.1f}, "
    assert weights in rows["memory"]
    in_words = re.match(r"about (\d+\.\d) MiB a process", rows["memory"])
    assert float(in_words[1]) > 4 * share > 0.1
    assert "(ZeRO-3)" in rows["or"]
    assert not (tmp_path / "run").exists()


def test_a_ride_speaks_of_prompts_of_training_and_says_if_it_is_too_short(capsys, model, tmp_path):
    changes = {"monitor.ride": "true", "monitor.every": 1, "pass_at_k": 4, "max_steps": 40}
    rows = dry_run(capsys, model, tmp_path / "run", **changes)
    assert rows["monitor"].startswith("reports on the latest 2048 prompts of training every step, ")
    assert not any("probe" in text for text in rows.values())
    assert "this run trains on 120 prompts, and with window=2048" in rows["warning"]  # 3 processes x 8 / 8 a step
    assert "warning" not in dry_run(capsys, model, tmp_path / "run", **{**changes, "max_steps": 43})
    in_epochs = dry_run(capsys, model, tmp_path / "run", **{**changes, "max_steps": -1, "num_train_epochs": 3})
    assert "trains on 90 prompts" in in_epochs["warning"]  # 10 batches of 3 of the 32 prompts in an epoch
    of_layer = {**changes, "monitor.parameters": "layers.0.self_attn.q_proj", "monitor.window": 2**17}
    of_all = {**of_layer, "monitor.parameters": "all"}
    monitors = [dry_run(capsys, model, tmp_path / "run", **options)["monitor"] for options in (of_layer, of_all)]
    assert [text.rpartition(", ")[2] for text in monitors] == ["gradients whole", "at first"]
    never = dry_run(
        capsys, model, tmp_path / "run", **{"monitor.every": 200, "monitor.num_prompts": 8, "max_steps": 100}
    )
    assert never["warning"].startswith("every=200 is more than the 100 steps of this run")


def test_a_batch_that_other_processes_cannot_divide():
    arguments = tiny.training_args("out", num_generations=8, per_device_train_batch_size=8)
    arguments.per_device_train_batch_size = 2  # fits two processes, which a test does not have
    assert _batch(arguments, Engine("DDP", 2, 0)).startswith("2 processes x 2 x 2 = 8 completions, 1 prompt x 8, ")
    with pytest.raises(
        ValueError, match="12 completions, which is not a multiple of num_generations=8: change one of them"
    ):
        _batch(arguments, Engine("DDP", 3, 0))
    with pytest.raises(ValueError, match="per_device_train_batch_size=2 x 1 process x 2 steps_per_generation"):
        _batch(arguments, Engine("one process", 1, 0))
    arguments.per_device_train_batch_size = 4
    assert _batch(arguments, Engine("one process", 1, 0)).startswith("1 process x 4 x 2 = 8 completions, 1 prompt x 8")
