"""How often the band of `passk-trl evaluate`, and the set of k at which a loss begins, hold the truth.

    python benchmarks/band_coverage.py

It draws pairs of checkpoints from four worlds of prompts whose pass@k is known exactly. For each pair it draws prompts
and success counts. It asks whether the 95% band of the difference, that of one curve, and the set of the crossing hold
the truth, the bands at all k at once. Beside it stands what 95% intervals of each k by itself do. With 2,000 pairs a
share of 95% has a standard error of 0.5%. It takes about two minutes on one core.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv, expit, logit

from passk_trl.estimators import pass_at_k
from passk_trl.evaluation import Band, loss_crossing, simultaneous_band


NUM_ROLLOUTS, CONFIDENCE, NUM_RESAMPLES = 32, 0.95, 500
Z = 1.96


class World(NamedTuple):
    """Success rates of two checkpoints on as many kinds of prompts, all equally frequent."""

    trained: np.ndarray
    base: np.ndarray


def _world(a: float, b: float, train: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> World:
    """Base rates from Beta(a, b). `train` changes them, on a share v of the prompts of each rate."""
    u, v = (grid.ravel() for grid in np.meshgrid((np.arange(1000) + 0.5) / 1000, (np.arange(50) + 0.5) / 50))
    base = betaincinv(a, b, u).clip(1e-9, 1 - 1e-9)
    return World(train(base, v), base)


WORLDS = {
    "gain, then loss": _world(0.6, 1.2, lambda p, v: np.where(v < 0.12, 0.1 * p, expit(1.5 * logit(p) + 1.2))),
    "alike": _world(0.5, 1.5, lambda p, v: p),
    "hard prompts": _world(0.1, 2.0, lambda p, v: np.where(v < 0.5, 0.3 * p, np.minimum(2 * p, 1))),
    "mostly solved": _world(2.0, 0.8, lambda p, v: np.where(v < 0.06, 0.0, np.sqrt(p))),
}


class Held(NamedTuple):
    """The shares of pairs in which all k are held."""

    difference: float
    curve: float
    crossing: float
    each_k_by_itself: float


def coverage(world: World, num_prompts: int, num_pairs: int, seed: int = 0) -> Held:
    """Draws pairs of evaluations and counts how often bands and crossing sets hold the truth."""
    ks = np.arange(1, NUM_ROLLOUTS + 1)
    trained_K, base_K = ((1 - (1 - rates[:, None]) ** ks).mean(axis=0) for rates in world)
    truth_K = trained_K - base_K
    table = torch.as_tensor(pass_at_k(NUM_ROLLOUTS, torch.arange(NUM_ROLLOUTS + 1)[:, None], torch.from_numpy(ks)))
    crossing = loss_crossing(Band(truth_K.tolist(), truth_K.tolist(), truth_K.tolist())).k
    rng = np.random.default_rng(seed)
    held = np.zeros(4)
    for pair in range(num_pairs):
        kinds = rng.integers(len(world.base), size=num_prompts)
        trained_NK, base_NK = (table[rng.binomial(NUM_ROLLOUTS, rates[kinds])] for rates in world)
        values_NK = trained_NK - base_NK
        difference = simultaneous_band(values_NK, (-1, 1), CONFIDENCE, NUM_RESAMPLES, seed=pair)
        curve = simultaneous_band(trained_NK, (0, 1), CONFIDENCE, NUM_RESAMPLES, seed=pair)
        found = loss_crossing(difference)
        margin_K = Z * values_NK.numpy().std(axis=0, ddof=1) / num_prompts**0.5
        held += [
            _holds(difference, truth_K),
            _holds(curve, trained_K),
            found.possibly_never if crossing is None else any(low <= crossing <= high for low, high in found.possible),
            bool((np.abs(np.array(difference.value) - truth_K) <= margin_K).all()),
        ]
    return Held(*(held / num_pairs))


def _holds(band: Band, truth_K: np.ndarray) -> bool:
    return bool(((np.array(band.low) <= truth_K) & (truth_K <= np.array(band.high))).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="pairs of evaluations in each row (default: 2000)")
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 64, 128, 500], help="prompts of an evaluation")
    options = parser.parse_args()
    print("| world | prompts | band of the difference | band of a curve | set of the crossing | each k by itself |")
    print("|---|---|---|---|---|---|")
    for name, world in WORLDS.items():
        for num_prompts in options.prompts:
            held = coverage(world, num_prompts, options.pairs)
            print(f"| {name} | {num_prompts} | {' | '.join(f'{100 * share:.1f}%' for share in held)} |", flush=True)


if __name__ == "__main__":
    main()
