"""Generation that fits into memory."""

import torch
from trl import RLOOConfig, RLOOTrainer

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


def test_rloo_is_told_the_size_of_a_probes_groups_and_keeps_its_own(tmp_path, monkeypatch):
    kind = {"trainer_class": RLOOTrainer, "config": RLOOConfig, "beta": 0.0}
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    groups = {"num_generations": 4, "num_generations_eval": 2}
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low, max_steps=1, **kind, **groups)
    generate, told = trainer._generate_single_turn, []

    def recorded(prompt_ids, *args):
        told.append((trainer.num_generations, trainer.num_generations_eval))
        if len(told) > 1:
            raise ZeroDivisionError("generation failed")
        return generate(prompt_ids, *args)

    monkeypatch.setattr(trainer, "_generate_single_turn", recorded)
    monitor._probe(trainer.state)
    assert told == [(8, 8)] * 2
    assert (trainer.num_generations, trainer.num_generations_eval) == (4, 2)
