"""Audit of a checkpoint before training: rollouts and gradients of many prompts, kept on disk as they are made.

The work goes in blocks of prompts. What a block cost is written to a file of its own, complete or not at all, so that
an audit that is killed goes on where it was: a block's random draws depend on the block, not on what ran before it.

    <output_dir>/settings.json                     what the rollouts depend on
    <output_dir>/rollouts/block-0000.jsonl         a prompt a line: tokens and success of its rollouts
    <output_dir>/gradients/<settings>/block-0000.safetensors   whole or sketched gradients of the block's prompts
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from trl import GRPOTrainer

from .gradients import Coverage, ScoredRollouts, gradient_rows, gram_of_rows
from .gradients.layers import find_layers
from .gradients.ranks import gather_list, gather_rows, num_ranks
from .sampling import check_columns, check_probable, sample_rollouts, undisturbed


__all__ = ["Audit", "Measurement", "choose_parameters"]

# Whole gradients of all prompts up to this many bytes are kept as they are; beyond, as sketches.
_EXACT_BYTES = 2**30

# What one prompt's rollouts are, in a line of a block's file; "success" is None where one could not be scored.
Record = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """
    What an audit measured, N being the prompts whose rollouts could all be scored.

    Args:
        prompts (`list[int]`): which rows of the dataset they are.
        num_rollouts (`int`): n.
        num_correct (`torch.Tensor` of shape `[N]`): correct rollouts of each, int64.
        gram (`torch.Tensor` of shape `[M, N, N]`): M independent estimates of ⟨ĝ_i, ĝ_j⟩, float64.
        coverage ([`~passk_trl.gradients.Coverage`]): which of the chosen parameters they take in.
        store (`str`): `"exact"` or `"sketch"`.
        unscorable (`list[int]`): rows that are left out because a rollout could not be scored.
        not_finite (`list[int]`): rows that are left out because their gradient is not finite.
    """

    prompts: list[int]
    num_rollouts: int
    num_correct: Tensor
    gram: Tensor
    coverage: Coverage
    store: str
    unscorable: list[int]
    not_finite: list[int]


class Audit:
    """
    Measures the Gram matrix of a dataset's prompts under a policy that is not trained.

    Under several processes, each of which holds the whole policy, all of them make and run the audit together; the
    prompts of a block are divided over them.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Holds the policy, and is not trained. Generation (transformers or vLLM), chat template, reward functions
            and temperature are its.
        dataset ([`~datasets.Dataset`]):
            The prompts, all of which are measured, with the columns that the reward functions read.
        output_dir (`str` or `Path`):
            Where everything is kept. An audit that was made there before is taken up.
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 3.
        parameters (`str`, *optional*, defaults to `"all"`):
            Whose gradients are taken, see [`choose_parameters`].
        gram (`str`, *optional*, defaults to `"auto"`):
            `"exact"` keeps whole gradients, `"sketch"` random projections of a fixed size whose error is part of the
            error bars; `"auto"` the first where it takes no more than 1 GiB for all prompts together.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts in a block: what is lost at most when the audit is killed.
        success_threshold (`float`, *optional*):
            Reward from which a rollout counts as correct; rewards must be 0 or 1 if `None`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of rollouts and sketches.
        settings (`dict`, *optional*):
            What else the rollouts depend on, JSON-safe: an audit with other values is not taken up.

    Raises:
        `ValueError`: if an argument is out of range, the policy is sharded, the trainer generates in a way that
        cannot be repeated, a column is missing, or `output_dir` holds an audit with other settings.

    Source: Barakat et al. 2026 (arXiv 2602.21189), section 5.
    """

    def __init__(
        self,
        trainer: GRPOTrainer,
        dataset: Dataset,
        output_dir: str | Path,
        num_rollouts: int = 32,
        parameters: str = "all",
        gram: str = "auto",
        block_size: int = 32,
        success_threshold: float | None = None,
        seed: int = 0,
        settings: dict[str, Any] | None = None,
    ):
        if num_rollouts < 3:
            raise ValueError(f"num_rollouts={num_rollouts} shows no k above 1; set at least 3, better 32.")
        if block_size < 1:
            raise ValueError(f"block_size={block_size} is no number of prompts; set at least 1.")
        if gram not in ("auto", "exact", "sketch"):
            raise ValueError(f"gram={gram!r} is unknown; set 'auto', 'exact' or 'sketch'.")
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ValueError(
                "the policy would be sharded, which an audit cannot do without training; launch it with plain "
                "processes, each of which holds the whole policy (accelerate launch --multi_gpu)."
            )
        check_probable(trainer)
        check_columns(trainer, dataset)
        self.trainer = trainer
        self.dataset = dataset
        self.directory = Path(output_dir)
        self.num_rollouts = num_rollouts
        self.success_threshold = success_threshold
        self.seed = seed
        self.parameters = choose_parameters(trainer.model, parameters)
        _, self.coverage = find_layers(trainer.model, self.parameters)
        exact_fits = 4 * len(dataset) * self.coverage.covered <= _EXACT_BYTES
        self.store = gram if gram != "auto" else "exact" if exact_fits else "sketch"
        rows = list(range(len(dataset)))
        self.blocks = [rows[first : first + block_size] for first in range(0, len(rows), block_size)]
        self.settings = {
            **(settings or {}),
            "block_size": block_size,
            "num_rollouts": num_rollouts,
            "seed": seed,
            "success_threshold": success_threshold,
            "temperature": trainer.temperature,
            "top_p": trainer.top_p,
            "top_k": trainer.top_k,
            "min_p": trainer.min_p,
            "repetition_penalty": trainer.repetition_penalty,
            "max_completion_length": trainer.max_completion_length,
            "generation_kwargs": trainer.args.generation_kwargs,
            "chat_template_kwargs": trainer.args.chat_template_kwargs,
            "use_vllm": trainer.use_vllm,
            "reward_funcs": trainer.reward_func_names,
            "reward_weights": trainer.reward_weights.tolist(),
            "prompts": _digest(json.dumps(dataset.to_list(), default=str).encode()),
            "weights": _digest_of_weights(trainer.model),
        }
        self._on_main(self._take_up_settings)

    def run(self) -> Measurement | None:
        """The [`Measurement`], on the main process; `None` on the others."""
        self._roll_out()
        self._take_gradients()
        return self._measure() if self._is_main else None

    # Rollouts, block by block.

    def _roll_out(self) -> None:
        with self._progress("rollouts") as done:
            for block, prompts in enumerate(self.blocks):
                if not self._on_main(self._rollouts_file(block).exists):
                    records = self._rollouts_of(block, prompts, done.some)
                    self._on_main(partial(_write_lines, self._rollouts_file(block), records))
                done.block(prompts)

    def _rollouts_of(self, block: int, prompts: list[int], on_prompts: Callable[[int], None]) -> list[Record]:
        """A block's records on all ranks, in the order of its prompts."""
        # The stride keeps the seeds of one block's ranks from being those of the next block.
        with undisturbed(self.trainer, (self.seed * 1_000_003 + block * 10_007) % 2**31):
            rollouts, scored = sample_rollouts(
                self.trainer, self.dataset, prompts, self.num_rollouts, self.success_threshold, on_prompts
            )
        mine = [
            {"prompt": prompt, "success": success, "prompt_ids": prompt_ids, "completion_ids": completion_ids}
            for prompt, success, prompt_ids, completion_ids in zip(
                *(scored, rollouts.success_NG.int().tolist(), rollouts.prompt_ids, rollouts.completion_ids),
                strict=True,
            )
        ]
        by_prompt = {record["prompt"]: record for record in gather_list(mine)}
        return [by_prompt.get(prompt, {"prompt": prompt, "success": None}) for prompt in prompts]

    def _rollouts_file(self, block: int) -> Path:
        return self.directory / "rollouts" / f"block-{block:04d}.jsonl"

    # Gradients, block by block.

    def _take_gradients(self) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
        layers, _ = find_layers(model, self.parameters)
        measured = {id(getattr(layer.module, own)) for layer in layers for own in layer.parameters}
        for parameter in model.parameters():  # autograd then keeps nothing for what is not measured
            parameter.requires_grad_(id(parameter) in measured)
        settings = json.dumps(self._gradients_settings, indent=2)
        self._on_main(partial(_write, self._gradients_folder / "settings.json", settings))
        with self._progress("gradients") as done:
            for block, prompts in enumerate(self.blocks):
                if not self._on_main(partial(self._gradients_there, block)):
                    self._gradients_of(block, model, done.some)
                done.block(prompts)

    def _gradients_of(self, block: int, model: nn.Module, on_prompts: Callable[[int], None]) -> None:
        """Writes the gradients of a block's prompts, those apart whose rollouts all fared alike: theirs are zero."""
        records = self._on_main(lambda: _mixed(_read_lines(self._rollouts_file(block))))
        rows: dict[str, Tensor] = {}
        prompts: list[int] = []
        if records:
            mine = records[self.trainer.accelerator.process_index :: num_ranks()]
            success = torch.tensor([record["success"] for record in mine]).view(len(mine), self.num_rollouts)
            rollouts = ScoredRollouts(
                [record["prompt_ids"] for record in mine], [record["completion_ids"] for record in mine], success
            )
            gradients = gradient_rows(
                model,
                rollouts,
                pad_token_id=self.trainer._tokenizer.pad_token_id,
                temperature=self.trainer.temperature,
                store=self.store,
                parameters=self.parameters,
                seed=self.seed,
                autocast=self.trainer.accelerator.autocast,
                on_batch=on_prompts,
            )
            prompts = gather_list([record["prompt"] for record in mine])
            for name, kept in gradients.rows.items():
                rows[name] = gather_rows(kept).cpu().contiguous()
        self._on_main(partial(self._save_gradients, block, rows, prompts))

    def _save_gradients(self, block: int, rows: dict[str, Tensor], prompts: list[int]) -> None:
        metadata = {"prompts": json.dumps(prompts), "rollouts": _digest(self._rollouts_file(block).read_bytes())}
        _write_tensors(self._gradients_file(block), rows, metadata)

    def _gradients_there(self, block: int) -> bool:
        """Whether the gradients of just these rollouts were taken."""
        if not self._gradients_file(block).exists():
            return False
        with safe_open(self._gradients_file(block), "pt") as file:
            return file.metadata()["rollouts"] == _digest(self._rollouts_file(block).read_bytes())

    @property
    def _gradients_settings(self) -> dict[str, Any]:
        # A sketch's projections are drawn on the device, and each kind draws others.
        device = self.trainer.accelerator.device.type
        return {"parameters": self.parameters, "gram": self.store, "seed": self.seed, "device": device}

    @property
    def _gradients_folder(self) -> Path:
        return self.directory / "gradients" / _digest(json.dumps(self._gradients_settings).encode())

    def _gradients_file(self, block: int) -> Path:
        return self._gradients_folder / f"block-{block:04d}.safetensors"

    # The Gram matrix over all blocks.

    def _measure(self) -> Measurement:
        num_correct: dict[int, int | None] = {}
        for block in range(len(self.blocks)):
            for record in _read_lines(self._rollouts_file(block)):
                num_correct[record["prompt"]] = None if record["success"] is None else sum(record["success"])
        scored = [prompt for prompt, correct in num_correct.items() if correct is not None]
        gram_MNN = self._gram_of(scored)
        finite = gram_MNN.mean(dim=0).diagonal().isfinite()
        kept = finite.nonzero().flatten()
        prompts = [scored[i] for i in kept]
        return Measurement(
            prompts=prompts,
            num_rollouts=self.num_rollouts,
            num_correct=torch.tensor([num_correct[prompt] for prompt in prompts], dtype=torch.int64),
            gram=gram_MNN[:, kept][:, :, kept],
            coverage=self.coverage,
            store=self.store,
            unscorable=[prompt for prompt, correct in num_correct.items() if correct is None],
            not_finite=[scored[i] for i in (~finite).nonzero().flatten()],
        )

    def _gram_of(self, scored: list[int]) -> Tensor:
        prompts: list[int] = []
        parts: dict[str, list[Tensor]] = {}
        for block in range(len(self.blocks)):
            with safe_open(self._gradients_file(block), "pt") as file:
                prompts += json.loads(file.metadata()["prompts"])
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    parts.setdefault(name, []).append(file.get_tensor(name))
        if not prompts:
            return torch.zeros(1, len(scored), len(scored), dtype=torch.float64)
        mixed_MNN = gram_of_rows({name: torch.cat(blocks) for name, blocks in sorted(parts.items())})
        gram_MNN = torch.zeros(len(mixed_MNN), len(scored), len(scored), dtype=torch.float64)
        where = torch.tensor([scored.index(prompt) for prompt in prompts])
        gram_MNN[:, where[:, None], where] = mixed_MNN
        return gram_MNN

    # What the processes share, and what the user sees.

    @property
    def _is_main(self) -> bool:
        return self.trainer.accelerator.is_main_process

    def _on_main(self, ask: Callable[[], Any]) -> Any:
        """What the main process finds, told to all: another node may not see its disk."""
        answer, error = None, None
        if self._is_main:
            try:
                answer = ask()
            except (ValueError, OSError) as failure:
                error = failure
        answer, error = gather_list([(answer, error)])[0]
        if error is not None:
            raise error
        return answer

    def _take_up_settings(self) -> None:
        path = self.directory / "settings.json"
        settings = json.loads(json.dumps(self.settings))  # as they come back from the file
        if not path.exists():
            _write(path, json.dumps(settings, indent=2))
            return
        earlier = json.loads(path.read_text())
        for key in sorted({*earlier, *settings}):
            if earlier.get(key) != settings.get(key):
                raise ValueError(
                    f"{self.directory} holds rollouts made with {key}={earlier.get(key)!r}, not {settings.get(key)!r};"
                    f" set {key} as it was, or another output_dir."
                )

    @contextmanager
    def _progress(self, what: str) -> Iterator["_Progress"]:
        quiet = self.trainer.args.disable_tqdm or not self._is_main
        with tqdm(desc=what, total=len(self.dataset), unit="prompt", disable=quiet) as bar:
            yield _Progress(bar)


