"""Estimates how many bytes a process needs, and for what, before anything is loaded."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from trl import ModelConfig

from .audit.parameters import choose_parameters
from .config import PassKGRPOConfig
from .gradients.passes import TOKENS_AT_A_TIME
from .gradients.projections import HEAD_DRAWS, NUM_SKETCHES, PROJECTION_BYTES, SKETCH_RANK
from .gradients.selection import Selected, select
from .gradients.store import fit_exactly
from .monitor.sketches import FIRST_DRAWS, RIDE_RANK, RIDE_SKETCHES


# Bytes that a transformer layer keeps for its backward pass, for each token and hidden unit, in 16 bit and without
# attention weights (Korthikanti et al. 2022, arXiv 2205.05198, section 4.1); and the bytes of its input alone.
_BYTES_OF_A_LAYER, _BYTES_OF_ITS_INPUT = 34, 2

# Bytes of a sketch for each prompt and parameter tensor, in float32.
_SKETCH_BYTES = NUM_SKETCHES * SKETCH_RANK**2 * 4


@dataclass(frozen=True)
class Engine:
    """
    How processes share a model.

    Args:
        name (`str`): its name for a reader.
        processes (`int`): number of processes.
        stage (`int`): what they share, in the stages of ZeRO: 1 the optimizer states, 2 also the gradients, 3 also the
            weights, 0 nothing.
    """

    name: str
    processes: int
    stage: int

    def share(self, stage: int) -> int:
        """The number of processes over which the tensors that are shared from this stage on are divided."""
        return self.processes if self.stage >= stage else 1


def engine_of(training_args: PassKGRPOConfig, processes: int = 0) -> Engine:
    """The engine of this launch, read from the environment; with another number of processes if one is given."""
    processes = processes or training_args.world_size
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return Engine("FSDP", processes, 3)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
        return Engine(f"ZeRO-{stage}", processes, stage)
    return Engine("DDP" if processes > 1 else "one process", processes, 0)


def estimate_memory(
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    model: Any,
    engine: Engine,
    longest_prompt: int,
    probe: Any,
    trains: bool,
) -> dict[str, float]:
    """
    Estimates the bytes that a process needs at most, by their use.

    Args:
        training_args ([`PassKGRPOConfig`]), model_args ([`~trl.ModelConfig`]):
            From the recipe.
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, on the meta device.
        engine ([`Engine`]):
            How processes share the policy.
        longest_prompt (`int`):
            Tokens of the longest prompt.
        probe ([`ConflictMonitor`] or `ProbeArguments`, *optional*):
            Holds `num_prompts` and `gram`, if anything is probed.
        trains (`bool`):
            Whether the policy is trained.

    Returns:
        `dict[str, float]`: bytes by their use, such as `"weights"`.
    """
    mixed = training_args.bf16 or training_args.fp16
    dtype = getattr(model.config, "dtype", None) if model_args.dtype == "auto" else getattr(torch, model_args.dtype)
    stored = (dtype or torch.float32).itemsize
    computed = 2 if mixed else stored
    needed = _weights_and_states(training_args, model_args, model, engine, stored, mixed, trains)
    length = longest_prompt + training_args.max_completion_length
    # The activations of a pass and the key-value cache of the rollouts are not needed at the same time.
    needed["activations or key-value cache"] = max(
        _activations(training_args, model, length, trains) * computed,
        _cache(training_args, model, length, trains) * computed,
    )
    if training_args.use_vllm and training_args.vllm_mode == "colocate" and torch.cuda.is_available():
        needed["vLLM"] = training_args.vllm_gpu_memory_utilization * torch.cuda.mem_get_info()[1]
    if probe is not None and not rides(probe):
        prompts = -(-getattr(probe, "block_size", probe.num_prompts) // engine.processes)
        measured, numbers = measured_by(probe, model)
        is_exact = probe.gram == "exact" or (probe.gram == "auto" and fit_exactly(prompts, numbers))
        sketched = prompts * (len(measured) + _draws_of_head(model, measured) - 1) * _SKETCH_BYTES + PROJECTION_BYTES
        needed["probe's gradients"] = 4 * prompts * numbers if is_exact else sketched
    return needed


def measured_by(probe: Any, model: Any) -> tuple[list[Selected], int]:
    """
    The parameters whose gradients a monitor or an audit takes, and how many numbers they have. A ride may take fewer:
    what it leaves out of these, such as experts, shows when training begins.

    Raises:
        `ValueError`: if its `parameters` select nothing that is trained.
    """
    if hasattr(probe, "settings"):  # of a monitor
        parameters = probe.settings.parameters
    else:
        parameters = choose_parameters(model, probe.parameters)
    measured = select(model, parameters)
    return measured, sum(each.size for each in measured)


def _draws_of_head(model: Any, measured: list[Selected]) -> int:
    try:
        head = model.get_output_embeddings()
    except NotImplementedError:  # as some families raise
        return 1
    weight = getattr(head, "weight", None)
    is_measured = any(getattr(module, own) is weight for each in measured for module, own in each.owners)
    return HEAD_DRAWS if is_measured else 1


def rides(probe: Any) -> bool:
    """Whether it is a [`ConflictMonitor`] that rides on training, which keeps the gradients in main memory."""
    return hasattr(probe, "settings") and probe.settings.ride


def window_bytes(monitor: Any, model: Any) -> float:
    """
    Bytes of the gradients in a full window of a monitor that rides, of all processes together. A prompt's sketch has a
    few numbers for each parameter tensor, whatever the model's size; later sketches are larger or smaller.
    """
    window = monitor.settings.window
    measured, numbers = measured_by(monitor, model)
    if monitor.settings.rides_exactly(numbers):
        return 4.0 * window * numbers
    return 4.0 * window * len(measured) * RIDE_SKETCHES * FIRST_DRAWS * RIDE_RANK**2


def _weights_and_states(
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    model: Any,
    engine: Engine,
    stored: float,
    mixed: bool,
    trains: bool,
) -> dict[str, float]:
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = 0.5 if model_args.load_in_4bit else 1 if model_args.load_in_8bit else stored
    states = 2 * stored  # Adam's two moments, in the dtype of the weights
    if engine.name.startswith("ZeRO") and mixed:  # a 16-bit model, with a master copy and moments in 32 bit
        stored, frozen, states = 2, min(frozen, 2), 12
    elif engine.name == "FSDP" and mixed:  # keeps trained weights in 32 bit
        stored, states = 4, 8
    needed = {"weights": ((total - trained) * frozen + trained * stored) / engine.share(3)}
    if trains:
        needed["gradients"] = trained * stored / engine.share(2)
        needed["optimizer"] = trained * (2 if "8bit" in str(training_args.optim) else states) / engine.share(1)
        if training_args.beta and not model_args.use_peft:
            needed["reference model"] = total * stored / engine.share(3)
    return needed


def _activations(training_args: PassKGRPOConfig, model: Any, length: int, trains: bool) -> float:
    """Numbers that a forward pass keeps for its backward pass, in training or in a probe of an untrained policy."""
    config = model.config.get_text_config()
    tokens = training_args.per_device_train_batch_size * length if trains else TOKENS_AT_A_TIME
    bytes_of_a_token = _BYTES_OF_A_LAYER * config.num_hidden_layers
    if trains and training_args.gradient_checkpointing:  # the inputs of all layers, and one layer recomputed
        bytes_of_a_token = _BYTES_OF_ITS_INPUT * config.num_hidden_layers + _BYTES_OF_A_LAYER
    return tokens * config.hidden_size * bytes_of_a_token / 2


def _cache(training_args: PassKGRPOConfig, model: Any, length: int, trains: bool) -> float:
    """Keys and values of the rollouts that are generated at a time, counted in numbers; vLLM has its own memory."""
    if training_args.use_vllm:
        return 0
    config = model.config.get_text_config()
    rollouts = training_args.per_device_train_batch_size * (training_args.steps_per_generation if trains else 1)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return rollouts * length * 2 * config.num_hidden_layers * heads * size
