"""How often a run without a conflict raises an alarm, and how much later than at a single look a conflict is told.

    python benchmarks/alarms.py

Simulates runs of 100 probes. Compares the alarm of `passk_trl.interference.alarm` with that of each probe's own 95%
interval. The estimates are normal; those of probes of 64 prompts in a world whose gradients are known, at the k where
the true inner product is 0; those of a ride's looks at its blocks in that world, where some of the prompts that carry
no advantage are measured, here with all their rollouts, and weighed; and those of the looks of a real ride on a tiny
policy at learning rate 0, less their means.
"""

import argparse
import math
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq

from passk_trl import ConflictMonitor
from passk_trl.estimators import passk_advantages
from passk_trl.interference import ProbeSample, measure_interference
from passk_trl.interference.alarm import alarms
from passk_trl.interference.measuring import against_pass1
from passk_trl.interference.pair_sums import PairSums
from passk_trl.interference.pairs import weights_at
from passk_trl.monitor.ridden_batch import BatchPrompts
from passk_trl.monitor.window import look_sizes


sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import tiny
import trainers
from bandit_world import WORLD


PROBES, CALM = 100, 30  # probes of a run, and how many of them come before the conflict
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0)  # standard errors of one probe
NORMAL = 1.959964  # the margin of an estimate whose error is 1
WINDOW, WINDOWS_OF_POLICY = 2048, (128, 512)  # of a ride in the world, and of real ones
BATCH, ROLLOUTS = 32, 16  # prompts of a batch of a ride, and rollouts of each


def by_evidence(values_T: np.ndarray, margins_T: np.ndarray) -> float:
    """The probe at which the alarm of the package comes, from 1; infinity if it does not."""
    states = [each.in_conflict for each in alarms(values_T, margins_T)]
    return states.index(True) + 1 if True in states else math.inf


def by_each_interval(values_T: np.ndarray, margins_T: np.ndarray) -> float:
    """The first probe whose own 95% interval is below 0, or that of one of its looks."""
    below = (values_T < -margins_T).reshape(len(values_T), -1).any(axis=1)
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


def look(sample: ProbeSample, k: float) -> tuple[float, float]:
    """⟨∇J_k, ∇J_1⟩ and half the width of its interval."""
    pairs = PairSums.of(sample)
    ks_1 = torch.tensor([k], dtype=torch.float64)
    return against_pass1(pairs, weights_at(ks_1, pairs.num_samples, pairs.num_correct, "unbiased")[0], 0.95)


def ridden(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The same of looks at the blocks of a ride for pass@8, each `(blocks, looks)`: prompts with more than 8 correct
    rollouts are drawn and weighed.
    """
    border = brentq(lambda k: WORLD.inner_product([k]).item(), 2, 8)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(blocks):
        gram_NN, correct_N = WORLD.probe(WINDOW, ROLLOUTS, generator)
        success_NG = (torch.arange(ROLLOUTS) < correct_N[:, None]).double()
        weights = [
            BatchPrompts.of(batch_PG, passk_advantages(batch_PG, 8) != 0, generator).sampling_weights_P
            for batch_PG in success_NG.split(BATCH)
        ]
        sample = ProbeSample.of(gram_NN, correct_N, ROLLOUTS, torch.cat(weights))
        rows.append([look(sample.keep(torch.arange(size)), border) for size in look_sizes(WINDOW)])
    values, margins = np.moveaxis(np.array(rows), 2, 0)
    return values - values.mean(axis=0), margins


def ridden_policy(blocks: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a real ride at learning rate 0, in blocks of prompts × 8 rollouts, at the k trained for, which is 4."""
    steps = window // BATCH  # of a block
    with tempfile.TemporaryDirectory() as folder:
        monitor = ConflictMonitor(ride=True, window=window, every=steps)
        trainer = trainers.build(
            folder,
            parts={"callbacks": [monitor]},
            pass_at_k=4,
            learning_rate=0.0,
            per_device_train_batch_size=8 * BATCH,
            gradient_accumulation_steps=1,
            max_steps=blocks * steps,
            logging_steps=blocks * steps,
        )
        trainer.train_dataset = tiny.questions(window * blocks)
        trainer.train()
    values, margins = np.moveaxis(np.array([list(record.looks.values()) for record in monitor.records]), 2, 0)
    assert len(values) == blocks
    assert np.isfinite(values).all()
    return values - values.mean(axis=0), margins


def share_alarmed(values_RT: np.ndarray, margins_RT: np.ndarray) -> str:
    runs = list(zip(values_RT, margins_RT, strict=True))
    shares = {name: np.mean([rule(*run) < math.inf for run in runs]) for name, rule in RULES.items()}
    return ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000, help="Runs without a conflict.")
    parser.add_argument("--probes", type=int, default=4_000, help="Probes in the world.")
    parser.add_argument("--blocks", type=int, default=1_000, help="Blocks of a ride in the world.")
    parser.add_argument("--real_steps", type=int, default=4_800, help="Steps of each ride on a tiny policy.")
    parser.add_argument("--delayed_runs", type=int, default=400, help="Runs with a conflict, of each strength.")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{args.runs} runs of {PROBES} probes, whose inner product is 0 throughout: share that raise an alarm")
    shape = (args.runs, PROBES)
    print(f"  normal estimates: {share_alarmed(rng.standard_normal(shape), np.full(shape, NORMAL))}")
    estimates = {
        f"{args.probes} probes": partial(measured, args.probes),
        f"{args.blocks} blocks of {WINDOW} prompts of a ride": partial(ridden, args.blocks),
    }
    for window in WINDOWS_OF_POLICY:
        blocks = args.real_steps * BATCH // window
        name = f"{blocks} blocks of {window} prompts of a real ride at learning rate 0"
        estimates[name] = partial(ridden_policy, blocks, window)
    for name, estimate in estimates.items():
        values, margins = estimate()
        drawn_RT = rng.integers(0, len(values), shape)
        print(f"  drawn from {name}: {share_alarmed(values[drawn_RT], margins[drawn_RT])}", flush=True)
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
