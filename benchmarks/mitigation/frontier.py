"""The best pass@k that a policy's skills allow on ambiguous wording, if only its choice of rules could change.

A completion names a rule and applies it. Its success is the product of three numbers: the odds of the rule, how often
it is named, and how well it is then applied. A policy that names one rule more often names the other less often. So
with fixed skills, pass@k and pass@1 have a frontier that no choice of prompt weights crosses; only skill moves it.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from exact_success import token_log_probs
from passk_trl.policy import demonstration
from passk_trl.tasks import RULES, odds_of_difference


class Skills(NamedTuple):
    """
    For N questions and the two rules, `(N, 2)` each.

    Attributes:
        named_N2 (`torch.Tensor`): how often the policy names the rule.
        applied_N2 (`torch.Tensor`): how often it then applies the rule rightly.
        odds_N2 (`torch.Tensor`): how often the question asks for the rule.
    """

    named_N2: Tensor
    applied_N2: Tensor
    odds_N2: Tensor


def skills_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> Skills:
    """Exact, from the model's own probabilities. `rows` are questions of `ambiguous_arithmetic` at its defaults."""
    completions = []
    for row in rows:
        a, b = map(int, re.findall(r"\d+", row["prompt"][0]["content"]))
        completions += [demonstration({"rule": rule, "answer": apply(a, b)}) for rule, apply in RULES.items()]
    with torch.no_grad():
        log_probs = token_log_probs(model, tokenizer, [row for row in rows for _ in RULES], completions).double()
    difference = torch.tensor([odds_of_difference(row["wording"]) for row in rows], dtype=torch.float64)
    return Skills(
        log_probs[:, 0].exp().view(-1, 2),
        log_probs[:, 1:].sum(dim=1).exp().view(-1, 2),
        torch.stack([1 - difference, difference], dim=1),
    )


def expected_pass_at_k(skills: Skills, k: int, named_N2: Tensor | None = None) -> Tensor:
    """Pass@k of each question, `(N,)`, averaged over the rules it may ask for; `named_N2` replaces the skills' own."""
    named_N2 = skills.named_N2 if named_N2 is None else named_N2
    return (skills.odds_N2 * (1 - (1 - named_N2 * skills.applied_N2) ** k)).sum(dim=1)


def best_pass_at_k(skills: Skills, k: int, pass1: float, ways: int = 501) -> float:
    """The highest mean pass@k over all ways to name the rules with a mean pass@1 of at least `pass1`; NaN if none."""
    shares = torch.linspace(0, 1, ways, dtype=torch.float64)
    named = torch.stack([1 - shares, shares], dim=1)
    pass1_NW, passk_NW = (
        torch.stack([expected_pass_at_k(skills, attempts, way) for way in named], dim=1) for attempts in (1, k)
    )

    def means(multiplier: float) -> tuple[float, float]:
        best = (passk_NW + multiplier * pass1_NW).argmax(dim=1, keepdim=True)
        return float(pass1_NW.gather(1, best).mean()), float(passk_NW.gather(1, best).mean())

    # Both are concave in how often a rule is named, so some multiplier gives each point of the frontier.
    below, above = 0.0, 1e3
    if means(below)[0] >= pass1:
        return means(below)[1]
    if means(above)[0] < pass1:
        return float("nan")
    for _ in range(60):
        middle = (below + above) / 2
        below, above = (middle, above) if means(middle)[0] < pass1 else (below, middle)
    (less, more_passk), (enough, passk) = means(below), means(above)
    return passk + (more_passk - passk) * (enough - pass1) / (enough - less)


def reachable_gain(start: Skills, end: Skills, k: int) -> float:
    """By how much pass@k could rise from the start with pass@1 no lower, given the skills at the end."""
    return best_pass_at_k(end, k, float(expected_pass_at_k(start, 1).mean())) - float(
        expected_pass_at_k(start, k).mean()
    )
