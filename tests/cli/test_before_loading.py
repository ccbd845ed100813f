"""What libraries find wrong only after the model is loaded is found before. No weights are read in these tests."""

import logging

import pytest
import transformers
from datasets import Dataset
from test_bad_input import one_line, recipe

import tiny
from passk_trl import PassKGRPOTrainer
from passk_trl.cli import evaluate, probe, train
from passk_trl.cli.before_loading import check_installed, check_rewards, check_training
from passk_trl.cli.recipe import CommandLineError, readable_errors


EVALUATES = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8}


@pytest.fixture
def no_weights(monkeypatch):
    """Fails a test that comes to load a model."""

    def load(*args, **kwargs):
        raise AssertionError("the model is being loaded")

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", load)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report_to": "wandb"}, "report_to names 'wandb', which is no tracker that is installed here: install it"),
        ({"report_to": "wand"}, "report_to names 'wand', which is no tracker"),
        ({"use_vllm": True}, "use_vllm is True, but vllm is not installed: pip install 'passk-trl[vllm]', or set"),
        ({"use_liger_kernel": True}, "liger_kernel is not installed: pip install liger-kernel, or set it to False."),
        ({"temperature": 0}, "temperature=0 is out of range; set more than 0."),
        ({"top_p": 1.5}, "top_p=1.5 is out of range; set more than 0, up to 1."),
        ({"learning_rate": -1}, "learning_rate=-1 is out of range; set 0 or more."),
        ({"loss_type": "grop"}, "loss_type='grop' is unknown; set one of grpo, dr_grpo, "),
        ({"importance_sampling_level": "word"}, "importance_sampling_level='word' is unknown; set one of token, "),
        ({"adam_beta1": 2}, "optim='adamw_torch_fused' cannot be made: Invalid beta parameter at index 0: 2"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "cannot be made: One of min_lr or min_lr_rate should be set"),
        ({"lr_scheduler_kwargs": {"min": 1}}, "lr_scheduler_type='linear' cannot be made: get_linear_schedule_with_"),
        ({"max_steps": 0}, "max_steps=0 with num_train_epochs=3.0 trains nothing; set one of them to more than 0."),
        ({"gradient_checkpointing_kwargs": {"use_renetrant": True}}, "gradient_checkpointing_kwargs has 'use_renet"),
        ({"reward_weights": [1, 2]}, "reward_weights has 2 numbers for 1 reward_funcs: set as many."),
        ({**EVALUATES, "metric_for_best_model": "rewrd"}, "'rewrd' is not logged; did you mean 'eval_reward'?"),
        ({**EVALUATES, "metric_for_best_model": "eval_passk/pass@3"}, "did you mean 'eval_passk/pass@"),
        ({**EVALUATES, "metric_for_best_model": "passk/mean"}, "'passk/mean' is not logged; set one of passk/pass@1"),
        ({"use_peft": True, "lora_target_modules": ["q_prj"]}, "Target modules q_prj not found in the base model."),
        ({"use_peft": True, "lora_r": 0}, "`r` should be a positive integer value but the value passed is 0"),
        ({"monitor": {"num_prompts": 8, "num_rollouts": 8, "parameters": "q_prj"}}, "parameters='q_prj'"),
    ],
    ids=lambda value: f"{value}"[:40] if isinstance(value, dict) else "",
)  # fmt: skip
def test_before_the_model_is_loaded(tmp_path, model, no_weights, changes, message, capsys):
    assert message in one_line(capsys, train.main, "--config", recipe(tmp_path, model, **changes))


@pytest.mark.parametrize("command", [probe, evaluate])
def test_the_other_commands_check_what_they_share(tmp_path, model, no_weights, command, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"model_name_or_path: {model}\ndataset_name: tiny.splits\nreward_funcs: [tiny.starts_low]\n"
        f"output_dir: {tmp_path}\nuse_cpu: true\nbf16: false\nreport_to: wandb\nnum_prompts: 8\n"
    )
    assert "report_to names 'wandb'" in one_line(capsys, command.main, "--config", str(path))


def test_a_hub_without_a_login(tmp_path, model, no_weights, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, model, push_to_hub=True, hub_model_id="a/b"))
    assert "push_to_hub is True, but the hub cannot be used: " in error


def test_an_argument_that_the_model_does_not_take(tmp_path, model, capsys):
    error = one_line(capsys, train.main, "--config", recipe(tmp_path, model, model_init_kwargs={"foo": 1}))
    assert "model_init_kwargs has 'foo', which the model does not take: leave it out." in error


def test_every_metric_of_an_evaluation_is_known(tmp_path, caplog):
    args = tiny.training_args(tmp_path, pass_at_k=3, per_device_eval_batch_size=8)
    trainer = PassKGRPOTrainer(
        tiny.policy(), tiny.starts_low, args, tiny.questions(8), tiny.questions(8), processing_class=tiny.tokenizer()
    )
    logged = trainer.evaluate()
    args.eval_strategy = "steps"
    for name in logged:
        args.metric_for_best_model = name
        with caplog.at_level(logging.WARNING):
            check_rewards(args, [tiny.starts_low])
    doubtful = {record.args[0] for record in caplog.records}
    told_apart = ("per_second", "preparation_time", "epoch")  # clocks
    assert not {name for name in doubtful if not name.endswith(told_apart) and "clip_ratio" not in name}
    assert "eval_passk/pass@3" in logged


def test_a_metric_that_a_reward_function_may_log_is_doubted_only(tmp_path, caplog):
    args = tiny.training_args(tmp_path, eval_strategy="steps", per_device_eval_batch_size=8)
    args.metric_for_best_model = "eval_brevity"
    check_rewards(args, [tiny.starts_low])
    assert "metric_for_best_model='eval_brevity' is logged only if a reward function logs it." in caplog.text


@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor", "sgd", "rmsprop", "adamw_bnb_8bit"])
def test_optimizers_that_work_pass(tmp_path, optim):
    check_training(tiny.training_args(tmp_path, optim=optim, lr_scheduler_type="cosine"))


def test_a_tracker_that_is_installed_passes(tmp_path):
    check_installed(tiny.training_args(tmp_path, report_to=["tensorboard"]))


# An error that is not the user's keeps its traceback. -----


def fails_without_a_word():
    return int("no number")


def fails_to_index():
    return Dataset.from_dict({"a": [1]}).to_pandas().to_numpy().reshape(3, 5)


@pytest.mark.parametrize("fails", [fails_without_a_word, fails_to_index])
def test_an_error_of_the_program_keeps_its_traceback(fails):
    with (
        pytest.raises(ValueError, match=r"no number|cannot reshape") as raised,
        readable_errors("passk-trl train", []),
    ):
        fails()
    assert raised.traceback[-1].name == fails.__name__


@pytest.mark.parametrize(
    "error", [ValueError("k is 0; set 1."), CommandLineError("k is 0; set 1."), FileNotFoundError(2, "gone", "k is 0")]
)
def test_an_error_that_is_told_is_one_line(error, capsys):
    with pytest.raises(SystemExit), readable_errors("passk-trl train", []):
        raise error
    assert "k is 0" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit), readable_errors("passk-trl train", []):
        (tmp_path / "none").open()
    assert "No such file or directory" in capsys.readouterr().err
