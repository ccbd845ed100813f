"""A dry run: checks that everything in a recipe loads and fits together, and estimates the memory of a process.

Nothing is generated and no weights are loaded: parameters are counted on torch's meta device.
"""

import textwrap
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from trl import ModelConfig, get_peft_config, is_conversational

from passk_trl import ConflictMonitor, PassKGRPOConfig
from passk_trl.memory import Engine, engine_of, estimate_memory, measured_by, rides, window_bytes
from passk_trl.monitor.run_length import alarm_warnings, run_length
from passk_trl.withheld import text_without_secrets


# Number of prompts whose length is measured.
_PROMPTS_READ = 64


def model_config(training_args: PassKGRPOConfig, model_args: ModelConfig) -> PretrainedConfig:
    """
    The configuration of a recipe's model.

    Raises:
        `ValueError`: if it cannot be found or loaded.
    """
    name = model_args.model_name_or_path
    if not name:
        raise ValueError("model_name_or_path is not set; set a hub id or the path of a checkpoint.")
    if (name[0] in "./~" or name.count("/") > 1) and not Path(name).exists():
        raise ValueError(f"model_name_or_path={name!r} does not exist; set a hub id or the path of a checkpoint.")
    return _loaded(AutoConfig, training_args, model_args)


def tokenizer_for(training_args: PassKGRPOConfig, model_args: ModelConfig, dataset: Dataset) -> Any:
    """
    The tokenizer of a recipe's model.

    Raises:
        `ValueError`: if it cannot be loaded, the dataset is empty, or it has no chat template and the dataset holds
        conversations.
    """
    tokenizer = _loaded(AutoTokenizer, training_args, model_args)
    first = next(iter(dataset), None)
    if first is None:
        raise ValueError("the dataset has no rows; set another dataset_name or split.")
    if is_conversational(first) and tokenizer.chat_template is None:
        raise ValueError(
            f"model_name_or_path={model_args.model_name_or_path!r} has no chat template; set chat to false, or save "
            "a chat template with its tokenizer."
        )
    return tokenizer


def dry_run(
    training_args: PassKGRPOConfig,
    model_args: ModelConfig,
    reward_funcs: list[Callable],
    datasets: dict[str, Dataset | None],
    probe: Any = None,
    trains: bool = True,
    processes: int = 0,
) -> str:
    """
    A table of what a run would do.

    Args:
        training_args ([`PassKGRPOConfig`]), model_args ([`~trl.ModelConfig`]), reward_funcs (`list[Callable]`):
            From the recipe.
        datasets (`dict`):
            Prompts by their use. The first are those that make the batches.
        probe ([`ConflictMonitor`] or `ProbeArguments`, *optional*):
            Holds `num_prompts`, `num_rollouts` and `gram`, if anything is probed.
        trains (`bool`, *optional*, defaults to `True`):
            Whether the model is trained.
        processes (`int`, *optional*, defaults to `0`):
            Number of processes; that of this launch if 0.

    Raises:
        `ValueError`: if the model cannot be loaded, a batch does not consist of whole groups, or `parameters` select
            nothing that is trained.
    """
    config = model_config(training_args, model_args)
    datasets = {use: dataset for use, dataset in datasets.items() if dataset is not None}
    first = next(iter(datasets.values()))
    tokenizer = tokenizer_for(training_args, model_args, first)
    engine = engine_of(training_args, processes)
    model = on_meta(config, training_args, model_args)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    longest = _longest_prompt(first, tokenizer)
    part = "" if not trains else f", {'all' if trained == total else _count(trained)} trained"
    rows = {
        "model": f"{model_args.model_name_or_path}: {type(config).__name__}, {_count(total)} parameters{part}",
        "data": ", ".join(f"{_rows(dataset)} to {use}" for use, dataset in datasets.items())
        + f"; prompts up to {longest} tokens, completions {training_args.max_completion_length}",
        "rewards": ", ".join(getattr(function, "__name__", str(function)) for function in reward_funcs),
        "rollouts": _backend(training_args),
    }
    if trains:
        rows["batch"] = _batch(training_args, engine)
    if isinstance(probe, ConflictMonitor):
        is_exact = probe.settings.rides_exactly(measured_by(probe, model)[1])
        rows["monitor"] = _monitor(probe, model, is_exact)
        run = run_length(training_args, engine.processes, len(first) if isinstance(first, Dataset) else None)
        if warnings := alarm_warnings(probe.settings, training_args, run, is_exact):
            rows["warning"] = " ".join(warnings)
    elif probe is not None:
        rows["probe"] = f"{probe.num_prompts} prompts x {probe.num_rollouts} rollouts"
    needed = partial(
        estimate_memory, training_args, model_args, model, longest_prompt=longest, probe=probe, trains=trains
    )
    rows["memory"] = _memory_text(needed(engine=engine), engine)
    if engine.stage < 3 and engine.processes > 1:
        zero3 = Engine("ZeRO-3", engine.processes, 3)
        rows["or"] = _memory_text(needed(engine=zero3), zero3)
    width = max(map(len, rows))
    return "".join(f"{name:<{width}}  {text}\n" for name, text in rows.items())


