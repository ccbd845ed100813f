"""Rewards to pass@k / max@k values, prompt weights and advantages: pure functions on groups of rollouts.

Notation, the same in every function: a prompt x has a group of n rollouts y_1 … y_n, of which c are correct. The
*others* of a rollout are the n − 1 other rollouts of its group; m of them are correct. C(a, b) is the binomial
coefficient.

Everything here follows from one number and one identity. The number is the probability that k rollouts drawn from the
group without replacement are all wrong, C(n−c, k) / C(n, k) (`log_all_wrong`). The identity: the others of a rollout
estimate the weight that pass@k gives to the prompt, without using the rollout itself (`passk_weight_from_others`),

    t(m) = k C(n−1−m, k−1) / C(n−1, k−1),    E[t(m)] = w_k(p) = k (1−p)^(k−1).

Hence, for *any* baseline b(m) of the others alone with b(0) = 0,

    A_j = t(m_j) r_j − b(m_j)    satisfies    E[(1/n) Σ_j A_j ∇log π(y_j|x)] = w_k(p) ∇p = ∇pass@k(x),

because E[∇log π] = 0 removes b. An unbiased estimator is a choice of b, and nothing else (`_against_baseline`).
b(0) = 0 is needed because a group could otherwise learn from thresholds that none of its rollouts passes, and its
rewards do not say which thresholds those are.

Real rewards r_(1) ≤ … ≤ r_(n) are sums of successes over thresholds, r = r_(1) + Σ_l (r_(l+1) − r_(l)) 1[r > r_(l)].
So the maximum of k rewards is the same sum of pass@k's, and an advantage is the 0/1 advantage summed over the gaps
between sorted rewards (`sum_over_gaps`). Tied rewards have no gap between them and get the same advantage.
"""

from .advantages import ESTIMATORS, UNBIASED_ESTIMATORS, allowed_k, passk_advantages, weighted_advantages
from .values import max_at_k, pass_at_k, pass_hat_k
from .weights import prompt_weight, unbiased_prompt_weight


__all__ = [
    "ESTIMATORS",
    "UNBIASED_ESTIMATORS",
    "allowed_k",
    "max_at_k",
    "pass_at_k",
    "pass_hat_k",
    "passk_advantages",
    "prompt_weight",
    "unbiased_prompt_weight",
    "weighted_advantages",
]
