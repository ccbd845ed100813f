"""How often a run without a conflict raises an alarm, and how much later than at a single look a conflict is told.

    python benchmarks/alarms.py

Simulates runs of 100 probes. A probe is a z-score: its distance from 0 in standard errors. Compares the alarm of
`passk_trl.interference.alarm` with that of each probe's own 95% interval.
"""

import argparse
import math

import numpy as np

from passk_trl.interference.alarm import alarms


PROBES, CALM = 100, 30  # probes of a run, and how many of them come before the conflict
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0)  # standard errors of one probe


def by_evidence(z_T: np.ndarray) -> float:
    """The probe at which the alarm of the package comes, from 1; infinity if it does not."""
    states = [each.in_conflict for each in alarms(z_T)]
    return states.index(True) + 1 if True in states else math.inf


def by_each_interval(z_T: np.ndarray) -> float:
    """The first probe whose own 95% interval is below 0."""
    below = z_T < -1.959964
    return int(below.argmax()) + 1 if below.any() else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000, help="Runs without a conflict.")
    parser.add_argument("--delayed_runs", type=int, default=400, help="Runs with a conflict, of each strength.")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rules = {"evidence": by_evidence, "each interval": by_each_interval}

    print(f"{args.runs} runs of {PROBES} probes, whose inner product is 0 throughout: share that raise an alarm")
    z_RT = rng.standard_normal((args.runs, PROBES))
    for name, rule in rules.items():
        print(f"  {name:>14}: {100 * np.mean([rule(z_T) < math.inf for z_T in z_RT]):.1f}%")

    print(f"\nA conflict that begins after {CALM} probes two standard errors above 0: probes until the alarm, median")
    print(f"{'standard errors below 0':>26}" + "".join(f"{name:>16}" for name in rules))
    for strength in STRENGTHS:
        z_RT = rng.standard_normal((args.delayed_runs, PROBES)) + 2.0
        z_RT[:, CALM:] -= 2.0 + strength
        delays = []
        for rule in rules.values():
            first_R = np.array([rule(z_T) for z_T in z_RT])
            delays.append(np.median(first_R[first_R > CALM]) - CALM)
        print(f"{strength:>26}" + "".join(f"{delay:>16.0f}" for delay in delays))


if __name__ == "__main__":
    main()
