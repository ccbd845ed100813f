"""Pass@k without losing pass@1: controllers, which decide batch by batch what the trainer ascends."""

from .aggregated import Aggregated
from .baselines import Annealed, FixedMix
from .controller import Controller, Decision, Situation
from .difficulty_weights import DifficultyWeights
from .governor import Governor
from .guard import Guard
from .guarded_mix import GuardedMix
from .interference_weights import InterferenceWeights
from .mix import Mix


__all__ = [
    "CONTROLLERS",
    "Aggregated",
    "Annealed",
    "Controller",
    "Decision",
    "DifficultyWeights",
    "FixedMix",
    "Governor",
    "Guard",
    "GuardedMix",
    "InterferenceWeights",
    "Mix",
    "Situation",
]

CONTROLLERS: dict[str, type[Controller]] = {
    "governor": Governor,
    "mix": Mix,
    "interference_weights": InterferenceWeights,
    "difficulty_weights": DifficultyWeights,
    "guarded_mix": GuardedMix,
    "guard": Guard,
    "fixed_mix": FixedMix,
    "annealed": Annealed,
    "aggregated": Aggregated,
}
"""Controllers by the name that a recipe's `mitigation:` block gives them."""
