"""For the same added seconds, how small an inner product is decided: riding against probing with generation.

    OMP_NUM_THREADS=1 python benchmarks/riding_power/run.py [--policies quickstart smollm2] [--runs 200]

The policy stands still, so that the truth is fixed. An audit measures prompts × 16 rollouts. Simulated runs draw
prompts from it, and have the package's estimates and alarm. A prompt that a ride measures by a pass of its own has one
correct and one incorrect rollout, drawn anew each time. The truth is the mean over the audit's pairs of two prompts,
at the k whose cosine is nearest to −.2. Seconds are the processor's: of steps with and without a ride in turn, of a
report on a full window, and of real probes. There are as many probes as take the seconds of the ride. On the
quickstart's policy a real ride at learning rate 0 is measured too. It tells the variance of a ride's sketches, which
is 0 where gradients are kept whole. On SmolLM2 it is the audit's. A probe's is left out.

What is measured is kept in `outputs/riding_power`, and measured anew when the code or the settings change that it
depends on. That takes half an hour on SmolLM2. The runs take minutes. Writes `results.json` and `results.md` beside
this file.
"""

import argparse
import json
from functools import partial
from statistics import mean
from typing import Any

import numpy as np

from measured import OUTPUT, POLICIES, WINDOW, Policy, costs_of, nearest, ride_of, rides_exactly, world_of
from power_table import FOLDER, summary, table
from simulated import AFTER, EVERY, probed, ridden, schedule


WINDOWS, PROBES = (256, WINDOW), (64, 256)
SEEDS = {"quickstart": (0,), "smollm2": ()}  # of real rides: those of SmolLM2 are too slow here


def compare(policy: Policy, runs: int) -> dict[str, Any]:
    """What is measured of a policy, and simulated."""
    world, rng = world_of(policy), np.random.default_rng(0)
    k, truth, at_k = nearest(world.sample)
    length = float((truth.norm_squared[0] * truth.norm_squared[at_k]).sqrt())
    seconds = costs_of(policy, k)
    added = seconds["a ride on a step"] + seconds["a report"] / EVERY
    real = [ride_of(policy, k, seed) for seed in SEEDS[policy.name]]
    sketches = mean(variance for _, variance in real) if real else float(truth.sketch_se[at_k] ** 2)
    rows = []

    def simulate(name: str, run: Any) -> None:
        rows.append(summary(name, [run(rng=rng) for _ in range(runs)], length))
        print(rows[-1], flush=True)

    plans = {window: schedule(window, policy.a_step, rides_exactly(world, window)) for window in WINDOWS}
    for window, plan in plans.items():
        simulate(f"ride, window {window:,}", partial(ridden, world, plan, sketches))
    if sketches > 0:
        simulate("the same, without sketches", partial(ridden, world, plans[WINDOW], 0.0))
    if real:
        name = "a real ride" if len(real) == 1 else "real rides"
        rows.append(summary(f"{name}, window {WINDOW:,}", [outcome for outcome, _ in real], length, max(AFTER)))
    for size in PROBES:
        every = seconds["a probed prompt"] * size / added
        simulate(f"probes of {size}, every {every:,.0f} steps", partial(probed, world, plans[WINDOW], size, every))
    cosine = [round(float(each[at_k]), 4) for each in (truth.cosine, truth.cosine_low, truth.cosine_high)]
    return {"k": k, "cosine": cosine, "a step": policy.a_step, "seconds": seconds, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--runs", type=int, default=200, help="Simulated runs of each monitor.")
    options = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    new = {name: compare(POLICIES[name], options.runs) for name in options.policies}
    path = FOLDER / "results.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    results = {name: {**before, **new}[name] for name in POLICIES if name in {**before, **new}}
    path.write_text(json.dumps(results, indent=1) + "\n")
    (FOLDER / "results.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
