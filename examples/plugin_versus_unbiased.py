"""Compares the plug-in estimate of the paper's figures with the unbiased one, where the exact value is known.

    python examples/plugin_versus_unbiased.py [--draws 400]

There are two populations: the paper's bandit, by quadrature, and the quickstart's start policy on 400 probe prompts.
Each of these prompts has two right completions, whose probabilities and gradients are computed exactly. Probes of N
random prompts with n rollouts each are drawn from both populations. The script prints how each estimate does, and how
many prompts a probe needs. The policy takes a minute to build the first time, and its rollouts and gradients about two
more.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from exact_success import prompt_ids, success_gradients
from passk_trl.estimators import prompt_weight
from passk_trl.gradients import ScoredRollouts, gram_matrix
from passk_trl.interference import measure_interference, required_probe_size
from passk_trl.policy import cached_policy
from passk_trl.rewards import accuracy_reward
from passk_trl.tasks import ambiguous_arithmetic
from toy_bandit import bandit


Probe = tuple[Tensor, Tensor]  # Gram matrix (N, N), number of correct rollouts (N,)


@dataclass(frozen=True)
class World:
    """A population of prompts with exact inner products, and probes of it."""

    name: str
    inner_product: Callable[[float, float], float]  # ⟨∇J_k, ∇J_m⟩
    probe: Callable[[int, int], Probe]  # of N prompts with n rollouts

    def lengths(self, k: float) -> float:
        """‖∇J_k‖ ‖∇J_1‖, so that an inner product over it is a cosine."""
        return math.sqrt(self.inner_product(k, k) * self.inner_product(1, 1))


# The two populations ----------------------------------------------------------------------------------------------


def bandit_world(p_hard: float, seed: int = 0) -> World:
    theta, population, rng = bandit.THETA_REF, bandit.population(p_hard), np.random.default_rng(seed)

    def inner_product(k: float, m: float) -> float:
        left, right = (bandit.pass_at_k_gradient(theta, population, order) for order in (k, m))
        return float(left @ right)

    def probe(num_prompts: int, num_rollouts: int) -> Probe:
        num_hard = int(rng.binomial(num_prompts, p_hard))
        prompts = bandit.sample(num_prompts - num_hard, num_hard, bandit.SEPARATION, rng)
        c_N = rng.binomial(num_rollouts, bandit.success(theta, prompts))
        # The score of a right action is ±(1 − p)ψ, that of a wrong one ∓pψ. In the centred sum, p cancels.
        size_N = prompts.sign_N * c_N * (num_rollouts - c_N) / (num_rollouts * (num_rollouts - 1))
        gradient_N2 = torch.from_numpy(size_N[:, None] * prompts.features_N2)
        return gradient_N2 @ gradient_N2.T, torch.from_numpy(c_N)

    return World(f"bandit, p_hard = {p_hard:g}", inner_product, probe)


def policy_world(num_prompts: int = 400, replicates: int = 6, num_rollouts: int = 16, seed: int = 0) -> World:
    """Probes are drawn from a pool that has every prompt `replicates` times, each time with rollouts of its own."""
    torch.manual_seed(seed)
    path = cached_policy()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    rows = list(ambiguous_arithmetic(num_prompts, split="probe"))
    prompts = [prompt_ids(tokenizer, row) for row in rows]
    success_N, gradient_ND = success_gradients(model, tokenizer, rows)
    kernel_NN = gradient_ND @ gradient_ND.T / num_prompts**2
    pool = [i for i in range(num_prompts) for _ in range(replicates)]
    rollouts = sampled(model, tokenizer, [rows[i] for i in pool], [prompts[i] for i in pool], num_rollouts)
    gram_RR = gram_matrix(model, rollouts, tokenizer.pad_token_id).gram_NN
    correct_R = rollouts.num_correct_N
    print(f"mean success: {success_N.mean():.4f} exactly, {correct_R.double().mean() / num_rollouts:.4f} sampled")
    generator = torch.Generator().manual_seed(seed)

    def inner_product(k: float, m: float) -> float:
        return float(prompt_weight(success_N, k) @ kernel_NN @ prompt_weight(success_N, m))

    def probe(num_prompts: int, _: int) -> Probe:
        drawn = torch.randperm(len(pool), generator=generator)[:num_prompts]  # a row drawn twice would be a self term
        return gram_RR[drawn][:, drawn], correct_R[drawn]

    return World("quickstart policy", inner_product, probe)


@torch.no_grad()
def sampled(model, tokenizer, rows: list[dict], prompts: list[list[int]], num_rollouts: int) -> ScoredRollouts:
    groups, rewards = [], []
    for first in range(0, len(rows), 32):
        part = slice(first, first + 32)
        batch = tokenizer.pad({"input_ids": prompts[part]}, padding_side="left", return_tensors="pt")
        completions = model.generate(
            **batch, do_sample=True, top_k=0, max_new_tokens=10, num_return_sequences=num_rollouts
        )[:, batch["input_ids"].size(1) :]
        ends = ((completions == tokenizer.eos_token_id).cumsum(1) - (completions == tokenizer.eos_token_id).int()) == 0
        ids = [row[kept].tolist() for row, kept in zip(completions, ends, strict=True)]
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        solutions = [row["solution"] for row in rows[part] for _ in range(num_rollouts)]
        rewards += accuracy_reward([[{"content": text}] for text in texts], solution=solutions)
        groups += [ids[start : start + num_rollouts] for start in range(0, len(ids), num_rollouts)]
    return ScoredRollouts(prompts, groups, torch.tensor(rewards).view(len(rows), num_rollouts))


# The tables ---------------------------------------------------------------------------------------------------------


def compare(world: World, k: int, num_prompts: int, num_rollouts: int, draws: int) -> str:
    """
    A row of the table, over many probes: for each estimate of the inner product, its mean with the standard error of
    that mean, in units of the cosine; how often the 95% interval contains the exact value; and how often the whole
    interval is below 0.
    """
    truth = world.inner_product(k, 1)
    cells = []
    for estimator in ("plugin", "unbiased"):
        if estimator == "unbiased" and k > num_rollouts - 1:
            cells += ["–"] * 3
            continue
        reports = [
            measure_interference(*world.probe(num_prompts, num_rollouts), num_rollouts, [k], estimator=estimator)
            for _ in range(draws)
        ]
        estimates = torch.cat([report.inner_product for report in reports]) / world.lengths(k)
        covered = sum(bool(r.inner_product_low <= truth <= r.inner_product_high) for r in reports) / draws
        alarms = sum(report.in_conflict(k) for report in reports) / draws
        error = estimates.std() / math.sqrt(draws)
        cells += [f"{estimates.mean():+.2f} ± {error:.2f}", f"{covered:.0%}", f"{alarms:.0%}"]
    return " | ".join(
        [world.name, f"{k}", f"{num_rollouts}", f"{num_prompts}", f"{truth / world.lengths(k):+.2f}", *cells]
    )


def sizes(world: World, num_rollouts: int, ks: tuple[int, ...]) -> str:
    """A row: prompts needed to detect a cosine of .4, .2 and .1 at each k, by a first probe of 400 prompts."""
    report = measure_interference(*world.probe(400, num_rollouts), num_rollouts)
    cells = [" / ".join(str(required_probe_size(report, k, cosine)) for cosine in (0.4, 0.2, 0.1)) for k in ks]
    return " | ".join([world.name, str(num_rollouts), *cells])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    policy = policy_world()
    print("| world | k | n | N | cosine | plug-in: mean | covers | alarm | unbiased: mean | covers | alarm |")
    print("|" + "---|" * 11)
    for world, rollouts in ((bandit_world(0.4), (8, 16, 32)), (bandit_world(0.2), (8, 16, 32)), (policy, (16,))):
        for num_rollouts in rollouts:
            for num_prompts in (16, 64, 256):
                for k in (8,) if world is not policy else (4, 8, 15):
                    print(f"| {compare(world, k, num_prompts, num_rollouts, options.draws)} |", flush=True)
    print("\n| world | n | k = 4 | k = 8 |\n|---|---|---|---|")
    for world, num_rollouts in ((bandit_world(0.4), 16), (bandit_world(0.4), 32), (policy, 16)):
        print(f"| {sizes(world, num_rollouts, (4, 8))} |", flush=True)


if __name__ == "__main__":
    main()
