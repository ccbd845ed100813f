"""The trainers of TRL that sample rollouts of prompts in groups and score them, as a probe does."""

from typing import TypeAlias

from trl import GRPOTrainer, RLOOTrainer


RolloutTrainer: TypeAlias = GRPOTrainer | RLOOTrainer
"""Or a subclass of one. They have the same methods for generation and rewards."""
