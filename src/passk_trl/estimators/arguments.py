"""Arguments: converted to float64, and refused outside their range."""

import math
import numbers
import operator
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


def broadcast(**arguments: Any) -> tuple[Tensor, ...]:
    """The arguments as float64 tensors of one shape."""
    tensors = [_as_float64(name, value) for name, value in arguments.items()]
    try:
        return torch.broadcast_tensors(*tensors)
    except RuntimeError:
        shapes = ", ".join(f"`{name}` {tuple(t.shape)}" for name, t in zip(arguments, tensors, strict=True))
        raise ValueError(f"Shapes must broadcast, but got {shapes}.") from None


def require_between(
    name: str, value: Tensor, low: float, high: float | Tensor, high_name: str = "", whole: bool = True
) -> None:
    """`ValueError` unless every entry of `value` is from `low` to `high`, and an integer if `whole`."""
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


def checked_rewards(rewards: Any) -> Tensor:
    """[..., n] the rewards in float64, finite but for the NaN of unscored rollouts."""
    values = _as_float64("rewards", rewards)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"`rewards` must have shape [..., n], n at least 1, but got shape {tuple(values.shape)}.")
    infinite = values.isinf()
    if infinite.any():
        got = values[infinite][0].item()
        raise ValueError(f"`rewards` must be finite, or NaN for a rollout that could not be scored, but got {got}.")
    return values


def number_if_all_numbers(value: Tensor, *arguments: Any) -> float | Tensor:
    """A plain number if all arguments were plain numbers."""
    return value.item() if all(isinstance(argument, numbers.Number) for argument in arguments) else value


def whole_k(k: Any, allowed: range, num_rollouts: int, estimator: str | None = None) -> int:
    """k as an `int`; `ValueError` unless it is an integer in `allowed`."""
    try:
        index = operator.index(k)
    except (TypeError, ValueError, RuntimeError):  # what floats and tensors of several elements raise
        index = None
    if index is not None and index in allowed:
        return index
    if not allowed:
        fewest = num_rollouts + allowed.start - allowed.stop + 1
        raise ValueError(
            f"`estimator={estimator!r}` needs at least {fewest} rollouts on the last axis of `rewards`, but got "
            f"{num_rollouts} (with `k={k!r}`)."
        )
    span = f"an integer from {allowed[0]} to {allowed[-1]}" if len(allowed) > 1 else f"{allowed[0]}"
    using = f" with `estimator={estimator!r}`" if estimator else ""
    message = f"`k` must be {span} for groups of {num_rollouts} rollouts{using}, but got {k!r}"
    if estimator and index is not None and 1 <= index <= num_rollouts:
        message += "; set `estimator='weighted_loo'` to use that k"  # it takes every k up to n
    raise ValueError(f"{message}.")
