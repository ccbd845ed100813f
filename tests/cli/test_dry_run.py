"""What a dry run says: rows, batch arithmetic, and memory, against numbers worked out by hand."""

import pytest
from trl import ModelConfig

import tiny
from passk_trl.cli import train
from passk_trl.cli.dry_run import _batch
from passk_trl.memory import Engine, engine_of, memory


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
    assert rows["probe"] == "8 prompts x 16 rollouts every 50 steps"
    assert rows["memory"].startswith("about 0.0 GiB a process (DDP): weights 0.0, gradients 0.0, optimizer 0.0, ")
    assert "(ZeRO-3)" in rows["or"]
    assert not (tmp_path / "run").exists()


def test_a_batch_that_other_processes_cannot_divide():
    arguments = tiny.training_args("out", num_generations=8, per_device_train_batch_size=8)
    arguments.per_device_train_batch_size = 2  # fits two processes, which a test has not
    assert _batch(arguments, Engine("DDP", 2, 0)).startswith("2 processes x 2 x 2 = 8 completions, 1 prompts x 8")
    with pytest.raises(ValueError, match="12 completions, no multiple of num_generations=8; change one of them"):
        _batch(arguments, Engine("DDP", 3, 0))


def test_memory_by_hand():
    policy = tiny.policy(tie_word_embeddings=False, num_hidden_layers=3)
    size = sum(each.numel() for each in policy.parameters())
    arguments = tiny.training_args("out", bf16=True, per_device_train_batch_size=8, max_completion_length=50)
    alone = Engine("one process", 1, 0)
    needed = memory(arguments, ModelConfig(), policy, alone, 14, None, True)
    assert (needed["weights"], needed["gradients"], needed["optimizer"]) == (4 * size, 4 * size, 8 * size)
    # 16 rollouts at a time, of 64 tokens, keys and values of one head of 16 numbers in 3 layers, in 16 bit
    assert needed["activations or key-value cache"] == max(16 * 64 * 2 * 3 * 16 * 2, 8 * 64 * 32 * (2 * 3 + 34))
    divided = memory(arguments, ModelConfig(), policy, Engine("ZeRO-2", 4, 2), 14, None, True)
    assert (divided["weights"], divided["gradients"], divided["optimizer"]) == (2 * size, size / 2, 3 * size)
    divided = memory(arguments, ModelConfig(), policy, Engine("FSDP", 4, 3), 14, None, True)
    assert (divided["weights"], divided["gradients"], divided["optimizer"]) == (size, size, 2 * size)
    assert "optimizer" not in memory(arguments, ModelConfig(), policy, alone, 14, None, False)


def test_the_engine_is_that_of_the_launch(monkeypatch):
    arguments = tiny.training_args("out")
    assert engine_of(arguments) == Engine("one process", 1, 0)
    assert engine_of(arguments, 8) == Engine("DDP", 8, 0)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert engine_of(arguments, 8) == Engine("ZeRO-3", 8, 3)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert engine_of(arguments, 8) == Engine("FSDP", 8, 3)
