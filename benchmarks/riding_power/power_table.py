"""The table of a comparison, from its results."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from simulated import AFTER, LAST, Outcome


FOLDER = Path(__file__).parent
NAMES = {"quickstart": "quickstart", "smollm2": "SmolLM2"}


def summary(monitor: str, outcomes: Sequence[Outcome], length: float, last: int = LAST) -> dict[str, Any]:
    """
    Medians over runs of `last` steps: half the width of the interval, as a cosine, and the step of the alarm, with its
    tenth and its nine tenths. `None` is none.
    """
    margins, announced = zip(*outcomes, strict=True)
    cosines = [median(each) / length for each in zip(*margins, strict=True)]
    quantiles = np.quantile(announced, [0.5, 0.1, 0.9], method="inverted_cdf")
    return {
        "monitor": monitor,
        "after": [round(each, 4) if np.isfinite(each) else None for each in cosines],
        "announced": [round(float(each)) if each <= last else None for each in quantiles],
        "runs that announce": sum(bool(each <= last) for each in announced),
        "runs": len(announced),
    }


def table(results: dict[str, Any]) -> str:
    """In Markdown: a line for each policy and monitor."""
    first, *others = AFTER
    after = [f"after {first} steps", *(f"after {each:,}" for each in others)]
    lines = [f"| policy | monitor | {' | '.join(after)} | announced | how often |", "|" + "---|" * (4 + len(AFTER))]
    for policy, result in results.items():
        lines += [f"| {NAMES[policy]} | {_cells(row)} |" for row in result["rows"]]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> str:
    margins = ["–" if each is None else f"{each:.2f}" for each in row["after"]]
    middle, low, high = ("–" if each is None else f"{each:,}" for each in row["announced"])
    announced = middle if row["runs"] == 1 else f"{middle} ({low} to {high})"
    return " | ".join([row["monitor"], *margins, announced, f"{row['runs that announce']} of {row['runs']}"])
