"""Rewards to pass@k / max@k values, prompt weights and advantages: pure functions on groups of rollouts.

Notation, the same in every function: a prompt x has a group of n rollouts y_1 … y_n, of which c are correct. The
*others* of a rollout are the n − 1 other rollouts of its group; m of them are correct. C(a, b) is the binomial
coefficient.

Everything here rests on one number, the probability that k rollouts drawn from the group without replacement are all
wrong, C(n−c, k) / C(n, k) (`_log_all_wrong`), and on one identity: without looking at a rollout, its others estimate
the weight that pass@k gives to the prompt (`_weight_from_others`),

    t(m) = k C(n−1−m, k−1) / C(n−1, k−1),    E[t(m)] = w_k(p) = k (1−p)^(k−1).

Hence, for *any* baseline b(m) of the others alone with b(0) = 0,

    A_j = t(m_j) r_j − b(m_j)    satisfies    E[(1/n) Σ_j A_j ∇log π(y_j|x)] = w_k(p) ∇p = ∇pass@k(x),

since E[∇log π] = 0 removes b. An unbiased estimator is a choice of b, and nothing else (`_against_baseline`). Without
b(0) = 0 a group would learn from thresholds that none of its rollouts passes, and which those are its rewards do not
tell.

Real rewards r_(1) ≤ … ≤ r_(n) are sums of successes over thresholds, r = r_(1) + Σ_l (r_(l+1) − r_(l)) 1[r > r_(l)].
So the maximum of k rewards is the same sum of pass@k's, and an advantage is the 0/1 advantage summed over the gaps
between sorted rewards (`_sum_over_gaps`). Tied rewards leave no gap between them and get the same advantage.
"""

import math

import torch
from torch import Tensor


def _log_all_wrong(num_samples: Tensor, num_correct: Tensor, k: Tensor) -> Tensor:
    """
    log of C(n−c, k) / C(n, k), the probability that k of n rollouts drawn without replacement are all wrong; real k.

    The four log-gammas of this ratio reach 5e5 at n = 50,000 while their sum may be 1e-5, so subtracting them leaves
    a relative error of 1e-6. The bulk cancels on paper instead: with z = n + 1 and

        f(x) = log Γ(z−x) + x log z − x,    the log ratio is    f(c) − f(0) + f(k) − f(c+k),

    and Stirling's formula gives f, up to a constant, from small numbers: (z−x−½) log1p(−x/z) + δ(z−x). What is
    left is an error of about n times the machine epsilon, 1e-11 at n = 50,000.
    """
    z = num_samples + 1
    drawn = torch.stack(torch.broadcast_tensors(num_correct, torch.zeros_like(z), k, num_correct + k))
    rest = torch.where(z > drawn, z - drawn, 1.0)  # 1.0 stands in where the ratio is 0
    f = (rest - 0.5) * torch.log1p(-drawn / z) + _stirling_error(rest)
    ratio = (f[0] - f[1]) + (f[2] - f[3])  # so paired, it is exactly 0 at c = 0 and at k = 0
    # C(n−c, k) is 0 from its first zero in k on, at k = n−c+1; C(·, 0) is 1 whatever stands there
    ratio = torch.where(z > num_correct + k, ratio, -math.inf)
    return torch.where(k == 0, 0.0, ratio)


def _stirling_error(z: Tensor) -> Tensor:
    """δ(z) = log Γ(z) − (z − ½) log z + z − ½ log 2π, for z > 0."""
    direct = torch.lgamma(z) - (z - 0.5) * torch.log(z) + z - 0.5 * math.log(2 * math.pi)
    inverse = 1 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    return torch.where(z < 16, direct, series)  # from 16 on the next term of the series is below 1e-15
