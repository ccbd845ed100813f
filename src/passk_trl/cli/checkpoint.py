"""Loads the checkpoint of a recipe, and lets go of what was loaded."""

import copy
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from trl import ModelConfig, get_quantization_config

from passk_trl import PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.rewards import load_rewards

from .before_loading import check_installed
from .dry_run import model_config, tokenizer_for


def model_init_kwargs(training_args: PassKGRPOConfig, model_args: ModelConfig) -> dict[str, Any]:
    """The arguments with which the policy is loaded."""
    return {
        "revision": model_args.model_revision,
        "trust_remote_code": training_args.trust_remote_code,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }


def load_untrained(
    reward_funcs: list[str], training_args: PassKGRPOConfig, model_args: ModelConfig, dataset: Dataset
) -> PassKGRPOTrainer:
    """
    A trainer that holds a checkpoint to be measured, not trained.

    Raises:
        `ValueError`: if no checkpoint is named, or the prompts need a chat template and it has none.
    """
    check_installed(training_args)
    model_config(training_args, model_args)
    tokenizer_for(training_args, model_args, dataset)  # before its weights, which take longer
    training_args = copy.copy(training_args)  # the caller may load another checkpoint with its own
    training_args.gradient_checkpointing = False
    training_args.model_init_kwargs = model_init_kwargs(training_args, model_args)
    return PassKGRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=load_rewards(reward_funcs),
        args=training_args,
        train_dataset=dataset,
        quantization_config=get_quantization_config(model_args),
    )


def leave_server(trainer: PassKGRPOTrainer) -> None:
    """Frees the port through which weights go to a vLLM server. The next checkpoint needs the same port."""
    if trainer.use_vllm and trainer.vllm_mode == "server" and trainer.accelerator.is_main_process:
        trainer.vllm_generation.vllm_client.close_communicator()


def wait_for_all_processes() -> None:
    """
    Waits until all processes of a launch are done, before the process group is destroyed.

    The first process still writes its report, and a launcher would end it if another process failed. One that exits
    right after a collective may: where DeepSpeed is installed, it keeps the process group alive (as a default argument
    of its functions), and a thread of gloo that frees a tensor while Python ends aborts. The wait lets it free them.
    """
    PartialState().wait_for_everyone()
