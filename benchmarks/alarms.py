"""How often a run without a conflict raises an alarm, and how much later than at a single look a conflict is told.

    python benchmarks/alarms.py

Simulates runs of 100 probes. Compares the alarm of `passk_trl.interference.alarm` with that of each probe's own 95%
interval. The estimates are normal, or those of probes of 64 prompts in a world whose gradients are known, at the k
where the true inner product is 0.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq

from passk_trl.interference import measure_interference
from passk_trl.interference.alarm import alarms


sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from bandit_world import WORLD


PROBES, CALM = 100, 30  # probes of a run, and how many of them come before the conflict
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0)  # standard errors of one probe
NORMAL = 1.959964  # the margin of an estimate whose error is 1


def by_evidence(values_T: np.ndarray, margins_T: np.ndarray) -> float:
    """The probe at which the alarm of the package comes, from 1; infinity if it does not."""
    states = [each.in_conflict for each in alarms(values_T, margins_T)]
    return states.index(True) + 1 if True in states else math.inf


def by_each_interval(values_T: np.ndarray, margins_T: np.ndarray) -> float:
    """The first probe whose own 95% interval is below 0."""
    below = values_T < -margins_T
    return int(below.argmax()) + 1 if below.any() else math.inf


RULES = {"evidence": by_evidence, "each interval": by_each_interval}


def measured(probes: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and margins of probes of 64 prompts × 16 rollouts, at the k at which ⟨∇J_k, ∇J_1⟩ = 0."""
    border = brentq(lambda k: WORLD.inner_product([k]).item(), 2, 8)
    generator = torch.Generator().manual_seed(0)
    reports = (measure_interference(*WORLD.probe(64, 16, generator), 16, [1, border]) for _ in range(probes))
    rows = [(each.inner_product[1].item(), each.inner_product_high[1].item()) for each in reports]
    values, highs = np.array(rows).T
    return values - values.mean(), highs - values  # the mean of so many probes is not 0 itself


def share_alarmed(values_RT: np.ndarray, margins_RT: np.ndarray) -> str:
    runs = list(zip(values_RT, margins_RT, strict=True))
    shares = {name: np.mean([rule(*run) < math.inf for run in runs]) for name, rule in RULES.items()}
    return ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000, help="Runs without a conflict.")
    parser.add_argument("--probes", type=int, default=4_000, help="Probes in the world.")
    parser.add_argument("--delayed_runs", type=int, default=400, help="Runs with a conflict, of each strength.")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{args.runs} runs of {PROBES} probes, whose inner product is 0 throughout: share that raise an alarm")
    shape = (args.runs, PROBES)
    print(f"  normal estimates: {share_alarmed(rng.standard_normal(shape), np.full(shape, NORMAL))}")
    values, margins = measured(args.probes)
    drawn_RT = rng.integers(0, args.probes, shape)
    print(f"  drawn from {args.probes} probes: {share_alarmed(values[drawn_RT], margins[drawn_RT])}")
    print(f"\nA conflict that begins after {CALM} probes two standard errors above 0: probes until the alarm, median")
    print(f"{'standard errors below 0':>26}" + "".join(f"{name:>16}" for name in RULES))
    for strength in STRENGTHS:
        values_RT = rng.standard_normal((args.delayed_runs, PROBES)) + 2.0
        values_RT[:, CALM:] -= 2.0 + strength
        delays = []
        for rule in RULES.values():
            first_R = np.array([rule(values_T, np.full(PROBES, NORMAL)) for values_T in values_RT])
            delays.append(np.median(first_R[first_R > CALM]) - CALM)
        print(f"{strength:>26}" + "".join(f"{delay:>16.0f}" for delay in delays))


if __name__ == "__main__":
    main()
