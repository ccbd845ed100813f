"""All engines that can run on CPUs, on real gloo ranks, and checks that the engine asked for is the one that runs.

Accelerate has no FSDP for CPUs: with `use_cpu` it silently trains with DDP. With the CPU set as its device and gloo as
its backend, it wraps the model with the real FSDP2. Tests rely on that, users cannot.
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
    """The environment variables that a launcher would set."""
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
        # Both ranks would compile it at first use, under a lock that a killed run leaves behind. It is not needed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if engine != "fsdp2":
        return {}
    distributed = accelerate.utils.DistributedType.MULTI_GPU
    accelerate.PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", distributed)
    return {"use_cpu": False, "ddp_backend": "gloo"}


def check_running(engine: str, trainer: Any) -> None:
    """Fails unless the trainer's model is really held by this engine."""
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


def check_reset(trainer: Any) -> None:
    """Fails if ZeRO-3 counts a parameter as in use, which it then could not gather."""
    assert not any(getattr(p, "ds_active_sub_modules", None) for p in trainer.model.parameters())


def optimizer_state(engine: str, trainer: Any) -> list[list]:
    """The state of this rank's optimizer: under ZeRO of flat partitions, inside DeepSpeed's own optimizer."""
    optimizer = trainer.model_wrapped.optimizer.optimizer if engine.startswith("zero") else trainer.optimizer
    values = [value for state in optimizer.state.values() for value in state.values()]
    return [local_values(value) for value in values if isinstance(value, torch.Tensor)]


def whole(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The whole trainable parameters, gathered by the engine itself. All ranks must call this together."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with deepspeed.zero.GatheredParameters([p for p in parameters.values() if hasattr(p, "ds_id")]):
        return {
            name: (p.full_tensor() if isinstance(p, DTensor) else p).detach().clone() for name, p in parameters.items()
        }


def local_values(tensor: torch.Tensor) -> list:
    """This rank's part of a parameter or of its optimizer state."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    return getattr(tensor, "ds_tensor", tensor).detach().flatten().tolist()
