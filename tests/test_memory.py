"""Memory estimates against numbers worked out by hand."""

import pytest
from trl import ModelConfig

import tiny
from passk_trl import ConflictMonitor
from passk_trl.cli.probe import ProbeArguments
from passk_trl.memory import Engine, engine_of, estimate_memory, window_bytes


def test_memory_by_hand():
    policy = tiny.policy(tie_word_embeddings=False, num_hidden_layers=3)
    size = sum(each.numel() for each in policy.parameters())
    arguments = tiny.training_args("out", bf16=True, per_device_train_batch_size=8, max_completion_length=50)
    alone = Engine("one process", 1, 0)
    needed = estimate_memory(arguments, ModelConfig(), policy, alone, 14, None, True)
    assert (needed["weights"], needed["gradients"], needed["optimizer"]) == (4 * size, 4 * size, 8 * size)
    # 16 rollouts at a time, of 64 tokens, keys and values of one head of 16 numbers in 3 layers, in 16 bit
    assert needed["activations or key-value cache"] == max(16 * 64 * 2 * 3 * 16 * 2, 8 * 64 * 32 * (2 * 3 + 34))
    divided = estimate_memory(arguments, ModelConfig(), policy, Engine("ZeRO-2", 4, 2), 14, None, True)
    assert (divided["weights"], divided["gradients"], divided["optimizer"]) == (2 * size, size / 2, 3 * size)
    divided = estimate_memory(arguments, ModelConfig(), policy, Engine("FSDP", 4, 3), 14, None, True)
    assert (divided["weights"], divided["gradients"], divided["optimizer"]) == (size, size, 2 * size)
    assert "optimizer" not in estimate_memory(arguments, ModelConfig(), policy, alone, 14, None, False)


def test_the_engine_is_that_of_the_launch(monkeypatch):
    arguments = tiny.training_args("out")
    assert engine_of(arguments) == Engine("one process", 1, 0)
    assert engine_of(arguments, 8) == Engine("DDP", 8, 0)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert engine_of(arguments, 8) == Engine("ZeRO-3", 8, 3)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert engine_of(arguments, 8) == Engine("FSDP", 8, 3)


def test_the_window_of_a_ride_by_hand():
    policy = tiny.policy()
    tensors, numbers = len(list(policy.parameters())), sum(each.numel() for each in policy.parameters())
    exact = ConflictMonitor(ride=True, window=100)
    assert window_bytes(exact, policy) == 100 * 4 * numbers
    sketched = ConflictMonitor(ride=True, window=100, gram="sketch")
    assert window_bytes(sketched, policy) == 100 * 4 * tensors * 8 * 2 * 4  # 8 sketches of two draws of 2 × 2


def test_only_the_parameters_that_are_measured_count():
    policy = tiny.policy()
    layer = "layers\\.0\\."
    tensors = [each for name, each in policy.named_parameters() if "layers.0." in name]
    numbers = sum(each.numel() for each in tensors)
    assert 0 < numbers < sum(each.numel() for each in policy.parameters()) / 2
    exact = ConflictMonitor(ride=True, window=100, parameters=layer)
    assert window_bytes(exact, policy) == 100 * 4 * numbers
    sketched = ConflictMonitor(ride=True, window=100, parameters=layer, gram="sketch")
    assert window_bytes(sketched, policy) == 100 * 4 * len(tensors) * 8 * 2 * 4
    in_a_gibibyte = 2**30 // (4 * numbers)  # prompts; with all parameters they would not fit
    largest = ConflictMonitor(ride=True, window=in_a_gibibyte, parameters=layer)
    assert window_bytes(largest, policy) == 4 * in_a_gibibyte * numbers
    for probe in (
        ConflictMonitor(tiny.questions(), num_prompts=12, num_rollouts=8, parameters=layer),
        ProbeArguments(dataset_name="", reward_funcs=[], block_size=12, parameters="final_layer"),
    ):
        alone = (tiny.training_args("out"), ModelConfig(), policy, Engine("one process", 1, 0), 14)
        assert estimate_memory(*alone, probe, True)["probe's gradients"] == 4 * 12 * numbers
    nothing = ConflictMonitor(ride=True, window=100, parameters="no_such_layer")
    with pytest.raises(ValueError, match="parameters='no_such_layer' selects no trainable parameter"):
        window_bytes(nothing, policy)