def print_once(text: str, training_args: PassKGRPOConfig) -> None:
    """Prints a table on the first process of a launch."""
    if training_args.process_index == 0:
        print(text_without_secrets(text), end="")


def _loaded(kind: Any, training_args: PassKGRPOConfig, model_args: ModelConfig) -> Any:
    name = model_args.model_name_or_path
    try:
        return kind.from_pretrained(
            name, revision=model_args.model_revision, trust_remote_code=training_args.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        reason = textwrap.shorten(str(error), 500)  # transformers may list all models it knows
        part = "config" if kind is AutoConfig else "tokenizer"
        raise ValueError(f"model_name_or_path={name!r} has no {part} that can be loaded: {reason}") from error


def on_meta(config: PretrainedConfig, training_args: PassKGRPOConfig, model_args: ModelConfig) -> Any:
    """The recipe's model with its adapters, without weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=training_args.trust_remote_code)
        adapter = get_peft_config(model_args)
        return model if adapter is None else get_peft_model(model, adapter)


def _longest_prompt(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> int:
    prompts = [row["prompt"] for row in islice(dataset, _PROMPTS_READ)]
    if not isinstance(prompts[0], str):
        prompts = ["\n".join(str(message["content"]) for message in prompt) for prompt in prompts]
    return max(len(tokenizer(prompt)["input_ids"]) for prompt in prompts)


def _rows(dataset: Dataset) -> str:
    return f"{len(dataset):,} rows" if hasattr(dataset, "__len__") else "a stream"


def _backend(training_args: PassKGRPOConfig) -> str:
    if not training_args.use_vllm:
        return "transformers"
    installed = "" if find_spec("vllm") else ", which is not installed here"
    share = (
        f", {training_args.vllm_gpu_memory_utilization} of each GPU" if training_args.vllm_mode == "colocate" else ""
    )
    return f"vLLM ({training_args.vllm_mode}{share}){installed}"


def _batch(training_args: PassKGRPOConfig, engine: Engine) -> str:
    batch_size, steps = training_args.per_device_train_batch_size, training_args.steps_per_generation
    group = training_args.num_generations
    processes = _several(engine.processes, "process", "processes")
    completions = batch_size * engine.processes * steps
    if completions % group:
        raise ValueError(
            f"per_device_train_batch_size={batch_size} x {processes} x {steps} steps_per_generation is "
            f"{completions} completions, which is not a multiple of num_generations={group}: change one of them."
        )
    prompts = _several(completions // group, "prompt", "prompts")
    updates = training_args.gradient_accumulation_steps
    return (
        f"{processes} x {batch_size} x {steps} = {completions} completions, {prompts} x {group}, for "
        f"{training_args.objective or f'pass@{training_args.pass_at_k}'}; an optimizer step takes "
        f"{batch_size * engine.processes * updates}"
    )


def _monitor(monitor: ConflictMonitor, model: Any, is_exact: bool) -> str:
    every = "every step" if monitor.every == 1 else f"every {monitor.every} steps"
    if rides(monitor):
        how = "gradients whole" if is_exact else "at first"
        size = window_bytes(monitor, model)
        unit, name = _unit(size)
        kept = f"{size / unit:.2f} {name} in main memory, {how}"
        return f"reports on the latest {monitor.settings.window} prompts of training {every}, {kept}"
    rollouts = "of the batch" if monitor.probe_dataset is None else f"x {monitor.num_rollouts} rollouts"
    return f"{monitor.num_prompts} prompts {rollouts} {every}"


def _memory_text(needed: dict[str, float], engine: Engine) -> str:
    total = sum(needed.values())
    unit, name = _unit(total)
    parts = ", ".join(f"{part} {size / unit:.1f}" for part, size in needed.items())
    return f"about {total / unit:.1f} {name} a process ({engine.name}): {parts}"


def _unit(size: float) -> tuple[int, str]:
    """In what to count so many bytes: how many bytes it is, and its name."""
    return (2**30, "GiB") if size >= 2**30 else (2**20, "MiB")


def _several(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _count(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
