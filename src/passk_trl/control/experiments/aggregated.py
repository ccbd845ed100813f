"""Aggregated: combines the two gradients by a multi-objective aggregator of TorchJD."""

import importlib
from typing import Any

from ..controller import Decision, Situation
from ..mixing import Mixing
from ..two_gradients import nearest_gram, two_gradients


# Those whose weights follow from the Gram matrix alone. They use no chance and no memory, so all ranks agree.
AGGREGATORS = ("UPGrad", "DualProj", "MGDA", "PCGrad", "AlignedMTL")


class Aggregated(Mixing):
    """
    Combines pass@1's and pass@k's gradients by an aggregator of TorchJD, from the Gram matrix of the two that the
    latest probes measured.

    It is blind where [`Mix`] is, and then trains pass@k alone.

    Args:
        aggregator (`str`, *optional*, defaults to `"UPGrad"`):
            `"UPGrad"`, `"DualProj"`, `"MGDA"`, `"PCGrad"` or `"AlignedMTL"`.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are averaged. On a ride, the latest report alone counts.
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
        share = 0.0
        if found.blind is None:
            pass1, passk = self.weighting(nearest_gram(found)).tolist()
            share = min(1.0, max(0.0, pass1 / max(pass1 + passk, 1e-12)))  # AlignedMTL's weights may be negative
        return Decision(self.mixed(now, share, found.mean_weight), {"share": share}, found.blind)
