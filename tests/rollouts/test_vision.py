"""A policy that reads images too: probed on text, refused where a probe could not show or reach what is measured."""

import pytest
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import tiny
import vlm
from passk_trl import ConflictMonitor
from passk_trl.gradients import gram_matrix
from passk_trl.rollouts.blocks import RolloutBlocks
from watched import PROBE, training_state


KINDS = {"GRPO": (GRPOTrainer, GRPOConfig), "RLOO": (RLOOTrainer, RLOOConfig)}


def trainer_of(policy, directory, dataset=None, kind="GRPO", peft_config=None, **options):
    trainer_class, config = KINDS[kind]
    return trainer_class(
        policy,
        tiny.starts_low,
        tiny.training_args(directory, config, beta=0.0, max_steps=4, **options),
        tiny.questions() if dataset is None else dataset,
        processing_class=vlm.processor(),
        peft_config=peft_config,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_with_a_frozen_vision_tower_is_measured_on_text(kind, tmp_path, monkeypatch):
    seen = []

    def recorded(model, rollouts, pad_token_id, temperature, **kwargs):
        reference = gram_matrix(model, rollouts, pad_token_id, temperature, method="parameters").gram_NN
        measured = gram_matrix(model, rollouts, pad_token_id, temperature, **kwargs)
        seen.append((reference, measured.gram_NN))
        return measured

    monitor = ConflictMonitor(tiny.questions(), at_start=True, **PROBE)
    watched = trainer_of(vlm.policy(frozen_vision=True), tmp_path / "watched", kind=kind)
    monitor.attach(watched)
    with monkeypatch.context() as patched:
        patched.setattr("passk_trl.gradients.of_trainer.gram_matrix", recorded)
        watched.train()
    assert monitor.steps == [0, 2, 4]
    for reference, measured in seen:
        assert (measured - reference).norm() < 1e-4 * reference.norm()
    assert monitor.records[-1].coverage == 1
    alone = trainer_of(vlm.policy(frozen_vision=True), tmp_path / "alone", kind=kind)
    alone.train()
    assert training_state(watched) == training_state(alone)


@pytest.mark.parametrize("tied", [True, False])
def test_a_vision_tower_that_trains_is_refused_and_what_is_said_helps(tied, tmp_path):
    policy = vlm.policy(tie_word_embeddings=tied)
    trainer = trainer_of(policy, tmp_path)
    sizes = {
        name: sum(parameter.numel() for parameter in policy.get_submodule(name).parameters())
        for name in ("model.vision_tower", "model.multi_modal_projector")
    }
    with pytest.raises(ValueError) as caught:
        ConflictMonitor(tiny.questions(), **PROBE).attach(trainer)
    trains = " and ".join(f"{name} ({size} parameters)" for name, size in sizes.items())
    assert str(caught.value) == (
        f"the policy trains {trains}, which prompts of text do not reach; freeze what reads images, or measure the "
        "language model alone with parameters='language_model|lm_head'."
    )
    monitor = ConflictMonitor(tiny.questions(), parameters="language_model|lm_head", **PROBE).attach(trainer)
    trainer.train()
    assert monitor.steps == [2, 4]
    of_text = sum(p.numel() for p in policy.parameters()) - sum(sizes.values())
    assert monitor.records[-1].covered_parameters == of_text


def test_adapters_on_the_vision_tower_are_refused_too(tmp_path):
    adapter = LoraConfig(r=2, target_modules=["q_proj"])
    with pytest.raises(ValueError, match=r"trains base_model\.model\.model\.vision_tower \(64 parameters\), which"):
        ConflictMonitor(tiny.questions(), **PROBE).attach(trainer_of(vlm.policy(), tmp_path, peft_config=adapter))
    of_text = LoraConfig(r=2, target_modules=r".*language_model.*q_proj")
    trainer = trainer_of(vlm.policy(), tmp_path, peft_config=of_text)
    monitor = ConflictMonitor(tiny.questions(), **PROBE).attach(trainer)
    trainer.train()
    assert monitor.steps == [2, 4]


def test_a_policy_that_trains_on_images_is_probed_on_text(tmp_path):
    trainer = trainer_of(vlm.policy(frozen_vision=True), tmp_path, vlm.questions_with_images())
    monitor = ConflictMonitor(tiny.questions(), **PROBE).attach(trainer)
    trainer.train()
    assert monitor.steps == [2, 4]


def test_prompts_with_images_are_refused(tmp_path):
    trainer = trainer_of(vlm.policy(frozen_vision=True), tmp_path, vlm.questions_with_images())
    named = (
        "^the column 'image' gives the prompts images, which a probe cannot show the policy; give a probe_dataset of"
    )
    for probe_dataset in (vlm.questions_with_images(), None):  # without one, the training batch would be probed
        with pytest.raises(ValueError, match=named):
            ConflictMonitor(probe_dataset, num_prompts=8).attach(trainer)
    with pytest.raises(ValueError, match=named):
        RolloutBlocks(trainer, vlm.questions_with_images(), tmp_path, num_rollouts=4)
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "1?"}]
    within = [[{"role": "user", "content": content}] for content in (parts[1:], parts)] * 4
    with pytest.raises(ValueError, match=r"^the prompt in row 1 has an image, which a probe cannot show the policy"):
        ConflictMonitor(Dataset.from_dict({"prompt": within}), num_prompts=8).attach(trainer)
