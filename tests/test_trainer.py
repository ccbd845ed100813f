"""PassKGRPOTrainer's advantages: which ones enter TRL's loss, and what its gradient is."""

import pandas as pd
import pytest
import torch

import tiny
from passk_trl.estimators import passk_advantages
from ranks import run_ranks
from trainers import (
    WatchedTrainer,
    build,
    generate_and_score,
    groups_of,
    logged_rewards,
    place_of_first_character,
    starts_low_if_a_digit,
)


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


@pytest.mark.parametrize("estimator", ["weighted_loo", "grpo"])
def test_a_reward_of_weight_0_changes_no_advantage(tmp_path, estimator):
    def advantages(name, **rewards):
        trainer = build(tmp_path / name, pass_at_k=1, advantage_estimator=estimator, **rewards)
        return generate_and_score(trainer)["advantages"]

    alone = advantages("alone", reward_funcs=starts_low_if_a_digit)
    both = [starts_low_if_a_digit, place_of_first_character]
    assert alone.any()
    assert torch.equal(advantages("beside", reward_funcs=both, reward_weights=[1.0, 0.0]), alone)


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
