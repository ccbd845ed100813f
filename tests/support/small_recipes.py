"""Recipe files that train the tiny policy for four steps."""

from pathlib import Path

import yaml


RECIPE = {
    "dataset_name": "tiny.splits",
    "reward_funcs": ["tiny.starts_low"],
    "monitor": {"every": 2, "num_prompts": 8, "num_rollouts": 8},
    "bf16": False,
    "disable_tqdm": True,
    "eval_on_start": True,
    "eval_steps": 2,
    "eval_strategy": "steps",
    "learning_rate": 0.01,
    "max_completion_length": 4,
    "max_steps": 4,
    "num_generations": 8,
    "pass_at_k": 4,
    "per_device_eval_batch_size": 8,
    "per_device_train_batch_size": 16,
    "report_to": "none",
    "use_cpu": True,
}


def write_recipe(directory: Path, model: str, **changes) -> str:
    """A recipe file; a change to `None` takes the key out."""
    content = {"model_name_or_path": model, "output_dir": str(directory / "run"), **RECIPE, **changes}
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)
