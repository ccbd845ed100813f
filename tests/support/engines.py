"""Every way of holding a model that runs on CPUs, made real on gloo ranks, and proof that it is the one running.

Accelerate has no FSDP for CPUs: with `use_cpu` it silently trains with DDP. Told that the CPU is its device and gloo
its backend, it wraps the model with the real FSDP2. That is support for tests, not for users.
"""

import json
import os
from pathlib import Path
from typing import Any

import accelerate
import deepspeed
import torch
from torch.distributed.tensor import DTensor


ENGINES = ("single", "ddp", "fsdp2", "zero1", "zero2", "zero3")


def world_size(engine: str) -> int:
    return 1 if engine == "single" else 2


def environment(engine: str, directory: Path) -> dict[str, str]:
    """What a launcher would set."""
    if engine.startswith("zero"):
        config = directory / f"{engine}.json"
        automatic = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        stage = {"zero_optimization": {"stage": int(engine[-1])}}
        if engine == "zero3":  # parameters as small as these would be kept whole once gathered
            stage["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        config.write_text(json.dumps({**dict.fromkeys(automatic, "auto"), **stage}))
        return {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(config)}
    if engine == "fsdp2":
        return {
            "ACCELERATE_USE_FSDP": "true",
            "ACCELERATE_TORCH_DEVICE": "cpu",
            "FSDP_VERSION": "2",
            "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
            "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
            "FSDP_RESHARD_AFTER_FORWARD": "true",
        }
    return {}


def arguments(engine: str) -> dict[str, Any]:
    """Training arguments the engine needs. Call it on the rank, before anything of accelerate is made."""
    if engine == "single":  # one rank is not yet one process: accelerate would wrap the model with DDP
        for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(variable, None)
    if engine.startswith("zero"):
        # Compiled at first use, by both ranks at once, with a lock that a killed run leaves behind. It is not needed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if engine != "fsdp2":
        return {}
    distributed = accelerate.utils.DistributedType.MULTI_GPU
    accelerate.PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", distributed)
    return {"use_cpu": False, "ddp_backend": "gloo"}


def check_running(engine: str, trainer: Any) -> None:
    """Fails unless the trainer really holds its model as the engine does."""
    wrapped, parameters = trainer.model_wrapped, list(trainer.model.parameters())
    ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    assert ranks == trainer.accelerator.num_processes == world_size(engine)
    assert isinstance(wrapped, torch.nn.parallel.DistributedDataParallel) == (engine == "ddp")
    assert any(isinstance(p, DTensor) for p in parameters) == (engine == "fsdp2")  # its root stays gathered a while
    assert all(hasattr(p, "ds_id") for p in parameters) == (engine == "zero3")
    if engine.startswith("zero"):
        assert wrapped.zero_optimization_stage() == int(engine[-1])
    else:
        assert "ACCELERATE_USE_DEEPSPEED" not in os.environ


def check_at_rest(trainer: Any) -> None:
    """Fails if ZeRO-3 holds a parameter to be in use, which it then could not gather."""
    assert not any(getattr(p, "ds_active_sub_modules", None) for p in trainer.model.parameters())


def optimizer_state(engine: str, trainer: Any) -> list[list]:
    """What this rank's optimizer keeps: under ZeRO that of flat partitions, inside DeepSpeed's own optimizer."""
    optimizer = trainer.model_wrapped.optimizer.optimizer if engine.startswith("zero") else trainer.optimizer
    values = [value for state in optimizer.state.values() for value in state.values()]
    return [local_values(value) for value in values if isinstance(value, torch.Tensor)]


def whole(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The trainable parameters whole, by the engine's own means. All ranks must come here together."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with deepspeed.zero.GatheredParameters([p for p in parameters.values() if hasattr(p, "ds_id")]):
        return {
            name: (p.full_tensor() if isinstance(p, DTensor) else p).detach().clone() for name, p in parameters.items()
        }


def local_values(tensor: torch.Tensor) -> list:
    """What this rank holds of a parameter or of its optimizer state."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    return getattr(tensor, "ds_tensor", tensor).detach().flatten().tolist()
