"""PassKGRPOConfig: defaults, and what it refuses or warns about, in words that say what to set."""

import inspect
import json
import re
import warnings

import pytest
import yaml
from transformers import HfArgumentParser
from trl import GRPOConfig, GRPOTrainer, TrlParser

from passk_trl import PassKGRPOConfig
from passk_trl.config import _LOSS_TYPES


CPU = {"use_cpu": True, "bf16": False, "report_to": []}


def config(**options) -> PassKGRPOConfig:
    return PassKGRPOConfig(output_dir="unused", **{**CPU, "num_generations": 8, **options})


def ours(warned) -> list[str]:
    """The warnings that are not those of TRL's dependencies."""
    return [str(w.message) for w in warned if "pass@k" in str(w.message)]


def test_defaults_train_pass_at_1_without_bias():
    args = config()
    assert (args.pass_at_k, args.advantage_estimator, args.success_threshold) == (1, "weighted_loo", None)
    assert (args.scale_rewards, args.loss_type) == ("none", "dr_grpo")


def test_estimator_grpo_has_the_defaults_of_trl():
    args = config(advantage_estimator="grpo")
    trl = GRPOConfig(output_dir="unused", **CPU)
    assert (args.scale_rewards, args.loss_type) == (trl.scale_rewards, trl.loss_type)


@pytest.mark.parametrize(("given", "kept"), [("batch", "batch"), ("none", "none"), (False, "none")])
def test_scale_rewards_can_be_set(given, kept):
    assert config(scale_rewards=given).scale_rewards == kept


def test_estimator_grpo_keeps_what_is_set():
    args = config(advantage_estimator="grpo", scale_rewards=False, loss_type="bnpo")
    assert (args.scale_rewards, args.loss_type) == ("none", "bnpo")


@pytest.mark.parametrize("estimator", ["weighted_loo", "grpo"])
def test_every_other_option_keeps_the_default_of_trl(estimator):
    changed = {"scale_rewards", "loss_type", "generation_batch_size", "logging_dir"}
    args = PassKGRPOConfig(output_dir="unused", advantage_estimator=estimator, **CPU)
    trl = GRPOConfig(output_dir="unused", **CPU).to_dict()
    assert {name: value for name, value in args.to_dict().items() if name in trl and name not in changed} == {
        name: value for name, value in trl.items() if name not in changed
    }


# For each refusal: what was set, and what the message must name: the argument, its value, and what to set instead.
REFUSALS = {
    "k beyond the group": ({"pass_at_k": 9}, ["pass_at_k=9", "num_generations=8", "raise num_generations"]),
    "k below 1": ({"pass_at_k": 0}, ["pass_at_k=0", "at least 1"]),
    "unknown estimator": ({"advantage_estimator": "rloo"}, ["advantage_estimator='rloo'", "weighted_loo", "analytic"]),
    "loo has no baseline at k = n": (
        {"pass_at_k": 8, "advantage_estimator": "loo"},
        ["pass_at_k=8", "1..7", "advantage_estimator='loo'", "num_generations=8", "set advantage_estimator="],
    ),
    "loo_minus_one is nothing at k = 1": (
        {"advantage_estimator": "loo_minus_one"},
        ["pass_at_k=1", "2..8", "advantage_estimator='loo_minus_one'", "set advantage_estimator='weighted_loo'"],
    ),
    "grpo knows no k": (
        {"pass_at_k": 2, "advantage_estimator": "grpo"},
        ["pass_at_k=2", "advantage_estimator='grpo'", "set advantage_estimator='weighted_loo'"],
    ),
    "a threshold needs the summed reward": (
        {"success_threshold": 0.5, "multi_objective_aggregation": "normalize_then_sum"},
        ["success_threshold=0.5", "multi_objective_aggregation='normalize_then_sum'", "set 'sum_then_normalize'"],
    ),
    "a threshold needs our advantages": (
        {"success_threshold": 0.5, "advantage_estimator": "grpo"},
        ["success_threshold=0.5", "set advantage_estimator='weighted_loo'"],
    ),
    "group scale": ({"scale_rewards": "group"}, ["scale_rewards='group'", "set scale_rewards='none' or 'batch'"]),
    "group scale, as TRL's True": ({"scale_rewards": True}, ["scale_rewards='group'", "set scale_rewards='none'"]),
}


