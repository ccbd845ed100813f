"""Keys that TRL or transformers removed or renamed, and that recipes and tutorials still have."""

_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu: true",
    "torch_dtype": "dtype",
    "group_by_length": "train_sampling_strategy: group_by_length",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_token": "the variable HF_TOKEN",
    "reward_model_name_or_path": "reward_funcs",
    "use_liger_loss": "use_liger_kernel",
    "vllm_guided_decoding_regex": "vllm_structured_outputs_regex",
    "vllm_max_model_len": "vllm_max_model_length",
    "wandb_log_unique_prompts": "log_unique_prompts",
}

_REMOVED = {
    "max_prompt_length": "TRL no longer shortens prompts: leave it out, and take long prompts out of the dataset",
    "warmup_ratio": "transformers takes the ratio in warmup_steps: set warmup_steps to a number below 1, such as 0.1",
    "logging_dir": "transformers takes it from a variable: set TENSORBOARD_LOGGING_DIR in the block env",
    "save_safetensors": "weights are always saved as safetensors: leave it out",
    "use_mps_device": "an MPS device is used where there is one: leave it out",
    "half_precision_backend": "there is one backend only: leave it out",
    "streaming": "it is dataset_streaming here",
    "vllm_device": "vLLM shares the GPUs of training, or is served: set vllm_mode to colocate or server",
    "vllm_dtype": "vLLM has the dtype of the model: leave it out",
}


def replacement(key: str) -> str | None:
    """What to write instead of a key that was removed or renamed; `None` if it was not."""
    if key in _RENAMED:
        return f"it is now {_RENAMED[key]}."
    return f"{_REMOVED[key]}." if key in _REMOVED else None
