"""What to train for beyond pass@k: E_x[f(p(x))] for a transform f of a prompt's success probability p.

Since ∇f(p(x)) = f′(p(x)) ∇p(x), an objective is a prompt weight f′(p) with its sample form: an estimate t_N(m) of that
weight from N rollouts of which m are correct. The trainer and the monitor need nothing else. Two identities hold for
any t:

- *training*: with t of the n − 1 others of a rollout, A_j = t_{n−1}(m_j) (r_j − mean of the others) has
  E[(1/n) Σ_j A_j ∇log π(y_j|x)] = E[t_{n−1}] ∇p(x);
- *measuring*: with g = 1/(n−1) Σ_j (r_j − r̄) ∇log π(y_j|x) and c correct of n, E[t_{n−2}(c−1) g] = E[t_{n−2}] ∇p(x),
  although weight and gradient share their rollouts.

The expectation E[t_N] = Σ_m t_N(m) C(N, m) p^m (1−p)^(N−m) is a polynomial in p of degree N at most
([`Objective.expected_weight`]). Every such polynomial has an unbiased sample form, and no other weight has one:

1. *Decisions*. A procedure that depends on k attempts only through the number i of correct ones, and succeeds with
   probability (or scores) g(i), has f(p) = E[g(I)], I ~ Binomial(k, p), and f′(p) = k E[g(I′+1) − g(I′)],
   I′ ~ Binomial(k − 1, p): k times the effect of one more correct attempt. The mean of k (g(i+1) − g(i)) over all
   (k−1)-subsets of the N is unbiased. Pass@k, majority vote, "all k correct" and the expanded log-likelihood are four
   tables g.
2. *The log-likelihood* f = log p has weight 1/p; t_N(m) = (N+1)/(m+1) is unbiased for its expansion to order N + 1.
3. *All others* are plugged in, t_N(m) = f′((m+1)/(N+2)), and biased. In the monitor that is f′(c/n): what RS-GRPO and
   GRPO do with a group of n.

A group whose rollouts are all wrong, or all correct, gets advantages of 0 from every objective.

Real rewards are successes over thresholds z, with f applied at each: the objective is ∫ f(P(r > z)) dz up to a
constant. So pass@k becomes max@k, the expected maximum of k rewards, majority@k their median, and power:k, for a whole
k, their minimum.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from passk_trl.estimators import weighted_advantages


__all__ = [
    "OBJECTIVES",
    "Objective",
    "decision",
    "grpo",
    "majority_at",
    "maxrl",
    "objective_from",
    "pass_at",
    "power",
    "risk",
]

OBJECTIVES = "pass@k, max@k, majority@k (odd k), maxrl, maxrl@k, power:a (a > 0), risk:b (b not 0) and grpo"
"""The names that [`objective_from`] takes, for messages."""


@dataclass(frozen=True)
class Objective:
    """
    A transform f of the success probability p, the prompt weight f′, and the sample form of the weight.

    Attributes:
        name (`str`):
            As in [`objective_from`], and in logs.
        value (`Callable`):
            f, from p to a float64 `torch.Tensor` of the same shape.
        weight (`Callable`):
            f′, likewise.
        sample_weight (`Callable`):
            t, from two float64 tensors that broadcast, N and m, to the estimate of f′(p) from N rollouts of which m
            are correct.
        unbiased (`bool`):
            Whether E[t] = f′(p) exactly, for every p and N ≥ `attempts` − 1.
        attempts (`int`, *optional*, defaults to `1`):
            Rollouts per prompt that training needs, such as k for pass@k; the monitor needs one more.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    weight: Callable[[Tensor], Tensor]
    sample_weight: Callable[[Tensor, Tensor], Tensor]
    unbiased: bool
    attempts: int = 1

    def advantages(self, rewards: Tensor) -> Tensor:
        """
        Advantages whose policy gradient is that of the objective, if its sample form is unbiased.

        Args:
            rewards (`torch.Tensor` of shape `[..., n]`):
                One group on the last axis, 0/1 or real; NaN marks a rollout that could not be scored.

        Returns:
            `torch.Tensor` of shape `[..., n]`, as from [`~passk_trl.estimators.passk_advantages`].

        Raises:
            ValueError: If n is below `attempts`, or `rewards` is empty along its last axis or infinite somewhere.
        """
        return weighted_advantages(rewards, self.sample_weight, fewest=self.attempts)

    def gradient_weight(self, num_samples: Tensor, num_correct: Tensor) -> Tensor:
        """
        ω(n, c) = t_{n−2}(c−1), which turns a prompt's pass@1 gradient g into its gradient of the objective.

        It generalises [`~passk_trl.estimators.unbiased_prompt_weight`] to any objective. At c = 0 and c = n, where
        g = 0, ω is that of the nearest c.

        Args:
            num_samples (`torch.Tensor`):
                Rollouts n of each prompt, more than `attempts` and at least 2.
            num_correct (`torch.Tensor`):
                How many of them are correct. The two broadcast.

        Returns:
            `torch.Tensor`, float64.
        """
        others, correct = torch.broadcast_tensors(num_samples.double() - 2, num_correct.double() - 1)
        return self.sample_weight(others, torch.minimum(correct.clamp(min=0), others))

    def expected_weight(self, p: Tensor, num_others: int) -> Tensor:
        """
        E[t_N], the expectation of the sample form: f′(p) itself if `unbiased`, otherwise a polynomial near it.

        Training with groups of n ascends the objective that has this derivative, with N = n − 1; the monitor measures
        it with N = n − 2.

        Args:
            p (`torch.Tensor`):
                Success probabilities, of any shape.
            num_others (`int`):
                N, at least `attempts` − 1.

        Returns:
            `torch.Tensor` of the shape of `p`, float64.
        """
        others = torch.tensor(float(num_others), dtype=torch.float64)
        counts = torch.arange(num_others + 1, dtype=torch.float64)
        return _expectation(self.sample_weight(others, counts), p)


