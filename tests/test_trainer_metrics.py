"""What PassKGRPOTrainer logs of training and of an evaluation."""

from itertools import combinations
from math import comb
from statistics import fmean

import pytest
import torch

import tiny
from ranks import run_ranks
from trainers import Recorded, WatchedTrainer, build, groups_of, pass_at_k_of, place_of_first_character


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
        | {f"passk/pass^{k}": fmean(comb(c, k) / comb(6, k) for c in num_correct) for k in (2, 4, 5, 6)}
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
    names = ("pass@1", "pass@2", "pass@4", "pass^2", "pass^4")
    assert {name for name in logged if "passk" in name} == {f"eval_passk/{name}" for name in names}
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
