"""A block with random streams of its own."""

import torch

import tiny
from passk_trl.rollouts.undisturbed import undisturbed
from watched import trained


def test_ranks_that_share_a_vllm_draw_the_same(tmp_path, monkeypatch):
    trainer = trained(tmp_path, reward_funcs=tiny.starts_low, max_steps=1)
    draws = {}
    for tensor_parallel_size in (1, 2):
        trainer.args.vllm_tensor_parallel_size = tensor_parallel_size
        for rank in range(4):
            monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
            with undisturbed(trainer, seed=0):
                draws[tensor_parallel_size, rank] = torch.rand(()).item()
    assert len({draws[1, rank] for rank in range(4)}) == 4
    assert draws[2, 0] == draws[2, 1] != draws[2, 2] == draws[2, 3]


def test_a_rank_draws_nothing_that_another_draws_at_another_step(tmp_path, monkeypatch):
    trainer = trained(tmp_path, reward_funcs=tiny.starts_low, max_steps=1)
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", 4)
    draws = set()
    for rank in range(4):
        monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
        for seed in range(6):
            with undisturbed(trainer, seed):
                draws.add(torch.rand((), dtype=torch.float64).item())
    assert len(draws) == 4 * 6
