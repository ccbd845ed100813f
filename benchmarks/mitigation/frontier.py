"""How much pass@k a policy that cannot tell which rule applies could have, had it only named its rules at will.

On ambiguous wording a completion names a rule and applies it: success is the odds of the rule, times how often it is
named, times how well it is then applied. Naming one rule more is naming the other less, so that with what a policy can
apply, pass@k and pass@1 have a frontier, which no choice of prompt weights crosses: beyond it only skill leads.
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
    """Of N questions and the two rules: how often each is named, applied rightly once named, and the one asked for."""

    named_N2: Tensor
    applied_N2: Tensor
    odds_N2: Tensor


def skills(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> Skills:
    """Exactly, by the model's own probabilities. `rows` are questions of `ambiguous_arithmetic`, at its defaults."""
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


def expected_pass_at_k(of: Skills, k: int, named_N2: Tensor | None = None) -> Tensor:
    """Of each question, `(N,)`, over the rule that is asked for; with the rules named otherwise if `named_N2`."""
    named_N2 = of.named_N2 if named_N2 is None else named_N2
    return (of.odds_N2 * (1 - (1 - named_N2 * of.applied_N2) ** k)).sum(dim=1)


def best_pass_at_k(of: Skills, k: int, pass1: float, ways: int = 501) -> float:
    """The highest mean pass@k of all ways to name the rules whose mean pass@1 is at least `pass1`; NaN if none."""
    shares = torch.linspace(0, 1, ways, dtype=torch.float64)
    named = torch.stack([1 - shares, shares], dim=1)
    of_pass1, of_passk = (
        torch.stack([expected_pass_at_k(of, attempts, way) for way in named], dim=1) for attempts in (1, k)
    )  # (N, ways)

    def means(multiplier: float) -> tuple[float, float]:
        best = (of_passk + multiplier * of_pass1).argmax(dim=1, keepdim=True)
        return float(of_pass1.gather(1, best).mean()), float(of_passk.gather(1, best).mean())

    # Both are concave in how often a rule is named, so that a multiplier finds every point of the frontier.
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
    """By how much pass@k could rise from the start, with pass@1 no lower, by the skills of the end."""
    return best_pass_at_k(end, k, float(expected_pass_at_k(start, 1).mean())) - float(
        expected_pass_at_k(start, k).mean()
    )
