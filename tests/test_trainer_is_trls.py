"""All of PassKGRPOTrainer but its advantages is TRL's, and TRL still has what it overrides."""

import inspect
import tomllib
from pathlib import Path

import pytest
import torch
import trl
from packaging.requirements import Requirement
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

import tiny
from passk_trl import PassKGRPOTrainer
from passk_trl.estimators import passk_advantages
from trainers import (
    WatchedTrainer,
    build,
    generate_and_score,
    place_of_first_character,
    starts_low_if_a_digit,
    text_of,
)


SETUPS = {
    "plain": {},
    "num_iterations": {"num_iterations": 2},
    "steps_per_generation": {"steps_per_generation": 4},
    "batch scale": {"scale_rewards": "batch", "loss_type": "dr_grpo"},
    "LoRA": {"parts": {"peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")}},
    "rewards, summed first": {
        "reward_funcs": [place_of_first_character, starts_low_if_a_digit],
        "reward_weights": [0.3, 2.0],
    },
    "rewards, normalised first": {
        "reward_funcs": [place_of_first_character, starts_low_if_a_digit],
        "reward_weights": [0.3, 2.0],
        "multi_objective_aggregation": "normalize_then_sum",
    },
}


def trace(trainer) -> tuple[dict, dict, list[dict]]:
    """Weights, optimizer state and log after training, without times and without our own metrics."""
    trainer.train()
    history = [
        {
            name: value
            for name, value in entry.items()
            if not name.endswith(("time", "_second")) and not name.startswith("passk/")
        }
        for entry in trainer.state.log_history
    ]
    return trainer.model.state_dict(), trainer.optimizer.state_dict(), history


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_estimator_grpo_is_trl_bit_for_bit(tmp_path, setup):
    theirs = build(tmp_path, GRPOTrainer, **setup)
    before = {name: tensor.clone() for name, tensor in theirs.model.state_dict().items()}
    weights, optimizer, history = trace(theirs)
    our_weights, our_optimizer, our_history = trace(build(tmp_path, advantage_estimator="grpo", **setup))

    assert any(not torch.equal(weights[name], before[name]) for name in weights), "nothing was trained"
    torch.testing.assert_close(our_weights, weights, rtol=0, atol=0)
    torch.testing.assert_close(our_optimizer["state"], optimizer["state"], rtol=0, atol=0)
    assert our_history == history


def test_the_constructor_is_trls(tmp_path):
    assert inspect.signature(PassKGRPOTrainer) == inspect.signature(GRPOTrainer)
    # `inspect` believes what the constructor declares; the parameters it names itself must be TRL's first ones.
    assert list(inspect.signature(GRPOTrainer).parameters)[:3] == ["model", "reward_funcs", "args"]
    dataset, evaluation = tiny.questions(8), tiny.questions(4)
    trainer = PassKGRPOTrainer(
        tiny.policy(), [tiny.starts_low], tiny.training_args(tmp_path), dataset, evaluation, tiny.tokenizer()
    )
    assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == (8, 4)


def test_refuses_a_config_without_k(tmp_path):
    with pytest.raises(TypeError, match="GRPOConfig; give PassKGRPOTrainer a PassKGRPOConfig"):
        PassKGRPOTrainer(tiny.policy(), tiny.starts_low, tiny.training_args(tmp_path, GRPOConfig), tiny.questions())


@pytest.mark.parametrize("trainer_class", [GRPOTrainer, PassKGRPOTrainer])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, trainer_class):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    options |= {"pass_at_k": 4} if trainer_class is PassKGRPOTrainer else {}
    whole = build(tmp_path, trainer_class, **options)
    whole.train()
    resumed = build(tmp_path, trainer_class, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    torch.testing.assert_close(resumed.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


SIGNATURES = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_prepare_inputs": ["self", "generation_batch"],
    "evaluation_loop": [
        "self",
        "dataloader",
        "description",
        "prediction_loss_only",
        "ignore_keys",
        "metric_key_prefix",
    ],
}


def test_trl_is_a_version_the_overrides_were_written_for():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    [required] = [r for r in map(Requirement, project["dependencies"]) if r.name == "trl"]
    assert required.specifier.contains(trl.__version__, prereleases=True), (
        f"TRL {trl.__version__} is outside {required.specifier}: read through trainer.py against it, then move the "
        "range in pyproject.toml."
    )


@pytest.mark.parametrize(("method", "parameters"), SIGNATURES.items())
def test_trl_still_has_the_methods_that_are_overridden(method, parameters):
    assert hasattr(GRPOTrainer, method), f"TRL {trl.__version__} has no GRPOTrainer.{method}: the seam has moved."
    now = list(inspect.signature(inspect.unwrap(getattr(GRPOTrainer, method))).parameters)
    assert now == parameters, (
        f"GRPOTrainer.{method} of TRL {trl.__version__} takes {now}, no longer {parameters}: see whether the override "
        "in trainer.py still sees the same rewards and advantages."
    )


class StashingTrainer(GRPOTrainer):
    """Plain TRL, of which only the gathered rewards are kept."""

    stashed = ()

    def _calculate_rewards(self, *args, **kwargs):
        rewards = super()._calculate_rewards(*args, **kwargs)
        self.stashed = (*self.stashed, rewards.clone())
        return rewards


def test_trl_still_makes_its_advantages_of_the_rewards_that_are_kept(tmp_path):
    trainer = build(tmp_path, StashingTrainer, [place_of_first_character, tiny.starts_low], reward_weights=[0.3, 2.0])
    output = generate_and_score(trainer)
    moved = f"The seam has moved in TRL {trl.__version__}: "

    assert len(trainer.stashed) == 1, moved + f"{len(trainer.stashed)} calls of _calculate_rewards in a generation"
    [rewards_BF] = trainer.stashed
    assert rewards_BF.shape == (16, 2), moved + f"_calculate_rewards returns {tuple(rewards_BF.shape)}, not [B, F]"
    assert len({text_of(prompt) for prompt in list(trainer._logs["prompt"])[:8]}) == 1, moved + "groups are scattered"
    assert "advantages" in output, moved + f"the advantages are not among {list(output)}"
    rewards_PG = (rewards_BF @ torch.tensor([0.3, 2.0])).view(-1, 8)
    torch.testing.assert_close(
        output["advantages"],
        passk_advantages(rewards_PG, 1, "grpo").flatten(),
        rtol=1e-4,
        atol=1e-5,
        msg=lambda difference: moved + f"its advantages are not those of the rewards it gathered\n{difference}",
    )
    assert list(trainer._logs["advantages"]) == output["advantages"].tolist(), moved + "the logged advantages differ"


def test_trl_still_shuffles_only_after_the_advantages(tmp_path):
    trainer = build(tmp_path, WatchedTrainer, pass_at_k=4)
    trainer.model.train()
    trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    buffered = torch.cat([batch["advantages"] for batch in trainer._buffered_inputs])
    assert sorted(buffered.tolist()) == sorted(trainer._logs["advantages"]), (
        f"TRL {trl.__version__} buffers other advantages than _generate_and_score_completions returned."
    )
