"""PassKGRPOTrainer is GRPOTrainer with other advantages: which ones, that the rest is TRL's, that TRL allows it."""

import inspect
import tomllib
from collections import defaultdict
from itertools import combinations
from math import comb
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
import torch
import trl
from packaging.requirements import Requirement
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

import tiny
from passk_trl import PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.estimators import passk_advantages
from ranks import run_ranks


def build(output_dir, trainer_class=PassKGRPOTrainer, reward_funcs=tiny.starts_low, parts=None, **options):
    """A trainer of the tiny policy; `parts` are further arguments of the trainer, `options` those of its config."""
    config = PassKGRPOConfig if issubclass(trainer_class, PassKGRPOTrainer) else GRPOConfig
    return trainer_class(
        tiny.policy(),
        reward_funcs,
        tiny.training_args(output_dir, config, **{"max_steps": 3, "gradient_checkpointing": False, **options}),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        **(parts or {}),
    )


def text_of(completion) -> str:
    return completion[0]["content"]


def place_of_first_character(completions, **kwargs) -> list[float]:
    """A real reward, negative for some."""
    return [tiny.CHARACTERS.find(text_of(completion)[:1]) / 4 - 1 for completion in completions]


def starts_low_if_a_digit(completions, **kwargs) -> list[float | None]:
    """Cannot score what starts with no digit."""
    return [float(text[0] < "5") if text[:1].isdigit() else None for text in map(text_of, completions)]


def generate_and_score(trainer) -> dict:
    """One generation batch, with the advantages TRL's loss would get."""
    trainer.model.train()
    return trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


def logged_rewards(trainer, num_generations: int = 8) -> torch.Tensor:
    """[F, P, G] the rewards that TRL itself put into its completions table."""
    return torch.tensor(list(trainer._logs["rewards"].values())).unflatten(1, (-1, num_generations))


# All else is TRL's ---------------------------------------------------------------------------------------------------

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


# The advantages ------------------------------------------------------------------------------------------------------


class WatchedTrainer(PassKGRPOTrainer):
    """Keeps (prompt, completion, advantage) of every row that enters TRL's loss."""

    def _compute_loss(self, model, inputs):
        def texts(name):
            return [
                self.processing_class.decode(ids[mask.bool()], skip_special_tokens=True)
                for ids, mask in zip(inputs[f"{name}_ids"], inputs[f"{name}_mask"], strict=True)
            ]

        self.seen = getattr(self, "seen", [])
        self.seen += zip(texts("prompt"), texts("completion"), inputs["advantages"].tolist(), strict=True)
        return super()._compute_loss(model, inputs)


def groups_of(seen, reward_func) -> tuple[torch.Tensor, torch.Tensor]:
    """[P, G] rewards, computed anew, and advantages of the rows that entered the loss, one group for each prompt."""
    groups = defaultdict(list)
    for prompt, completion, advantage in seen:
        [reward] = reward_func([[{"content": completion}]])
        groups[prompt].append((reward, advantage))
    rewards_PG, advantages_PG = torch.tensor(list(groups.values())).unbind(-1)
    return rewards_PG, advantages_PG


def test_the_loss_gets_the_advantages_of_each_rows_own_group(tmp_path):
    trainer = build(tmp_path, WatchedTrainer, place_of_first_character, pass_at_k=4, max_steps=1)
    trainer.train()
    rewards_PG, advantages_PG = groups_of(trainer.seen, place_of_first_character)
    assert rewards_PG.shape == (2, 8)
    torch.testing.assert_close(advantages_PG, passk_advantages(rewards_PG, 4))