@pytest.mark.parametrize(("options", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refused(options, words):
    with pytest.raises(ValueError) as refusal:
        config(**options)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("estimator", ["weighted_loo", "loo_minus_one", "none"])
def test_k_may_reach_the_group(estimator):
    assert config(pass_at_k=8, advantage_estimator=estimator).pass_at_k == 8


@pytest.mark.parametrize(
    ("option", "value", "to_set"),
    [
        ("loss_type", "grpo", "loss_type='dr_grpo'"),
        ("loss_type", "sapo", "loss_type='dr_grpo'"),
        ("loss_type", "bnpo", "loss_type='dr_grpo'"),
        ("mask_truncated_completions", True, "set it to False"),
    ],
)
def test_warned_about_at_the_line_that_sets_it(option, value, to_set):
    with pytest.warns(UserWarning, match="pass@k") as warned:
        PassKGRPOConfig(output_dir="unused", num_generations=8, **CPU, **{option: value})
    [message] = ours(warned)
    assert f"{option}={value!r}" in message
    assert to_set in message
    assert [w.filename for w in warned if str(w.message) == message] == [__file__]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pass_at_k": 4, "scale_rewards": "batch", "loss_type": "dapo"},
        {"loss_type": "cispo"},
        {"advantage_estimator": "grpo", "loss_type": "grpo", "mask_truncated_completions": True},
    ],
)
def test_no_needless_warning(options):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        config(**options)
    assert not ours(warned)


def test_options_of_vllm_are_kept():
    args = config(use_vllm=True, vllm_mode="colocate", vllm_gpu_memory_utilization=0.2, vllm_tensor_parallel_size=2)
    assert (args.use_vllm, args.vllm_mode, args.vllm_gpu_memory_utilization, args.vllm_tensor_parallel_size) == (
        True,
        "colocate",
        0.2,
        2,
    )


COMMAND = ["--output_dir", "out", "--use_cpu", "--bf16", "False", "--report_to", "none", "--num_generations", "8"]


@pytest.mark.parametrize("parser", [TrlParser, HfArgumentParser])
def test_command_line(parser):
    line = "--pass_at_k 8 --success_threshold 0.5 --advantage_estimator none --scale_rewards none --loss_type dapo"
    [args] = parser(PassKGRPOConfig).parse_args_into_dataclasses([*COMMAND, *line.split()])
    assert (args.pass_at_k, args.success_threshold, args.advantage_estimator) == (8, 0.5, "none")
    assert (args.scale_rewards, args.loss_type) == ("none", "dapo")


@pytest.mark.parametrize("parser", [TrlParser, HfArgumentParser])
def test_command_line_that_sets_nothing_gets_the_defaults(parser):
    [args] = parser(PassKGRPOConfig).parse_args_into_dataclasses(COMMAND)
    assert (args.pass_at_k, args.success_threshold) == (1, None)
    assert (args.scale_rewards, args.loss_type) == ("none", "dr_grpo")


@pytest.mark.parametrize(
    ("set_in_yaml", "expected"),
    [
        ({"pass_at_k": 8, "scale_rewards": "none", "loss_type": "dapo"}, (8, "none", "dapo")),
        ({"pass_at_k": 4, "scale_rewards": False}, (4, "none", "dr_grpo")),
        ({"advantage_estimator": "grpo"}, (1, "group", "dapo")),
    ],
)
def test_yaml_file(tmp_path, set_in_yaml, expected):
    recipe = {"output_dir": "out", **CPU, "num_generations": 8, "learning_rate": 1e-5, **set_in_yaml}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path)])
    assert (args.pass_at_k, args.scale_rewards, args.loss_type) == expected
    assert args.learning_rate == 1e-5


def test_the_command_line_goes_before_the_yaml_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"output_dir": "out", **CPU, "pass_at_k": 8}))
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path), "--pass_at_k", "2"])
    assert args.pass_at_k == 2


def test_what_is_saved_says_what_was_trained():
    args = config(pass_at_k=4, success_threshold=0.5)
    saved = {
        "pass_at_k": 4,
        "advantage_estimator": "weighted_loo",
        "success_threshold": 0.5,
        "scale_rewards": "none",
        "loss_type": "dr_grpo",
    }
    assert saved.items() <= args.to_dict().items()
    assert saved.items() <= json.loads(args.to_json_string()).items()


@pytest.mark.parametrize("name", ["temperature", "top_p", "repetition_penalty"])
def test_numbers_that_sampling_cannot_use_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0 is out of range; set more than 0"):
        config(**{name: 0})


def test_the_known_loss_types_are_those_of_trl():
    """TRL has no list of them: its loss raises for any other."""
    source = inspect.getsource(GRPOTrainer._compute_loss)
    compared = re.findall(r"self\.loss_type (?:==|in) (.+):", source)
    assert {name for text in compared for name in re.findall(r'"(\w+)"', text)} == set(_LOSS_TYPES)
