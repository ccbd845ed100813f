"""How much pass@k a policy that cannot tell which rule applies could have, had it only named its rules at will.

On ambiguous wording a completion names a rule and applies it: success is the odds of the rule, times how often it is
named, times how well it is then applied. Naming one rule more is naming the other less, so that with what a policy can
apply, pass@k and pass@1 have a frontier, which no choice of prompt weights crosses: beyond it only skill leads.
"""

import re
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from exact_success import token_log_probs
from passk_trl.policy import demonstration
from passk_trl.tasks import RULES, WORDINGS


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
    difference = torch.tensor([0.25 * (1 + 0.3 * WORDINGS[row["wording"]]) for row in rows], dtype=torch.float64)
    return Skills(
        log_probs[:, 0].exp().view(-1, 2),
        log_probs[:, 1:].sum(dim=1).exp().view(-1, 2),
        torch.stack([1 - difference, difference], dim=1),
    )


def pass_at_k(of: Skills, named_N2: Tensor, k: int) -> Tensor:
    """Of each question, expected over the rule that is asked for."""
    return (of.odds_N2 * (1 - (1 - named_N2 * of.applied_N2) ** k)).sum(dim=1)


def best_pass_at_k(of: Skills, k: int, pass1: float) -> float:
    """The highest mean pass@k among all ways of naming the rules whose mean pass@1 is at least `pass1`."""
    shares = torch.linspace(0, 1, 501, dtype=torch.float64)
    named = torch.stack([1 - shares, shares], dim=1)  # (ways, 2)
    each = [
        torch.stack([pass_at_k(of, way, attempts) for way in named], dim=1)  # (N, ways)
        for attempts in (1, k)
    ]

    def means(multiplier: float) -> tuple[float, float]:
        best = (each[1] + multiplier * each[0]).argmax(dim=1, keepdim=True)
        return float(each[0].gather(1, best).mean()), float(each[1].gather(1, best).mean())

    # Both are concave in how often a rule is named, so a multiplier finds every point of the frontier.
    most = 1e3
    if means(most)[0] < pass1:
        return float("nan")
    if means(0.0)[0] >= pass1:
        return means(0.0)[1]
    multiplier = brentq(lambda m: means(m)[0] - pass1, 0.0, most, xtol=1e-6)
    return means(multiplier)[1]


def reachable_gain(start: Skills, end: Skills, k: int) -> float:
    """By how much pass@k could rise from the start, with pass@1 no lower, by the skills of the end."""
    pass1, passk = (float(pass_at_k(start, start.named_N2, attempts).mean()) for attempts in (1, k))
    return best_pass_at_k(end, k, pass1) - passk
