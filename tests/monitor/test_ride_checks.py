"""What cannot ride is refused before training, in one sentence that says what to set."""

import pytest
from trl import RLOOConfig, RLOOTrainer

import rollout_kinds
import tiny
import trainers
from passk_trl import ConflictMonitor
from passk_trl.monitor.ride_checks import check_can_ride


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entropy_coef": 0.01}, "entropy_coef is 0.01, and with ride=True .* set it to 0.0, or ride to False"),
        ({"top_entropy_quantile": 0.5}, "top_entropy_quantile is 0.5, .* set it to 1.0"),
        ({"mask_truncated_completions": True}, "mask_truncated_completions is True, .* set it to False"),
        ({"steps_per_generation": 4}, "steps_per_generation is 4, .* off-policy; set it to 2"),
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy is True, .* set it to False"),
        ({"off_policy_mask_threshold": 0.5}, "off_policy_mask_threshold is 0.5, .* set it to None"),
    ],
)
def test_a_loss_with_other_gradients_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        check_can_ride(trainers.build(tmp_path, **options))


def test_images_under_fsdp2_with_a_head_of_its_own_are_refused(tmp_path, monkeypatch):
    trainer = rollout_kinds.with_images(tmp_path)
    check_can_ride(trainer)
    monkeypatch.setattr(type(trainer.accelerator), "is_fsdp2", True)
    with pytest.raises(ValueError, match=r"LM head is not tied, and under FSDP2 .* set ride to False"):
        check_can_ride(trainer)


def test_a_kl_term_is_refused(tmp_path):
    trainer = trainers.build(tmp_path)
    trainer.args.beta = 0.1
    with pytest.raises(ValueError, match=r"beta is 0.1, .* the KL term .* set it to 0.0, or ride to False"):
        check_can_ride(trainer)


def test_rloo_is_refused_where_it_is_off_policy(tmp_path):
    args = tiny.training_args(tmp_path, RLOOConfig, beta=0.0, steps_per_generation=4)
    trainer = RLOOTrainer(tiny.policy(), tiny.starts_low, args, tiny.questions(), processing_class=tiny.tokenizer())
    with pytest.raises(ValueError, match=r"steps_per_generation is 4, .* off-policy; set it to 2"):
        check_can_ride(trainer)


def test_a_correction_of_single_tokens_is_refused(tmp_path):
    trainer = rollout_kinds.corrected_as_of_vllm(tmp_path)
    trainer.args.vllm_importance_sampling_mode = "token_truncate"
    with pytest.raises(
        ValueError, match=r"^vllm_importance_sampling_mode is 'token_truncate', which .* set it to 'seq"
    ):
        check_can_ride(trainer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 4}, "window=4 is too few prompts"),
        ({"at_start": True}, "at_start is set, but with ride=True nothing is probed"),
        ({"num_prompts": 128}, "num_prompts is set, but with ride=True nothing is probed"),
        ({"num_rollouts": 8}, "num_rollouts is set, but with ride=True nothing is probed"),
        (
            {"at_start": True, "num_prompts": 128, "num_rollouts": 8},
            "at_start, num_prompts, num_rollouts are set, but with ride=True nothing is probed; leave them out",
        ),
        ({"probe_batch_size": 4}, "probe_batch_size is set, but with ride=True nothing is probed"),
        ({"ride": False, "window": 100}, "window=100 is that of a ride"),
        ({"probe_dataset": tiny.questions(64)}, "probe_dataset is set, but with ride=True nothing is probed"),
        ({"max_overhead": 0.1}, "max_overhead is set, but"),
    ],
)
def test_settings_of_probes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConflictMonitor(**{"ride": True, **settings})
