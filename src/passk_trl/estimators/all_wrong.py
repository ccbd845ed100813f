"""The probability that k rollouts drawn from a group are all wrong, accurate in groups of tens of thousands."""

import math

import torch
from torch import Tensor


def log_all_wrong(num_samples: Tensor, num_correct: Tensor, k: Tensor) -> Tensor:
    """
    log of C(n−c, k) / C(n, k), the probability that k of n rollouts drawn without replacement are all wrong; real k.

    The four log-gammas of this ratio reach 5e5 at n = 50,000, while their sum may be 1e-5: computed directly, the sum
    has a relative error of 1e-6. So the large terms are cancelled by hand. With z = n + 1 and

        f(x) = log Γ(z−x) + x log z − x,    the log ratio is    f(c) − f(0) + f(k) − f(c+k),

    and Stirling's formula gives f, up to a constant, from small numbers: (z−x−½) log1p(−x/z) + δ(z−x). The remaining
    error is about n times the machine epsilon, 1e-11 at n = 50,000.
    """
    z = num_samples + 1
    drawn = torch.stack(torch.broadcast_tensors(num_correct, torch.zeros_like(z), k, num_correct + k))
    rest = torch.where(z > drawn, z - drawn, 1.0)  # 1.0 stands in where the ratio is 0
    f = (rest - 0.5) * torch.log1p(-drawn / z) + _stirling_error(rest)
    ratio = (f[0] - f[1]) + (f[2] - f[3])  # in these pairs it is exactly 0 at c = 0 and at k = 0
    # C(n−c, k) is taken as 0 from its first zero in k on, k = n−c+1; C(·, 0) is always 1
    ratio = torch.where(z > num_correct + k, ratio, -math.inf)
    return torch.where(k == 0, 0.0, ratio)


def _stirling_error(z: Tensor) -> Tensor:
    """δ(z) = log Γ(z) − (z − ½) log z + z − ½ log 2π, for z > 0."""
    direct = torch.lgamma(z) - (z - 0.5) * torch.log(z) + z - 0.5 * math.log(2 * math.pi)
    inverse = 1 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    return torch.where(z < 16, direct, series)  # from 16 on the next term of the series is below 1e-15
