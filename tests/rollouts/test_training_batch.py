"""A probe of the rollouts that training has just generated."""

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import tiny
import vlm
from passk_trl import ConflictMonitor
from passk_trl.records import read_records
from passk_trl.rollouts.training_batch import batch_rollouts
from trainers import generate_and_score
from watched import trained, training_state


RLOO = {"trainer_class": RLOOTrainer, "config": RLOOConfig, "beta": 0.0}


@pytest.mark.parametrize("trainer", [{}, RLOO], ids=["pass@k", "RLOO"])
def test_without_a_probe_set_the_training_batch_is_probed_and_nothing_generated(trainer, tmp_path):
    seen = []

    def recorded(completions, **kwargs):
        seen.append(completions)
        return tiny.starts_low(completions)

    setting = {
        **trainer,
        "reward_funcs": recorded,
        "per_device_train_batch_size": 32,
        "num_iterations": 2,
        "steps_per_generation": 4,
    }
    monitor = ConflictMonitor(None, every=2, num_prompts=8)
    watched = training_state(trained(tmp_path / "watched", monitor, **setting))
    calls = len(seen)
    alone = training_state(trained(tmp_path / "alone", **setting))
    assert len(seen) == 2 * calls  # the reward functions were never called for a probe
    for of_watched, of_alone in zip(watched, alone, strict=True):
        assert of_watched == of_alone
    assert monitor.steps == [2, 4, 6]
    assert monitor.report.num_samples.tolist() == [8] * 8
    # The last probe, at step 6, is of the rollouts generated for steps 5 to 8: the last that were scored.
    last = tiny.starts_low(seen[calls - 1])
    num_correct = [int(sum(last[first : first + 8])) for first in range(0, len(last), 8)]
    record = read_records(tmp_path / "watched" / "conflict.jsonl")[-1]
    rows = record["rows"]
    assert "texts" not in record
    assert monitor.report.num_correct.tolist() == [num_correct[group] for group in rows]


def test_a_batch_with_images_is_refused(tmp_path):
    trainer = GRPOTrainer(
        vlm.policy(),
        tiny.starts_low,
        tiny.training_args(tmp_path, GRPOConfig),
        vlm.questions_with_images(),
        processing_class=vlm.processor(),
    )
    batch = generate_and_score(trainer)
    with pytest.raises(ValueError, match=r"^the training batch has images, whose gradients cannot be taken; give"):
        batch_rollouts(trainer, batch, torch.ones(2, 8), [0])
