"""Pass@k without losing pass@1: controllers decide, batch by batch, which gradient the trainer ascends.

[`Guard`], [`Mix`] and [`Governor`] are the ones to use; `control/experiments` holds those that were tried beside them.
A controller is a callback of TRL's trainer. What it computes stands in modules that load no training framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .by_name import CONTROLLERS
    from .controller import Controller, Decision, Situation
    from .experiments.aggregated import Aggregated
    from .experiments.baselines import Annealed, FixedMix
    from .experiments.difficulty_weights import DifficultyWeights
    from .experiments.guarded_mix import GuardedMix
    from .experiments.interference_weights import InterferenceWeights
    from .governor import Governor
    from .guard import Guard
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

_MODULE_OF = {
    "CONTROLLERS": ".by_name",
    "Controller": ".controller",
    "Decision": ".controller",
    "Situation": ".controller",
    "Guard": ".guard",
    "Mix": ".mix",
    "Governor": ".governor",
    "Aggregated": ".experiments.aggregated",
    "Annealed": ".experiments.baselines",
    "FixedMix": ".experiments.baselines",
    "DifficultyWeights": ".experiments.difficulty_weights",
    "GuardedMix": ".experiments.guarded_mix",
    "InterferenceWeights": ".experiments.interference_weights",
}


def __getattr__(name: str) -> Any:
    # Looked up at first use: the mathematics of this room must not wait for TRL.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
