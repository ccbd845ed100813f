"""About how many bytes a process will need, by what they hold: an estimate before anything is loaded."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from trl import ModelConfig

from .config import PassKGRPOConfig
from .gradients.passes import TOKENS_AT_A_TIME
from .gradients.store import fit_exactly


# Bytes that a transformer layer keeps of a token for its backward pass, for each hidden unit, in 16 bit and without
# attention weights (Korthikanti et al. 2022, arXiv 2205.05198, section 4.1), and those of its input alone.
_BYTES_OF_A_LAYER, _BYTES_OF_ITS_INPUT = 34, 2

# Bytes of a sketch for each prompt and parameter tensor: 8 sketches of 4 x 4 numbers in float32.
_SKETCH_BYTES = 8 * 16 * 4


@dataclass(frozen=True)
class Engine:
    """
    How processes share a model, as the launcher's environment tells.

    Args:
        name (`str`): what to call it.
        processes (`int`): how many there are.
        stage (`int`): what is divided over them, as ZeRO counts: 1 optimizer states, 2 gradients too, 3 weights too.
    """

    name: str
    processes: int
    stage: int

    def share(self, stage: int) -> int:
        """Over how many processes that is divided which this stage divides."""
        return self.processes if self.stage >= stage else 1


def engine_of(training_args: PassKGRPOConfig, processes: int = 0) -> Engine:
    """The engine of this launch, with other processes than it has if any are given."""
    processes = processes or training_args.world_size
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return Engine("FSDP", processes, 3)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
        return Engine(f"ZeRO-{stage}", processes, stage)
    return Engine("DDP" if processes > 1 else "one process", processes, 0)


def memory(
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    model: Any,
    engine: Engine,
    longest_prompt: int,
    probe: Any,
    trains: bool,
) -> dict[str, float]:
    """
    Bytes of a process at its fullest, by what they hold.

    Args:
        training_args ([`PassKGRPOConfig`]), model_args ([`~trl.ModelConfig`]):
            Of the recipe.
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, on the meta device.
        engine ([`Engine`]):
            What divides it.
        longest_prompt (`int`):
            Tokens of a prompt.
        probe ([`ConflictMonitor`] or `ProbeArguments`, *optional*):
            What has `num_prompts` and `gram`, if anything is probed.
        trains (`bool`):
            Whether the model is trained.
    """
    mixed = training_args.bf16 or training_args.fp16
    dtype = getattr(model.config, "dtype", None) if model_args.dtype == "auto" else getattr(torch, model_args.dtype)
    stored = (dtype or torch.float32).itemsize
    computed = 2 if mixed else stored
    needed = _weights_and_states(training_args, model_args, model, engine, stored, mixed, trains)
    length = longest_prompt + training_args.max_completion_length
    # Not at the same time: a pass's activations, and the key-value cache of the rollouts.
    needed["activations or key-value cache"] = max(
        _activations(training_args, model, length, trains) * computed,
        _cache(training_args, model, length, trains) * computed,
    )
    if training_args.use_vllm and training_args.vllm_mode == "colocate" and torch.cuda.is_available():
        needed["vLLM"] = training_args.vllm_gpu_memory_utilization * torch.cuda.mem_get_info()[1]
    if probe is not None:
        prompts = -(-getattr(probe, "block_size", probe.num_prompts) // engine.processes)
        trained = [each for each in model.parameters() if each.requires_grad]
        numbers = sum(each.numel() for each in trained)
        is_exact = probe.gram == "exact" or (probe.gram == "auto" and fit_exactly(prompts, numbers))
        needed["probe's gradients"] = 4 * prompts * numbers if is_exact else prompts * len(trained) * _SKETCH_BYTES
    return needed


def _weights_and_states(
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    model: Any,
    engine: Engine,
    stored: float,
    mixed: bool,
    trains: bool,
) -> dict[str, float]:
    total = sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = 0.5 if model_args.load_in_4bit else 1 if model_args.load_in_8bit else stored
    states = 2 * stored  # Adam's two moments, in the dtype of the weights
    if engine.name.startswith("ZeRO") and mixed:  # trains a 16-bit model beside a master copy and moments in 32 bit
        stored, frozen, states = 2, min(frozen, 2), 12
    elif engine.name == "FSDP" and mixed:  # keeps what is trained in 32 bit
        stored, states = 4, 8
    needed = {"weights": ((total - trained) * frozen + trained * stored) / engine.share(3)}
    if trains:
        needed["gradients"] = trained * stored / engine.share(2)
        needed["optimizer"] = trained * (2 if "8bit" in str(training_args.optim) else states) / engine.share(1)
        if training_args.beta and not model_args.use_peft:
            needed["reference model"] = total * stored / engine.share(3)
    return needed


def _activations(training_args: PassKGRPOConfig, model: Any, length: int, trains: bool) -> float:
    """Numbers that a forward pass keeps for its backward pass, in training or in a probe of what is not trained."""
    config = model.config.get_text_config()
    tokens = training_args.per_device_train_batch_size * length if trains else TOKENS_AT_A_TIME
    of_a_token = _BYTES_OF_A_LAYER * config.num_hidden_layers
    if trains and training_args.gradient_checkpointing:  # the inputs of all layers, and the one formed anew
        of_a_token = _BYTES_OF_ITS_INPUT * config.num_hidden_layers + _BYTES_OF_A_LAYER
    return tokens * config.hidden_size * of_a_token / 2


def _cache(training_args: PassKGRPOConfig, model: Any, length: int, trains: bool) -> float:
    """Numbers in the keys and values of the rollouts that are generated at a time; vLLM has memory of its own."""
    if training_args.use_vllm:
        return 0
    config = model.config.get_text_config()
    rollouts = training_args.per_device_train_batch_size * (training_args.steps_per_generation if trains else 1)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return rollouts * length * 2 * config.num_hidden_layers * heads * size
