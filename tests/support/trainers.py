"""Trainers of the tiny policy, rewards for them, and what they computed."""

from collections import defaultdict
from math import comb
from statistics import fmean

import torch
from trl import GRPOConfig

import tiny
from passk_trl import PassKGRPOConfig, PassKGRPOTrainer


def build(output_dir, trainer_class=PassKGRPOTrainer, reward_funcs=tiny.starts_low, parts=None, **options):
    """A trainer of the tiny policy; `parts` are further arguments of the trainer, `options` those of its config."""
    config = PassKGRPOConfig if issubclass(trainer_class, PassKGRPOTrainer) else GRPOConfig
    return trainer_class(
        tiny.policy(),
        reward_funcs,
        tiny.training_args(output_dir, config, **{"max_steps": 3, "gradient_checkpointing": False, **options}),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        **(parts or {}),
    )


def text_of(completion) -> str:
    return completion[0]["content"]


def place_of_first_character(completions, **kwargs) -> list[float]:
    """A real reward, negative for some."""
    return [tiny.CHARACTERS.find(text_of(completion)[:1]) / 4 - 1 for completion in completions]


def starts_low_if_a_digit(completions, **kwargs) -> list[float | None]:
    """Cannot score what starts with no digit."""
    return [float(text[0] < "5") if text[:1].isdigit() else None for text in map(text_of, completions)]


def generate_and_score(trainer) -> dict:
    """One generation batch, with the advantages TRL's loss would get."""
    trainer.model.train()
    return trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


def logged_rewards(trainer, num_generations: int = 8) -> torch.Tensor:
    """[F, P, G] the rewards that TRL itself put into its completions table."""
    return torch.tensor(list(trainer._logs["rewards"].values())).unflatten(1, (-1, num_generations))


class WatchedTrainer(PassKGRPOTrainer):
    """Keeps (prompt, completion, advantage) of every row that enters TRL's loss."""

    def _compute_loss(self, model, inputs):
        def texts(name):
            return [
                self.processing_class.decode(ids[mask.bool()], skip_special_tokens=True)
                for ids, mask in zip(inputs[f"{name}_ids"], inputs[f"{name}_mask"], strict=True)
            ]

        self.seen = getattr(self, "seen", [])
        self.seen += zip(texts("prompt"), texts("completion"), inputs["advantages"].tolist(), strict=True)
        return super()._compute_loss(model, inputs)


def groups_of(seen, reward_func) -> tuple[torch.Tensor, torch.Tensor]:
    """[P, G] rewards, computed anew, and advantages of the rows that entered the loss, one group for each prompt."""
    groups = defaultdict(list)
    for prompt, completion, advantage in seen:
        [reward] = reward_func([[{"content": completion}]])
        groups[prompt].append((reward, advantage))
    rewards_PG, advantages_PG = torch.tensor(list(groups.values())).unbind(-1)
    return rewards_PG, advantages_PG


class Recorded:
    """The reward `starts_low`, which remembers the groups it scored."""

    __name__ = "recorded"

    def __init__(self, group_size: int):
        self.group_size = group_size
        self.groups: list[tuple[str, list[float]]] = []

    def __call__(self, prompts, completions, **kwargs):
        rewards = tiny.starts_low(completions)
        for first in range(0, len(rewards), self.group_size):
            group = slice(first, first + self.group_size)
            [question] = {text_of(prompt) for prompt in prompts[group]}
            self.groups.append((question, rewards[group]))
        return rewards


def pass_at_k_of(groups, k: int) -> float:
    return fmean(1 - comb(len(g) - int(sum(g)), k) / comb(len(g), k) for g in groups)
