"""Aggregated: combines the two gradients by a multi-objective aggregator of TorchJD."""

import importlib
from typing import Any

from ..controller import Controller, Decision, Situation
from ..mixed_advantages import mixed_advantages
from ..two_gradients import nearest_gram, two_gradients


# Those whose weights follow from the Gram matrix alone. They use no chance and no memory, so all ranks agree.
AGGREGATORS = ("UPGrad", "DualProj", "MGDA", "PCGrad", "AlignedMTL")


class Aggregated(Controller):
    """
    Combines pass@1's and pass@k's gradients by an aggregator of TorchJD, from the Gram matrix of the two that the
    latest probes measured.

    Args:
        aggregator (`str`, *optional*, defaults to `"UPGrad"`):
            `"UPGrad"`, `"DualProj"`, `"MGDA"`, `"PCGrad"` or `"AlignedMTL"`.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are averaged.
    """

    needs_reports = True

    def __init__(self, aggregator: str = "UPGrad", probes: int = 4):
        try:
            aggregation: Any = importlib.import_module("torchjd.aggregation")
        except ImportError as error:
            raise ImportError("'aggregated' needs TorchJD: pip install 'torchjd[quadprog_projector]'.") from error
        if probes < 1:
            raise ValueError(f"probes={probes} is not a number of probes: set at least 1.")
        if aggregator not in AGGREGATORS:
            raise ValueError(f"aggregator={aggregator!r} is unknown: set one of {', '.join(AGGREGATORS)}.")
        self.weighting = getattr(aggregation, f"{aggregator}Weighting")()
        self.probes = probes

    def decide(self, now: Situation) -> Decision:
        found = two_gradients(now.reports[-self.probes :], now.k)
        if found is None:
            return Decision(mixed_advantages(now.rewards_PG, now.k, 0.0), {"share": 0.0})
        pass1, passk = self.weighting(nearest_gram(found)).tolist()
        share = pass1 / max(pass1 + passk, 1e-12)
        return Decision(mixed_advantages(now.rewards_PG, now.k, share, found.mean_weight), {"share": share})