def objective_from(name: str) -> Objective:
    """
    The objective called `name`.

    | name | f(p) | weight f′(p) | sample form |
    |---|---|---|---|
    | `pass@k`, `max@k` | 1 − (1−p)^k | k (1−p)^(k−1) | unbiased |
    | `majority@k` | P(Binomial(k, p) > k/2) | k C(k−1, h) p^h (1−p)^h, h = (k−1)/2 | unbiased |
    | `maxrl` | log p | 1/p | unbiased for the expansion to order n |
    | `maxrl@k` | Σ_{j≤k} (1 − (1−p)^j)/j | Σ_{j<k} (1−p)^j | unbiased |
    | `power:a` | p^a | a p^(a−1) | unbiased for whole a |
    | `risk:b` | log(1 + p (e^b − 1))/b | (e^b − 1)/(b (1 + p (e^b − 1))) | plugged in |
    | `grpo` | 2 arcsin √p | 1/√(p (1−p)) | plugged in |

    Args:
        name (`str`):
            Such as `"majority@7"`, `"maxrl"` or `"risk:2"`.

    Returns:
        [`Objective`].

    Raises:
        ValueError: If there is no such objective.
    """
    match = re.fullmatch(r"([a-z]+)([@:]?)(\S*)", name)
    kind, number = (match[1] + match[2], match[3]) if match else (name, "")
    try:
        if kind in _WITH_NUMBER:
            return _WITH_NUMBER[kind](number)
        if not number:
            return _WITHOUT_NUMBER[kind]()
    except (KeyError, ValueError):
        pass
    raise ValueError(f"objective={name!r} is unknown; set one of {OBJECTIVES}, such as 'majority@7'.")


def decision(name: str, success: Sequence[float]) -> Objective:
    """
    Any inference procedure that depends on k attempts only through the number of correct ones.

    f(p) = E[g(I)], I ~ Binomial(k, p), a polynomial of degree k; f′(p) = k E[g(I′+1) − g(I′)], I′ ~ Binomial(k−1, p).
    The sample form, k (g(i+1) − g(i)) averaged over all (k−1)-subsets, i of them correct, is unbiased for N ≥ k − 1.

    Args:
        name (`str`):
            What to call it.
        success (`Sequence[float]`):
            g(0) … g(k): the probability that the procedure succeeds, or its score, with i of k attempts correct.

    Returns:
        [`Objective`] with `attempts` k.

    Raises:
        ValueError: If `success` is not at least two finite numbers.
    """
    success_K = torch.tensor(success, dtype=torch.float64)
    if len(success_K) < 2 or not success_K.isfinite().all():
        raise ValueError(f"`success` must be g(0) … g(k), finite numbers for k of at least 1, but got {success!r}.")
    k = len(success_K) - 1
    decides_K = k * success_K.diff()
    return Objective(
        name=name,
        value=lambda p: _expectation(success_K, p),
        weight=lambda p: _expectation(decides_K, p),
        sample_weight=_mean_over_subsets(decides_K),
        unbiased=True,
        attempts=k,
    )


