"""A trainer that cannot be probed is refused, and truncated sampling is warned about."""

import inspect
import pkgutil
import warnings
from importlib import import_module
from pathlib import Path

import pytest
import trl
import trl.experimental
from datasets import Dataset

import tiny
from passk_trl import ConflictMonitor
from passk_trl.rollout_trainer import RolloutTrainer
from watched import PROBE, build


CONVERSATIONS = [
    {"prompt": row["prompt"], "completion": [{"role": "assistant", "content": "1"}]} for row in tiny.questions()
]
PREFERENCES = [{"prompt": "1?", "chosen": "1", "rejected": "2"}] * 8
A_TRAINER = {  # the trainer, its config, and what it takes besides
    "trl.SFTTrainer": ("trl.SFTConfig", {"train_dataset": Dataset.from_list(CONVERSATIONS)}),
    "trl.DPOTrainer": ("trl.DPOConfig", {"train_dataset": Dataset.from_list(PREFERENCES)}),
    "trl.experimental.online_dpo.OnlineDPOTrainer": (
        "trl.experimental.online_dpo.OnlineDPOConfig",
        {"train_dataset": tiny.questions(), "reward_funcs": tiny.starts_low},
    ),
    "trl.experimental.sdpo.SDPOTrainer": (
        "trl.experimental.sdpo.SDPOConfig",
        {"train_dataset": tiny.questions(), "reward_funcs": tiny.starts_low},
    ),
    "trl.experimental.a2po.A2POTrainer": (
        "trl.experimental.a2po.A2POConfig",
        {"train_dataset": tiny.questions(), "reward_funcs": tiny.starts_low},
    ),
}


@pytest.mark.parametrize("name", A_TRAINER)
def test_a_trainer_of_another_kind_is_refused_by_name(name, tmp_path):
    config, arguments = A_TRAINER[name]
    args = pkgutil.resolve_name(config)(str(tmp_path), use_cpu=True, bf16=False, report_to=[])
    trainer = pkgutil.resolve_name(name)(
        tiny.checkpoint(tmp_path), args=args, processing_class=tiny.tokenizer(), **arguments
    )
    callbacks = list(trainer.callback_handler.callbacks)
    with pytest.raises(ValueError, match=f"^the trainer is a {type(trainer).__name__}, and a probe needs .*; give"):
        ConflictMonitor(tiny.questions(), **PROBE).attach(trainer)
    assert trainer.callback_handler.callbacks == callbacks


def test_the_documentation_names_every_trainer_of_trl_as_watched_or_as_refused():
    modules = [
        trl,
        *(import_module(f"trl.experimental.{m.name}") for m in pkgutil.iter_modules(trl.experimental.__path__)),
    ]
    public = {
        name: getattr(m, name) for m in modules for name in dir(m) if name.endswith("Trainer") and name[0] != "_"
    }
    page = (Path(__file__).parents[2] / "docs" / "reading-the-monitor.md").read_text()
    section = page.partition("## Which trainers it watches")[2].partition("## ")[0]
    watched, refused = section.split("All others are refused")
    for name, kind in public.items():
        is_watched = inspect.isclass(kind) and issubclass(kind, RolloutTrainer)
        assert (f"`{name}`" in watched, f"`{name}`" in refused) == (is_watched, not is_watched), name


def test_a_probe_set_without_the_columns_that_rewards_need_is_refused(tmp_path):
    monitor = ConflictMonitor(tiny.questions().remove_columns("solution"), **PROBE)
    with pytest.raises(
        ValueError, match="reward function 'starts_right' needs solution, which the probe prompts lack"
    ):
        build(tmp_path, monitor)


def test_rollouts_that_cannot_be_repeated_are_refused(tmp_path):
    def rollout_func(prompts, trainer):
        raise AssertionError("not called")

    with pytest.raises(ValueError, match="has a rollout_func, tools or an environment_factory"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), rollout_func=rollout_func)


@pytest.mark.parametrize("truncation", [{"top_p": 0.9}, {"top_k": 10}, {"min_p": 0.1}, {"repetition_penalty": 1.1}])
def test_truncated_sampling_is_warned_about(tmp_path, truncation):
    (name, value), *_ = truncation.items()
    with pytest.warns(UserWarning, match=f"{name}={value}: completions are sampled from a truncated policy"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), args=truncation)


def test_the_whole_distribution_is_not_warned_about(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE))
    assert not [w for w in caught if "truncated policy" in str(w.message)]
