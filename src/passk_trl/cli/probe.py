"""`passk-trl probe --config recipe.yaml`; under a launcher `accelerate launch -m passk_trl.cli.probe --config …`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from trl import ModelConfig, ScriptArguments, TrlParser, get_quantization_config
from trl.data_utils import is_conversational

from passk_trl import PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.audit import Audit
from passk_trl.audit_report import diagnose, write_audit
from passk_trl.records import text_of
from passk_trl.rewards import load_rewards
from passk_trl.sampling import truncated_sampling, warn_if_truncated

from .train import load_splits, model_init_kwargs


# Settings of an audit that its report opens with.
_TOLD = ("model", "dataset", "reward_funcs", "temperature", "top_p", "max_completion_length", "seed")


@dataclass
class ProbeArguments(ScriptArguments):
    """
    Arguments of `passk-trl probe` besides those of [`PassKGRPOConfig`], of which generation, precision, `seed` and
    `output_dir` matter, and [`~trl.ModelConfig`]. `per_device_train_batch_size` is the number of rollouts that are
    generated at a time.

    Args:
        reward_funcs (`list[str]`, *optional*, defaults to `["accuracy_reward"]`):
            Verifiers: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted import path.
        dataset_probe_split (`str`, *optional*):
            Split that the prompts are drawn from. If `None`, the split `probe` where there is one, else the test
            split.
        prompt_column (`str`, *optional*, defaults to `"prompt"`):
            Column of the prompts, plain or conversational.
        answer_column (`str`, *optional*):
            Column of the gold answers, which verifiers then read as `solution`. If `None`, columns stay as they are.
        instruction (`str`, *optional*):
            Text put after every plain prompt, on a line of its own.
        system_prompt (`str`, *optional*):
            System message put before every conversation.
        chat (`bool`, *optional*, defaults to `True`):
            Whether plain prompts become a user's message, in the policy's chat template. Set to `False` for a base
            model.
        num_prompts (`int`, *optional*, defaults to `256`):
            Prompts drawn, at least 8. They carry the error bars.
        num_rollouts (`int`, *optional*, defaults to `32`):
            Rollouts of each prompt, at least 3; a conflict is measured at every k below.
        k (`int`, *optional*):
            The k at which weights, shift and most negatively interfering prompts are shown. Half of `num_rollouts` if
            `None`.
        parameters (`str`, *optional*, defaults to `"all"`):
            Whose gradients are taken: `all`, `final_norm` (the paper's final hidden layer), `final_layer`, or a
            regular expression searched in module names.
        gram (`str`, *optional*, defaults to `"auto"`):
            How gradients are kept: `exact`, `sketch`, or `auto`, the first where it takes at most 1 GiB.
        block_size (`int`, *optional*, defaults to `32`):
            Prompts between two saves.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the confidence intervals.
        num_shown (`int`, *optional*, defaults to `10`):
            Most negatively interfering prompts to show.
    """

    reward_funcs: list[str] = field(
        default_factory=lambda: ["accuracy_reward"],
        metadata={
            "help": "Verifiers: `accuracy_reward`, `exact_match_reward`, those of `trl grpo`, or any dotted import "
            "path (e.g., `'my_lib.rewards.custom_reward'`)."
        },
    )
    dataset_probe_split: str | None = field(
        default=None,
        metadata={
            "help": "Split that the prompts are drawn from. If `None`, the split `probe` where there is one, else the "
            "test split."
        },
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts, plain or conversational."})
    answer_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of the gold answers, which verifiers then read as `solution`. If `None`, columns stay as "
            "they are."
        },
    )
    instruction: str | None = field(
        default=None, metadata={"help": "Text put after every plain prompt, on a line of its own."}
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System message put before every conversation."})
    chat: bool = field(
        default=True,
        metadata={
            "help": "Whether plain prompts become a user's message, in the policy's chat template. Set to `False` for "
            "a base model."
        },
    )
    num_prompts: int = field(default=256, metadata={"help": "Prompts drawn, at least 8. They carry the error bars."})
    num_rollouts: int = field(
        default=32,
        metadata={"help": "Rollouts of each prompt, at least 3; a conflict is measured at every k below."},
    )
    k: int | None = field(
        default=None,
        metadata={
            "help": "The k at which weights, shift and most negatively interfering prompts are shown. Half of "
            "`num_rollouts` if `None`."
        },
    )
    parameters: str = field(
        default="all",
        metadata={
            "help": "Whose gradients are taken: 'all', 'final_norm' (the paper's final hidden layer), 'final_layer', "
            "or a regular expression searched in module names."
        },
    )
    gram: str = field(
        default="auto",
        metadata={
            "help": "How gradients are kept: 'exact', 'sketch', or 'auto', the first where it takes at most 1 GiB."
        },
    )
    block_size: int = field(default=32, metadata={"help": "Prompts between two saves."})
    confidence: float = field(default=0.95, metadata={"help": "Level of the confidence intervals."})
    num_shown: int = field(default=10, metadata={"help": "Most negatively interfering prompts to show."})

    def __post_init__(self) -> None:
        if self.num_prompts < 8:
            raise ValueError(
                f"num_prompts={self.num_prompts} is too few for an error bar; set at least 8, better 256."
            )
        if self.num_rollouts < 3:
            raise ValueError(f"num_rollouts={self.num_rollouts} shows no k above 1; set at least 3, better 32.")
        if self.k is None:
            self.k = self.num_rollouts // 2
        if not 1 <= self.k < self.num_rollouts:
            raise ValueError(
                f"k={self.k} cannot be measured with num_rollouts={self.num_rollouts}; set k from 1 to "
                f"{self.num_rollouts - 1}, or raise num_rollouts."
            )
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence} is no level; set a number between 0 and 1, such as 0.95.")
        if self.dataset_streaming:
            raise ValueError("dataset_streaming=True leaves no rows to draw from; set it to False.")


def draw_prompts(script_args: ProbeArguments, seed: int) -> tuple[Dataset, list[int]]:
    """
    The prompts of a probe, with the columns `prompt` and `solution`, and which rows of their split they are.

    Raises:
        `ValueError`: if a split or a column is missing, or the split has too few rows.
    """
    splits = load_splits(script_args)
    split = script_args.dataset_probe_split or ("probe" if "probe" in splits else script_args.dataset_test_split)
    if split not in splits:
        raise ValueError(
            f"dataset_name={script_args.dataset_name!r} has no split '{split}', only {', '.join(splits)}; set "
            "dataset_probe_split."
        )
    dataset = splits[split]
    if len(dataset) < script_args.num_prompts:
        raise ValueError(
            f"the split '{split}' has {len(dataset)} rows, fewer than num_prompts={script_args.num_prompts}; lower "
            "num_prompts or set another dataset_probe_split."
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(dataset), generator=generator)[: script_args.num_prompts].tolist()
    dataset = dataset.select(rows)
    prompts = [_prompt(value, script_args) for value in _column(dataset, "prompt_column", script_args.prompt_column)]
    columns = {"prompt": prompts}
    if script_args.answer_column is not None:
        columns["solution"] = _column(dataset, "answer_column", script_args.answer_column)
    kept = [name for name in dataset.column_names if name not in columns]
    return Dataset.from_dict({**{name: dataset[name][:] for name in kept}, **columns}), rows


def _column(dataset: Dataset, setting: str, name: str) -> list:
    if name not in dataset.column_names:
        raise ValueError(f"the dataset has no column '{name}', only {dataset.column_names}; set {setting}.")
    return dataset[name][:]


def _prompt(value: Any, script_args: ProbeArguments) -> Any:
    if isinstance(value, str):
        value = value if script_args.instruction is None else f"{value}\n{script_args.instruction}"
        if not script_args.chat:
            return value
        value = [{"role": "user", "content": value}]
    if script_args.system_prompt is None:
        return value
    return [{"role": "system", "content": script_args.system_prompt}, *value]


def build_audit(
    script_args: ProbeArguments, training_args: PassKGRPOConfig, model_args: ModelConfig
) -> tuple[Audit, list[int]]:
    """The audit of a recipe, and which rows of their split its prompts are."""
    if model_args.model_name_or_path is None:
        raise ValueError("model_name_or_path is not set; set a hub id or the path of a checkpoint.")
    dataset, rows = draw_prompts(script_args, training_args.seed)
    training_args.gradient_checkpointing = False  # nothing is trained
    training_args.model_init_kwargs = model_init_kwargs(training_args, model_args)
    trainer = PassKGRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=load_rewards(script_args.reward_funcs),
        args=training_args,
        train_dataset=dataset,
        quantization_config=get_quantization_config(model_args),
    )
    if is_conversational(dataset[0]) and trainer._tokenizer.chat_template is None:
        raise ValueError(
            f"model_name_or_path={model_args.model_name_or_path!r} has no chat template; set chat to false, or a "
            "chat_template_path."
        )
    audit = Audit(
        trainer,
        dataset,
        training_args.output_dir,
        num_rollouts=script_args.num_rollouts,
        parameters=script_args.parameters,
        gram=script_args.gram,
        block_size=script_args.block_size,
        success_threshold=training_args.success_threshold,
        seed=training_args.seed,
        settings={"model": model_args.model_name_or_path, "dataset": script_args.dataset_name},
    )
    return audit, rows


def main(args: Sequence[str] | None = None) -> None:
    """Audits as the recipe says, or goes on with an audit that was killed, and writes its report."""
    parser = TrlParser((ProbeArguments, PassKGRPOConfig, ModelConfig), prog="passk-trl probe")
    try:
        script_args, training_args, model_args = parser.parse_args_and_config(args)
        audit, rows = build_audit(script_args, training_args, model_args)
    except (ValueError, OSError, ImportError) as error:
        print(f"passk-trl probe: {error}", file=sys.stderr)
        sys.exit(2)
    warn_if_truncated(audit.trainer)
    measured = audit.run()
    if measured is not None:
        audited = diagnose(
            measured,
            {"parameters": audit.parameters, **{name: audit.settings[name] for name in _TOLD}},
            [text_of(prompt) for prompt in audit.dataset["prompt"]],
            rows,
            truncated_sampling(audit.trainer),
            script_args.k,
            script_args.confidence,
        )
        print("\n" + write_audit(training_args.output_dir, audited, script_args.num_shown))
    audit.trainer.end()


if __name__ == "__main__":
    main()