def pass_at(k: int) -> Objective:
    """
    Pass@k: at least one of k attempts is correct. f = 1 − (1−p)^k, weight k (1−p)^(k−1). For real rewards max@k.

    Unbiased. Its advantages are those of the estimator `weighted_loo`.

    Raises:
        ValueError: If `k` is below 1.

    Source: https://huggingface.co/papers/2602.21189, equations 2 and 3; the sample form is PKPO's ρ,
    https://huggingface.co/papers/2505.15201, taken of the others.
    """
    _require_attempts(k)
    return decision(f"pass@{k}", [float(i >= 1) for i in range(k + 1)])


def majority_at(k: int) -> Objective:
    """
    Majority vote: more than half of k attempts are correct, k odd. For real rewards the median of k.

    f = P(Binomial(k, p) > k/2), weight k C(k−1, h) p^h (1−p)^h with h = (k−1)/2: largest at p = ½, where the other
    votes are tied most often. Unbiased. It assumes that all wrong answers agree. If they differ, fewer correct ones
    win, but a 0/1 reward does not say which answers agree.

    Raises:
        ValueError: If `k` is even or below 1.

    Source: majority vote as an objective of training, Tang et al. 2025, https://huggingface.co/papers/2503.19595.
    """
    _require_attempts(k)
    if k % 2 == 0:
        raise ValueError(f"`k` must be odd, because a tie decides nothing, but got {k}.")
    return decision(f"majority@{k}", [float(2 * i > k) for i in range(k + 1)])


def power(exponent: float) -> Objective:
    """
    Power: f = p^a, weight a p^(a−1), a > 0. For a whole a, all of a attempts are correct (real rewards: the minimum).

    a > 1 favours prompts that are mostly solved, a < 1 those that are rarely solved, and a → 0 gives the direction of
    the log-likelihood. Unbiased for a whole a; otherwise plugged in, and biased.

    Raises:
        ValueError: If `exponent` is not positive and finite.
    """
    if not 0 < exponent < math.inf:
        raise ValueError(f"`exponent` must be positive and finite, but got {exponent}.")
    name = f"power:{exponent:g}"
    if exponent == round(exponent):
        return decision(name, [0.0] * round(exponent) + [1.0])
    return _plugged_in(name, lambda p: p**exponent, lambda p: exponent * p ** (exponent - 1))


# The log-likelihood of success -----------------------------------------------------------------------------------


def maxrl(order: int | None = None) -> Objective:
    """
    Log-likelihood of success: f = log p, weight 1/p, or its expansion Σ_{j≤T} (1 − (1−p)^j)/j to a given order T.

    The expansion (log p up to the constant Σ 1/j) has weight Σ_{j<T} (1−p)^j: it sums pass@j in proportions 1/j, and
    is the expected Σ_{j≤I} 1/j with I of T attempts correct. It is unbiased. Without an `order`, the rollouts set it:
    t_N(m) = (N+1)/(m+1) is unbiased for order N + 1, so n in training and n − 1 in a probe of n rollouts.

    Args:
        order (`int`, *optional*):
            T, at least 1. Training then needs groups of at least T; T = 1 is pass@1.

    Raises:
        ValueError: If `order` is below 1.

    Source: MaxRL, Tajwar et al. 2026, https://huggingface.co/papers/2602.02710. Its advantage (r_j − r̄)/r̄ gives the
    gradient that the monitor measures, which is of order n − 1 if groups without success are left out.
    """
    if order is not None:
        _require_attempts(order)
        harmonic = [sum(1 / j for j in range(1, i + 1)) for i in range(order + 1)]
        return decision(f"maxrl@{order}", harmonic)
    return Objective(
        name="maxrl",
        value=torch.log,
        weight=torch.reciprocal,
        sample_weight=lambda others, correct: (others + 1) / (correct + 1),
        unbiased=False,
    )


def risk(beta: float) -> Objective:
    """
    Exponential utility: f = log E[e^(β r)]/β = log(1 + p (e^β − 1))/β, weight (e^β − 1)/(β (1 + p (e^β − 1))).

    β > 0 seeks risk and favours rarely solved prompts, with at most e^β times the weight of a solved one; β < 0 averts
    risk. Plugged in, and biased: the sample form is RS-GRPO's own advantage (e^(β r_j)/mean − 1)/β, except that the
    rollout itself is left out. For real rewards RS-GRPO has another objective than ∫ f(P(r > z)) dz.

    Raises:
        ValueError: If `beta` is 0 or so large that e^|β| overflows.

    Source: RS-GRPO, https://huggingface.co/papers/2509.24261.
    """
    if not 0 < abs(beta) < 700:
        raise ValueError(f"`beta` must be from -700 to 700 and not 0, but got {beta}.")
    gain = math.expm1(beta)
    return _plugged_in(
        f"risk:{beta:g}", lambda p: torch.log1p(gain * p) / beta, lambda p: gain / (beta * (1 + gain * p))
    )


