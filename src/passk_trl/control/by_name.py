"""The controllers by the names that a recipe's `mitigation:` block uses."""

from .controller import Controller
from .experiments.aggregated import Aggregated
from .experiments.baselines import Annealed, FixedMix
from .experiments.difficulty_weights import DifficultyWeights
from .experiments.guarded_mix import GuardedMix
from .experiments.interference_weights import InterferenceWeights
from .governor import Governor
from .guard import Guard
from .mix import Mix


CONTROLLERS: dict[str, type[Controller]] = {
    "guard": Guard,
    "mix": Mix,
    "governor": Governor,
    # Experiments, and two baselines.
    "guarded_mix": GuardedMix,
    "difficulty_weights": DifficultyWeights,
    "interference_weights": InterferenceWeights,
    "aggregated": Aggregated,
    "fixed_mix": FixedMix,
    "annealed": Annealed,
}
"""Controllers by name, in the order of preference: the first three, then the experiments."""
