"""Values as JSON knows them: without NaN and infinity, which are no JSON."""

import math
from typing import Any

import torch
from torch import Tensor


def json_safe(content: Any) -> Any:
    """The content with tensors and tuples as lists, and `None` in the place of NaN and infinity."""
    if isinstance(content, Tensor):
        return json_safe(content.tolist())
    if isinstance(content, dict):
        return {key: json_safe(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_safe(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def tensor_from(numbers: list, dtype: torch.dtype = torch.float64) -> Tensor:
    """The numbers of a list that [`json_safe`] made of a tensor; NaN in the place of `None`."""
    return torch.tensor([math.nan if number is None else number for number in numbers], dtype=dtype)
