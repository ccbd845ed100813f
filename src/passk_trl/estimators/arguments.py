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
import numbers
from typing import Any

import torch
from torch import Tensor


def _as_float64(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`{name}` must be real numbers, but got {value!r}.") from None
    if tensor.is_complex():
        raise ValueError(f"`{name}` must be real numbers, but got dtype {tensor.dtype}.")
    return (tensor.cpu() if tensor.is_mps else tensor).double()  # Apple's mps has no float64


def _broadcast(**arguments: Any) -> tuple[Tensor, ...]:
    tensors = [_as_float64(name, value) for name, value in arguments.items()]
    try:
        return torch.broadcast_tensors(*tensors)
    except RuntimeError:
        shapes = ", ".join(f"`{name}` {tuple(t.shape)}" for name, t in zip(arguments, tensors, strict=True))
        raise ValueError(f"Shapes must broadcast, but got {shapes}.") from None


def _require_between(
    name: str, value: Tensor, low: float, high: float | Tensor, high_name: str = "", whole: bool = True
) -> None:
    high = torch.as_tensor(high, dtype=value.dtype, device=value.device).expand_as(value)
    refused = ~((value >= low) & (value <= high) & value.isfinite())
    if whole:
        refused |= value != value.round()
    if not refused.any():
        return
    bound, got = high[refused][0].item(), value[refused][0].item()
    kind = "an integer" if whole else "a number"
    span = f"of at least {low}" if bound == math.inf else f"from {low} to {bound:.15g}"
    raise ValueError(f"`{name}` must be {kind} {span}{f' ({high_name})' if high_name else ''}, but got {got:.15g}.")


def _checked_rewards(rewards: Any) -> Tensor:
    values = _as_float64("rewards", rewards)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"`rewards` must have shape [..., n], n at least 1, but got shape {tuple(values.shape)}.")
    infinite = values.isinf()
    if infinite.any():
        got = values[infinite][0].item()
        raise ValueError(f"`rewards` must be finite, or NaN for a rollout that could not be scored, but got {got}.")
    return values


def _in_dtype_of(rewards: Any, advantages: Tensor) -> Tensor:
    if not isinstance(rewards, Tensor):
        return advantages.to(torch.get_default_dtype())
    return advantages.to(rewards.device, rewards.dtype if rewards.is_floating_point() else torch.get_default_dtype())


def _number_if_all_numbers(value: Tensor, *arguments: Any) -> float | Tensor:
    return value.item() if all(isinstance(argument, numbers.Number) for argument in arguments) else value
