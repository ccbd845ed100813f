"""Generation that fits into memory."""

import torch

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, trained


def out_of_memory_above(most: int, sizes: list[int], generate):
    def limited(prompt_ids, *args, num_generations):
        sizes.append(len(prompt_ids))
        if len(prompt_ids) > most:
            raise torch.OutOfMemoryError("no memory left")
        return generate(prompt_ids, *args, num_generations=num_generations)

    return limited


def test_generation_that_runs_out_of_memory_is_halved(tmp_path, monkeypatch):
    sizes: list[int] = []
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low, max_steps=1, generation_batch_size=64)
    limited = out_of_memory_above(2 * PROBE["num_rollouts"], sizes, trainer._generate_single_turn)
    monkeypatch.setattr(trainer, "_generate_single_turn", limited)
    monitor._probe(trainer.state)
    assert sizes == [64, 32, *[16] * 6]  # of 8 rollouts each for 12 prompts
    assert len(monitor.reports) == 1
