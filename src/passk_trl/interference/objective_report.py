"""The report of one probe on another objective than pass@k: its conflict with pass@1."""

import math
from dataclasses import dataclass, fields
from typing import Any

from .json_safe import json_safe


@dataclass(frozen=True)
class ObjectiveReport:
    """
    What [`measure_objectives`] found for one objective E_x[f(p(x))] with gradient ∇J_f.

    Attributes:
        name (`str`): of the objective.
        inner_product (`float`): the estimate of ⟨∇J_f, ∇J_1⟩; its scale is that of f.
        inner_product_low, inner_product_high (`float`): ends of its interval (Student's t). NaN where no pair
            of prompts has a gradient and a weight: the probe then tells nothing, and `inner_product` is 0.
        norm_squared (`float`): the estimate of ‖∇J_f‖²; it may be negative.
        cosine (`float`): of ∇J_f and ∇J_1; NaN where a squared norm is estimated ≤ 0. As in [`InterferenceReport`].
        cosine_low, cosine_high (`float`): ends of its interval; NaN where the probe cannot tell the cosine.
    """

    name: str
    inner_product: float
    inner_product_low: float
    inner_product_high: float
    norm_squared: float
    cosine: float
    cosine_low: float
    cosine_high: float

    @property
    def conflict(self) -> bool:
        """Whether the whole interval for ⟨∇J_f, ∇J_1⟩ is below 0."""
        return self.inner_product_high < 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe numbers and strings; NaN becomes `None`."""
        return json_safe(vars(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "ObjectiveReport":
        """The report that [`to_dict`] wrote, here or in an earlier version, which had less."""
        numbers = {each.name: content.get(each.name) for each in fields(cls) if each.name != "name"}
        return cls(content["name"], **{name: math.nan if value is None else value for name, value in numbers.items()})
