"""The Gram matrix of a training batch: it does not disturb training, and every engine measures the same."""

import pytest
import torch

import engines
from controlled import build, logged, weights
from passk_trl.control import Controller, Decision
from passk_trl.control.batch_gram import batch_gram
from passk_trl.estimators import passk_advantages
from ranks import run_ranks


class PasskWithGram(Controller):
    """Trains pass@k, and measures the batch's Gram matrix without using it."""

    def decide(self, now):
        gram_PP = now.gram()
        return Decision(passk_advantages(now.rewards_PG, now.k), {"trace": float(gram_PP.trace())})


def train_passk(output_dir, with_gram: bool) -> tuple[list, list[float]]:
    trainer = build(output_dir, *([PasskWithGram()] if with_gram else []))
    trainer.train()
    return weights(trainer), logged(trainer, "control/trace")


def test_measuring_the_gram_matrix_of_the_batch_does_not_disturb_training(tmp_path):
    (measured, traces), (plain, _) = (train_passk(tmp_path / str(with_gram), with_gram) for with_gram in (True, False))
    assert measured == plain
    assert len(traces) == 4
    assert max(traces) > 0


class GramKeeper(Controller):
    def decide(self, now):
        self.gram_PP = now.gram()
        return Decision(passk_advantages(now.rewards_PG, now.k))


def gram_of_first_batch(engine: str, output_dir) -> tuple[torch.Tensor, dict, torch.Tensor]:
    """The Gram matrix that a controller gets under an engine, with its batch and rewards."""
    keeper = GramKeeper()
    trainer = build(output_dir, keeper, engine=engine, max_steps=1, learning_rate=0.0, gradient_accumulation_steps=1)
    batches = []
    generate = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: batches.append(generate(inputs)) or batches[-1]
    trainer.train()
    engines.check_running(engine, trainer)
    rewards_PG = trainer._gathered_rewards.view(-1, 8).cpu()
    batch = {
        name: trainer.accelerator.gather(trainer.accelerator.pad_across_processes(batches[0][name], dim=1))
        for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    }
    return keeper.gram_PP, {name: tensor.cpu() for name, tensor in batch.items()}, rewards_PG


def one_process(batch: dict, rewards_PG: torch.Tensor, output_dir) -> torch.Tensor:
    trainer = build(output_dir)
    return batch_gram(trainer, batch, rewards_PG)


@pytest.mark.parametrize("engine", ["ddp", "fsdp2", "zero3"])
def test_the_gram_matrix_of_a_batch_is_that_of_one_process(engine, tmp_path):
    ranks = run_ranks(
        gram_of_first_batch,
        *(engine, tmp_path / "run"),
        world_size=engines.world_size(engine),
        environment=engines.environment(engine, tmp_path),
    )
    (gram_PP, batch, rewards_PG), (other_PP, *_) = ranks
    assert torch.equal(gram_PP, other_PP)
    expected_PP = run_ranks(one_process, batch, rewards_PG, tmp_path / "one", world_size=1)[0]
    assert expected_PP.norm() > 0
    assert (gram_PP - expected_PP).norm() / expected_PP.norm() < 1e-5
