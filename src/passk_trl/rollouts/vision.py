"""A policy that reads images too is probed on prompts of text, and what those do not reach cannot be measured."""

from collections.abc import Iterable
from typing import Any

from datasets import Dataset, IterableDataset

from passk_trl.gradients.selection import select
from passk_trl.rollout_trainer import RolloutTrainer


def check_text_prompts(trainer: RolloutTrainer, dataset: Dataset | IterableDataset) -> None:
    """
    Checks that the policy is shown all that prompts have: their text.

    Raises:
        `ValueError`: if the policy reads images too, and a prompt has one.
    """
    if not _has_more_than_text(trainer.model):
        return
    columns = {"image", "images"} & set(dataset.column_names or [])  # what TRL adds to the prompts in training
    if columns:
        raise ValueError(
            f"the column {min(columns)!r} gives the prompts images, which a probe cannot show the policy; give a "
            "probe_dataset of text alone."
        )
    prompts: Iterable = dataset["prompt"] if isinstance(dataset, Dataset) else []  # a stream may have no end
    with_images = [row for row, prompt in enumerate(prompts) if _has_image(prompt)]
    if with_images:
        raise ValueError(
            f"the prompt in row {with_images[0]} has an image, which a probe cannot show the policy; give a "
            "probe_dataset of text alone."
        )


def check_text_parameters(trainer: RolloutTrainer, parameters: str) -> None:
    """
    Checks that what is measured is within the language model.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            Holds the policy.
        parameters (`str`):
            Which parameters are measured, as for [`~passk_trl.gradients.gram_matrix`].

    Raises:
        `ValueError`: if the policy reads images too, and a trainable parameter that reads them would be measured.
    """
    model = trainer.model
    if not _has_more_than_text(model):
        return
    names = {module: name for name, module in model.named_modules()}
    text = model.get_base_model() if hasattr(model, "get_base_model") else model
    language = [names[module] for module in (text.get_decoder(), text.get_output_embeddings()) if module is not None]
    depth = len(language[0].split("."))
    outside: dict[str, int] = {}
    for each in select(model, parameters):
        if not any(_is_within(names[owner], language) for owner, _ in each.owners):
            module = ".".join(each.name.split(".")[:depth])  # beside the language model
            outside[module] = outside.get(module, 0) + each.size
    if outside:
        raise ValueError(
            f"the policy trains {' and '.join(f'{module} ({size} parameters)' for module, size in outside.items())}, "
            "which prompts of text do not reach; freeze what reads images, or measure the language model alone with "
            f"parameters={'|'.join(name.split('.')[-1] for name in language)!r}."
        )


def _has_more_than_text(model: Any) -> bool:
    """Whether the model has parts for other things than text."""
    return model.config.get_text_config() is not model.config


def _has_image(prompt: Any) -> bool:
    contents = [] if isinstance(prompt, str) else [message["content"] for message in prompt]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(part["type"] != "text" for part in parts)


def _is_within(name: str, modules: list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
