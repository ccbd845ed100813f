"""How often the 95% intervals of a probe hold the truth, in a world whose gradients are known in closed form.

    python benchmarks/coverage.py

Prints, for k = 2, 4 and 8 of 16 rollouts: the interval of the inner product, the interval of the cosine, how often it
has ends at all, and the band over the three k at once. With whole gradients and with real sketches.
"""

import argparse
import sys
from pathlib import Path

import torch

from passk_trl.interference import measure_interference


sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from bandit_world import WORLD


KS, ROLLOUTS = (2, 4, 8), 16


def coverage(num_prompts: int, draws: int, sketched: bool) -> list[str]:
    """The cells of a row: percentages of the draws."""
    inner_K, cosine_K = WORLD.inner_product(KS), WORLD.cosine(KS)
    generator = torch.Generator().manual_seed(num_prompts)
    inner_held, cosine_held, cosine_told, all_held = torch.zeros(3), torch.zeros(3), torch.zeros(3), 0.0
    for _ in range(draws):
        probe = WORLD.sketched_probe if sketched else WORLD.probe
        report = measure_interference(*probe(num_prompts, ROLLOUTS, generator), ROLLOUTS, KS)
        inner_held += (report.inner_product_low <= inner_K) & (inner_K <= report.inner_product_high)
        cosine_held += ~((report.cosine_low > cosine_K) | (report.cosine_high < cosine_K))
        cosine_told += ~report.cosine_low.isnan()
        all_held += float(
            ((report.inner_product - inner_K).abs() <= report.band_factor * report.inner_product_se).all()
        )
    shares = [(each / draws * 100).tolist() for each in (inner_held, cosine_held, cosine_told)]
    return [*(", ".join(f"{share:.1f}" for share in each) for each in shares), f"{100 * all_held / draws:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=3_000, help="Probes of each row.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{args.draws} probes of each row; k = {', '.join(map(str, KS))}")
    print("| gradients | prompts | inner product | cosine | has ends | band |\n|---|---|---|---|---|---|")
    for sketched in (False, True):
        for num_prompts in (32, 64, 128) if not sketched else (64, 128):
            cells = coverage(num_prompts, args.draws, sketched)
            print(f"| {'sketched' if sketched else 'whole'} | {num_prompts} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