@pytest.mark.parametrize(
    ("estimator", "k"),
    [("weighted_loo", 1), ("weighted_loo", 4), ("loo", 4), ("loo_minus_one", 4), ("none", 4), ("analytic", 4)],
)
@pytest.mark.parametrize("reward_func", [tiny.starts_low, place_of_first_character])
def test_advantages_are_those_of_the_estimator(tmp_path, estimator, k, reward_func):
    trainer = build(tmp_path, reward_funcs=reward_func, pass_at_k=k, advantage_estimator=estimator)
    advantages = generate_and_score(trainer)["advantages"]
    [rewards_PG] = logged_rewards(trainer)
    assert advantages.any()
    torch.testing.assert_close(advantages, passk_advantages(rewards_PG, k, estimator).flatten(), rtol=0, atol=0)
    assert list(trainer._logs["advantages"]) == advantages.tolist()


def test_success_threshold_applies_to_the_weighted_sum(tmp_path):
    trainer = build(
        tmp_path,
        reward_funcs=[place_of_first_character, tiny.starts_low],
        reward_weights=[1.0, 0.5],
        success_threshold=0.25,
        pass_at_k=4,
    )
    advantages = generate_and_score(trainer)["advantages"]
    place_PG, low_PG = logged_rewards(trainer)
    success_PG = (place_PG + 0.5 * low_PG >= 0.25).float()
    assert 0 < success_PG.mean() < 1
    torch.testing.assert_close(advantages, passk_advantages(success_PG, 4).flatten(), rtol=0, atol=0)


def test_an_unscorable_rollout_gets_no_advantage_and_is_not_in_the_others_group(tmp_path):
    trainer = build(tmp_path, reward_funcs=starts_low_if_a_digit, pass_at_k=2)
    advantages_PG = generate_and_score(trainer)["advantages"].view(-1, 8)
    [rewards_PG] = logged_rewards(trainer)
    unscorable_PG = rewards_PG.isnan()
    assert unscorable_PG.any()
    assert not advantages_PG[unscorable_PG].any()
    for rewards_G, advantages_G, unscorable_G in zip(rewards_PG, advantages_PG, unscorable_PG, strict=True):
        torch.testing.assert_close(advantages_G[~unscorable_G], passk_advantages(rewards_G[~unscorable_G], 2))


def test_scaling_by_the_batch_keeps_the_direction_and_makes_the_root_mean_square_1(tmp_path):
    options = {"reward_funcs": place_of_first_character, "pass_at_k": 4}
    raw = generate_and_score(build(tmp_path, **options))["advantages"]
    scaled = generate_and_score(build(tmp_path, scale_rewards="batch", **options))["advantages"]
    assert scaled.square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    assert torch.nn.functional.cosine_similarity(scaled, raw, dim=0).item() == pytest.approx(1, abs=1e-6)


def test_normalize_then_sum_sums_the_advantages_of_each_reward(tmp_path):
    trainer = build(
        tmp_path,
        reward_funcs=[place_of_first_character, starts_low_if_a_digit],
        reward_weights=[0.3, 2.0],
        multi_objective_aggregation="normalize_then_sum",
        pass_at_k=4,
    )
    advantages_PG = generate_and_score(trainer)["advantages"].view(-1, 8)
    place_PG, low_PG = logged_rewards(trainer)
    torch.testing.assert_close(advantages_PG, 0.3 * passk_advantages(place_PG, 4) + 2 * passk_advantages(low_PG, 4))


def test_the_completions_table_shows_the_advantages_trained_on(tmp_path):
    trainer = build(tmp_path, log_completions=True, pass_at_k=4, max_steps=2)
    trainer.train()
    for step in (1, 2):
        table = pd.read_parquet(tmp_path / "completions" / f"completions_{step:05d}.parquet")
        rewards_PG = torch.tensor(table["starts_low"]).view(-1, 8)
        expected = passk_advantages(rewards_PG, 4).flatten().tolist()
        assert table["advantage"].tolist() == pytest.approx(expected)