class _Progress:
    """A bar over all prompts, whose estimate counts only the blocks that are worked on, not those found done."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._done = 0
        self._started = False

    def some(self, prompts: int) -> None:
        """This rank has done so many prompts more of the block that is worked on; the others likely as many."""
        if not self._started:
            self._started = True
            self._bar.initial = self._bar.n
        self._bar.update(min(prompts * num_ranks(), self._bar.total - self._bar.n))

    def block(self, prompts: list[int]) -> None:
        """A block is done."""
        self._done += len(prompts)
        self._bar.n = self._done
        self._bar.refresh()


def choose_parameters(model: nn.Module, parameters: str) -> str:
    """
    The regular expression of module names that a choice of parameters stands for.

    Args:
        model (`torch.nn.Module`):
            The policy.
        parameters (`str`):
            `"all"` trainable ones; `"final_norm"`, the scale of the norm before the LM head, one number a hidden unit
            (the paper's "policy parameters in the final hidden layer", of dimension 4096 and 3584, read as parameters
            of that shape); `"final_layer"`, everything in the last transformer layer; or a regular expression that is
            searched in module names, such as `"q_proj|v_proj"`.

    Returns:
        `str`: `"all"` or a regular expression.

    Raises:
        `ValueError`: if it is no regular expression, or the model has no such part.
    """
    if parameters == "final_norm":
        norms = [name for name, module in model.named_modules() if type(module).__name__.endswith("Norm")]
        layer = _last_layer(model)
        outside = [name for name in norms if not re.match(_numbered(layer), name)]
        if not outside:
            raise ValueError("parameters='final_norm', but the policy has no norm after its layers; name a module.")
        return f"^{re.escape(outside[-1])}$"
    if parameters == "final_layer":
        return f"^{re.escape(_last_layer(model))}\\."
    try:
        re.compile(parameters)
    except re.error as error:
        raise ValueError(
            f"parameters={parameters!r} is no regular expression: {error}; set 'all', 'final_norm', 'final_layer' or "
            "one."
        ) from error
    return parameters


def _last_layer(model: nn.Module) -> str:
    """Name of the last transformer layer, such as `model.layers.31`: the last of the longest list of modules."""
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise ValueError("the policy keeps its layers in no list of modules; set parameters to a regular expression.")
    longest = max(lists, key=lambda name: lists[name])
    return f"{longest}.{lists[longest] - 1}"


def _numbered(layer: str) -> str:
    """What matches the name of any module of any layer, given the name of one layer."""
    return re.escape(layer.rpartition(".")[0]) + r"\.\d+"


def _mixed(records: list[Record]) -> list[Record]:
    """Those with correct and incorrect rollouts: the others have gradient zero, or none."""
    return [r for r in records if r["success"] is not None and 0 < sum(r["success"]) < len(r["success"])]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _digest_of_weights(model: nn.Module) -> str:
    """Tells a checkpoint from another of the same name, by the first few numbers of each parameter."""
    heads = [parameter.detach().flatten()[:16].float().cpu() for parameter in model.parameters()]
    return _digest(torch.cat(heads).numpy().tobytes())


# A file is there whole or not at all, whenever the process is killed.


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    yield unfinished
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def _write(path: Path, text: str) -> None:
    with _whole(path) as unfinished:
        unfinished.write_text(text)


def _write_lines(path: Path, records: list[Record]) -> None:
    _write(path, "".join(json.dumps(record) + "\n" for record in records))


def _write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with _whole(path) as unfinished:
        save_file(tensors, unfinished, metadata)


def _read_lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]
