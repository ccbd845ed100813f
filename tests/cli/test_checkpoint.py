"""A checkpoint as the commands load it: to be measured, not trained."""

import pytest
from trl import ModelConfig

import tiny
from passk_trl.cli.checkpoint import load_untrained, model_init_kwargs


def test_a_checkpoint_is_loaded_and_the_callers_arguments_stay_as_they_are(tmp_path, model):
    arguments = tiny.training_args(tmp_path, pass_at_k=2)
    trainer = load_untrained(["accuracy_reward"], arguments, ModelConfig(model_name_or_path=model), tiny.questions())
    assert not trainer.args.gradient_checkpointing
    assert trainer.model.config.hidden_size == tiny.policy().config.hidden_size
    assert arguments.gradient_checkpointing
    assert arguments.model_init_kwargs is None


def test_a_missing_checkpoint_is_named_before_anything_is_loaded(tmp_path):
    arguments = tiny.training_args(tmp_path, pass_at_k=2)
    with pytest.raises(ValueError, match="model_name_or_path is not set"):
        load_untrained(["accuracy_reward"], arguments, ModelConfig(), tiny.questions())


def test_the_arguments_that_a_policy_is_loaded_with(tmp_path):
    arguments = tiny.training_args(tmp_path, pass_at_k=2, model_init_kwargs={"dtype": "float32"})
    loaded_with = model_init_kwargs(arguments, ModelConfig(model_name_or_path="model", model_revision="v2"))
    assert (loaded_with["revision"], loaded_with["dtype"]) == ("v2", "float32")