def test_the_gradient_of_the_loss_is_the_policy_gradient_of_the_advantages(tmp_path):
    """−(1 / (B · max_completion_length)) Σ_j A_j ∇log π(y_j), from the logits of one unpadded row at a time."""
    trainer = build(tmp_path, reward_funcs=place_of_first_character, pass_at_k=4)
    batch = generate_and_score(trainer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch).backward()

    [rewards_PG] = logged_rewards(trainer)
    policy, objective = tiny.policy(), 0.0
    for row, advantage in enumerate(passk_advantages(rewards_PG, 4).flatten()):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        logits = policy(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        objective += advantage * logits.log_softmax(-1).gather(-1, completion[:, None]).sum()
    (-objective / (rewards_PG.numel() * trainer.max_completion_length)).backward()

    size = torch.nn.utils.get_total_norm([p.grad for p in policy.parameters()]).item()
    assert size > 1e-2
    for (name, ours), independent in zip(trainer.model.named_parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, independent.grad, rtol=0, atol=1e-5 * size, msg=lambda m, n=name: f"{n}: {m}"
        )


# What is logged ------------------------------------------------------------------------------------------------------


def test_logged_pass_at_k_and_zero_advantage_fraction_are_those_of_the_batch(tmp_path):
    options = {"num_generations": 6, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 4}
    trainer = build(tmp_path, WatchedTrainer, pass_at_k=5, advantage_estimator="loo", max_steps=1, **options)
    trainer.train()
    rewards_PG, advantages_PG = groups_of(trainer.seen, tiny.starts_low)
    logged = {name: value for name, value in trainer.state.log_history[0].items() if name.startswith("passk/")}
    num_correct = rewards_PG.sum(dim=1).int().tolist()
    assert logged == pytest.approx(
        {
            f"passk/pass@{k}": fmean(1 - comb(6 - correct, k) / comb(6, k) for correct in num_correct)
            for k in (1, 2, 4, 5, 6)
        }
        | {"passk/zero_advantage_fraction": fmean(not group.any() for group in advantages_PG)}
    )
    # more groups carry no gradient than have equal rewards: c > n − k leaves nothing to gain in pass@k
    assert logged["passk/zero_advantage_fraction"] > trainer.state.log_history[0]["frac_reward_zero_std"]


def test_real_rewards_are_logged_as_max_at_k(tmp_path):
    trainer = build(tmp_path, WatchedTrainer, place_of_first_character, pass_at_k=4, max_steps=1)
    trainer.train()
    rewards_PG, _ = groups_of(trainer.seen, place_of_first_character)
    for k in (1, 2, 4, 8):
        best = fmean(max(drawn) for group in rewards_PG.tolist() for drawn in combinations(group, k))
        assert trainer.state.log_history[0][f"passk/max@{k}"] == pytest.approx(best, abs=1e-6)


# Evaluation ----------------------------------------------------------------------------------------------------------


class Recorded:
    """The reward `starts_low`, which remembers the groups it scored."""

    __name__ = "recorded"

    def __init__(self, group_size: int):
        self.group_size = group_size
        self.groups: list[tuple[str, list[float]]] = []

    def __call__(self, prompts, completions, **kwargs):
        rewards = tiny.starts_low(completions)
        for first in range(0, len(rewards), self.group_size):
            group = slice(first, first + self.group_size)
            [question] = {text_of(prompt) for prompt in prompts[group]}
            self.groups.append((question, rewards[group]))
        return rewards


def pass_at_k_of(groups, k: int) -> float:
    return fmean(1 - comb(len(g) - int(sum(g)), k) / comb(len(g), k) for g in groups)


def test_evaluation_has_its_own_number_of_generations(tmp_path):
    reward = Recorded(4)
    trainer = build(
        tmp_path,
        reward_funcs=reward,
        parts={"eval_dataset": tiny.questions(5)},
        num_generations_eval=4,
        per_device_eval_batch_size=8,
        eval_strategy="steps",
        eval_steps=2,
        max_steps=2,
        pass_at_k=8,
    )
    trainer.train()
    evaluated = [rewards for _, rewards in reward.groups[-5:]]
    logged = trainer.state.log_history[2]
    assert {name for name in logged if "passk" in name} == {f"eval_passk/pass@{k}" for k in (1, 2, 4)}
    for k in (1, 2, 4):
        assert logged[f"eval_passk/pass@{k}"] == pytest.approx(pass_at_k_of(evaluated, k))
    # TRL averages over batches, of which the last is smaller
    assert logged["eval_reward"] != pytest.approx(pass_at_k_of(evaluated, 1))


def test_every_evaluation_starts_anew_and_has_its_own_name(tmp_path):
    reward = Recorded(8)
    trainer = build(tmp_path, reward_funcs=reward, per_device_eval_batch_size=8)
    for name, dataset in {"eval": tiny.questions(2), "test": tiny.questions(9).select(range(4, 9))}.items():
        reward.groups.clear()
        metrics = trainer.evaluate(dataset, metric_key_prefix=name)
        evaluated = [rewards for _, rewards in reward.groups]
        assert len(evaluated) == len(dataset)
        for k in (1, 2, 4, 8):
            assert metrics[f"{name}_passk/pass@{k}"] == pytest.approx(pass_at_k_of(evaluated, k))


def test_equal_rows_each_count(tmp_path):
    reward = Recorded(8)
    dataset = tiny.questions(2).select([0, 0, 0, 1])
    trainer = build(tmp_path, reward_funcs=reward, per_device_eval_batch_size=8)
    metrics = trainer.evaluate(dataset)
    assert len({question for question, _ in reward.groups}) == 2
    assert metrics["eval_passk/pass@1"] == pytest.approx(pass_at_k_of([g for _, g in reward.groups], 1))
    assert len(reward.groups) == 4


# Two processes -------------------------------------------------------------------------------------------------------


def train_on_a_rank(output_dir):
    options = {"num_generations": 2, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 1}
    trainer = build(output_dir, WatchedTrainer, place_of_first_character, pass_at_k=2, max_steps=1, **options)
    trainer.train()
    return torch.distributed.get_world_size(), trainer.seen, list(trainer._logs["advantages"])


def test_a_group_that_straddles_two_ranks_gets_the_advantages_of_the_whole(tmp_path):
    (size, first, logged), (_, second, _) = run_ranks(train_on_a_rank, tmp_path)
    assert size == 2
    assert len(first) == len(second) == 3
    assert {prompt for prompt, *_ in first} & {prompt for prompt, *_ in second}, "no group straddles the ranks"
    rewards_PG, advantages_PG = groups_of(first + second, place_of_first_character)
    assert rewards_PG.shape == (3, 2)
    assert advantages_PG.any(dim=1).all()
    torch.testing.assert_close(advantages_PG, passk_advantages(rewards_PG, 2))
    assert sorted(logged) == sorted(advantages_PG.flatten().tolist())


def evaluate_on_a_rank(output_dir):  # global batches of 8 rows, where 5 prompts × 4 generations are 20
    reward = Recorded(4)
    trainer = build(output_dir, reward_funcs=reward, num_generations_eval=4, per_device_eval_batch_size=4)
    return torch.distributed.get_world_size(), trainer.evaluate(tiny.questions(5)), reward.groups


def test_evaluation_on_two_ranks_counts_each_prompt_once(tmp_path):
    (size, metrics, first), (_, other_metrics, second) = run_ranks(evaluate_on_a_rank, tmp_path)
    assert size == 2
    rounds = [group for pair in zip(first, second, strict=True) for group in pair]  # as the sampler dealt them
    once = dict(reversed(rounds))  # of a prompt dealt twice, the first rollouts
    assert (len(rounds), len(once)) == (6, 5)
    for k in (1, 2, 4):
        expected = pass_at_k_of(once.values(), k)
        assert metrics[f"eval_passk/pass@{k}"] == pytest.approx(expected)
        assert other_metrics[f"eval_passk/pass@{k}"] == pytest.approx(expected)
    # TRL counts one prompt twice
    assert metrics["eval_reward"] == pytest.approx(pass_at_k_of([rewards for _, rewards in rounds], 1))
    assert metrics["eval_reward"] != pytest.approx(metrics["eval_passk/pass@1"])


# The seam: what the trainer relies on in TRL. A failure here says what moved. ----------------------------------------

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