def grpo() -> Objective:
    """
    GRPO's division by the group's standard deviation: f = 2 arcsin √p, weight 1/√(p (1−p)), largest at 0 and 1.

    Plugged in, and biased: finite groups give prompts near p = 0 and 1 less weight. The monitor measures GRPO's own
    gradient with groups of n, without the small constant that TRL adds to the standard deviation. Training leaves the
    rollout itself out; `advantage_estimator="grpo"` of [`~passk_trl.PassKGRPOConfig`] is TRL's GRPO unchanged. For
    real rewards GRPO has another objective than ∫ f(P(r > z)) dz.

    Source: Davis & Recht 2025, https://huggingface.co/papers/2510.13651; GRPO, Shao et al. 2024,
    https://huggingface.co/papers/2402.03300.
    """
    return _plugged_in("grpo", lambda p: 2 * p.sqrt().asin(), lambda p: (p * (1 - p)).rsqrt())


_WITH_NUMBER: dict[str, Callable[[str], Objective]] = {
    "pass@": lambda k: pass_at(int(k)),
    "max@": lambda k: replace(pass_at(int(k)), name=f"max@{int(k)}"),
    "majority@": lambda k: majority_at(int(k)),
    "maxrl@": lambda k: maxrl(int(k)),
    "power:": lambda a: power(float(a)),
    "risk:": lambda b: risk(float(b)),
}
_WITHOUT_NUMBER = {"maxrl": maxrl, "grpo": grpo}


def _require_attempts(k: int) -> None:
    if k < 1:
        raise ValueError(f"`k` must be a number of attempts, at least 1, but got {k}.")


def _plugged_in(name: str, value: Callable[[Tensor], Tensor], weight: Callable[[Tensor], Tensor]) -> Objective:
    """t_N(m) = f′((m+1)/(N+2)): finite where f′(0) or f′(1) is not, and f′(c/n) for N = n − 2, m = c − 1."""
    return Objective(
        name=name,
        value=value,
        weight=weight,
        sample_weight=lambda others, correct: weight((correct + 1) / (others + 2)),
        unbiased=False,
    )


def _mean_over_subsets(table_D: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """
    t_N(m) = Σ_i table_i C(m, i) C(N−m, d−i) / C(N, d): the mean of `table` (of length d + 1) over all d-subsets of N
    rollouts, i of them correct. Its expectation is Σ_i table_i C(d, i) p^i (1−p)^(d−i), for N ≥ d; NaN for N < d.
    """
    degree = len(table_D) - 1
    correct_I = table_D.nonzero().squeeze(-1)  # a single entry for pass@k and majority vote, however large k is

    def sample_weight(others: Tensor, correct: Tensor) -> Tensor:
        others, correct = (each.unsqueeze(-1) for each in torch.broadcast_tensors(others, correct))
        places, values = correct_I.to(others), table_D[correct_I].to(others)
        log_chance = _log_choose(correct, places) + _log_choose(others - correct, degree - places)
        return (values * torch.exp(log_chance - _log_choose(others, torch.full_like(others, degree)))).sum(-1)

    return sample_weight


def _expectation(table_D: Tensor, p: Tensor) -> Tensor:
    """Σ_i table_i C(d, i) p^i (1−p)^(d−i), the expectation of `table` (of length d + 1) at Binomial(d, p)."""
    degree = torch.tensor(len(table_D) - 1.0, dtype=torch.float64)
    counts_D, p = torch.arange(len(table_D), dtype=torch.float64), p.double().unsqueeze(-1)
    log_chance = torch.special.xlogy(counts_D, p) + torch.special.xlog1py(degree - counts_D, -p)
    return (table_D * torch.exp(_log_choose(degree, counts_D) + log_chance)).sum(-1)


def _log_choose(total: Tensor, chosen: Tensor) -> Tensor:
    """log C(total, chosen), −∞ where chosen exceeds total."""
    left = (total - chosen).clamp(min=0)
    log_value = torch.lgamma(total + 1) - torch.lgamma(chosen + 1) - torch.lgamma(left + 1)
    return torch.where(chosen > total, -math.inf, log_value)
