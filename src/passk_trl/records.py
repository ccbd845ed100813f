"""`conflict.jsonl`: the record that each probe of a run leaves on disk. Reading it needs no TRL."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .estimators import pass_at_k
from .interference import InterferenceReport, ObjectiveReport
from .interference.alarm import Alarm, alarms
from .interference.forecasting import Forecast
from .interference.intervals import student_t
from .interference.json_safe import json_safe, tensor_from


__all__ = ["ProbeRecord", "read_lines", "read_records"]

logger = logging.getLogger(__name__)

PROMPTS_SHOWN = 8
"""How many of the prompts that lower the inner product most are recorded with their text, and shown."""


@dataclass(frozen=True, eq=False)
class ProbeRecord:
    """
    One probe of a run: what the monitor keeps, and a line of `conflict.jsonl`.

    Args:
        step (`int`): the step after which the probe was made, 0 before the first.
        training_k (`int`): the k trained for.
        report ([`InterferenceReport`]): the conflict over k.
        rows (`list[int]`): the row of each prompt in the probe dataset; empty in a file that does not have them.
        texts (`dict[int, str]`): by row, the text of the prompts that interfere most; empty without a probe dataset.
        objectives (`dict[str, ObjectiveReport]`): by name, the conflict of other objectives than pass@k.
        forecast ([`Forecast`], *optional*): what the step just taken does to pass@k, where it was forecast.
        probe_seconds (`float`, *optional*): how long the probe took.
        covered_parameters (`int`, *optional*): number of trainable parameters whose gradients are taken in.
        trainable_parameters (`int`, *optional*): number of all of them.
        left_out_parameters (`list[str]`, *optional*): names of those that are not taken in.
        in_graph_parameters (`int`, *optional*): number of those taken in whose gradients autograd forms.
        gram (`str`, *optional*): how gradients were kept, `"exact"` or `"sketch"`.
        first_step (`int`, *optional*): of a window of training prompts, the step of the oldest; `None` for a probe.
        looks (`dict[int, tuple[float, float]]`, *optional*): of a ride, what its alarm looks at. For each number of
            prompts: the inner product and half the width of its interval, of a block's first so many prompts. NaN
            where no block reached this number since the record before. `None` for a probe.
        drift (`tuple[float, float]`, *optional*): of a ride, the inner product with pass@1's gradient of the block
            that was completed since the record before, less that of the block before it, and half the width of its
            interval. NaN where none was completed or none was before. `None` for a probe.
    """

    step: int
    training_k: int
    report: InterferenceReport
    rows: list[int]
    texts: dict[int, str]
    objectives: dict[str, ObjectiveReport]
    forecast: Forecast | None
    probe_seconds: float | None = None
    covered_parameters: int | None = None
    trainable_parameters: int | None = None
    left_out_parameters: list[str] | None = None
    in_graph_parameters: int | None = None
    gram: str | None = None
    first_step: int | None = None
    looks: dict[int, tuple[float, float]] | None = None
    drift: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as a line of the file has it, JSON-safe. What it does not have is left out."""
        content = {
            "step": self.step,
            "training_k": self.training_k,
            "probe_seconds": self.probe_seconds,
            "covered_parameters": self.covered_parameters,
            "trainable_parameters": self.trainable_parameters,
            "left_out_parameters": self.left_out_parameters,
            "in_graph_parameters": self.in_graph_parameters,
            "gram": self.gram,
            "first_step": self.first_step,
            "looks": [json_safe([size, *look]) for size, look in self.looks.items()] if self.looks else None,
            "drift": json_safe(list(self.drift)) if self.drift else None,
            "rows": self.rows or None,
            "report": self.report.to_dict(),
            "objectives": [each.to_dict() for each in self.objectives.values()] or None,
            "forecast": self.forecast.to_dict() if self.forecast else None,
            "texts": [list(row_and_text) for row_and_text in self.texts.items()] or None,
        }
        return {name: value for name, value in content.items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ProbeRecord":
        """
        The record that [`to_dict`] wrote, here or in an earlier version.

        Raises:
            `KeyError`, `TypeError`: if it lacks a field that every record has.
        """
        return cls(
            step=content["step"],
            training_k=content.get("training_k", 1),
            report=InterferenceReport.from_dict(content["report"]),
            rows=content.get("rows", []),
            texts=dict(content.get("texts", [])),
            objectives={each["name"]: ObjectiveReport.from_dict(each) for each in content.get("objectives", [])},
            forecast=Forecast.from_dict(content["forecast"]) if content.get("forecast") else None,
            probe_seconds=content.get("probe_seconds"),
            covered_parameters=content.get("covered_parameters"),
            trainable_parameters=content.get("trainable_parameters"),
            left_out_parameters=content.get("left_out_parameters"),
            in_graph_parameters=content.get("in_graph_parameters"),
            gram=content.get("gram"),
            first_step=content.get("first_step"),
            looks={size: _pair(look) for size, *look in content["looks"]} if content.get("looks") else None,
            drift=_pair(content["drift"]) if content.get("drift") else None,
        )

    @property
    def coverage(self) -> float | None:
        """The share of the trainable parameters whose gradients are taken in, where it was recorded."""
        if self.covered_parameters is None or self.trainable_parameters is None:
            return None
        return self.covered_parameters / self.trainable_parameters

    def against_pass1(self, objective: str | None = None) -> tuple[float, float]:
        """
        The inner product with pass@1's gradient, and half the width of its interval: of the objective, if one is named
        and was measured, or else of pass@k at the k trained for. NaN where that k was not measured, and at k = 1,
        which cannot be in conflict with itself.
        """
        if objective is not None and objective in self.objectives:
            measured = self.objectives[objective]
            return measured.inner_product, measured.inner_product_high - measured.inner_product
        k, report = self.training_k, self.report
        if k == 1 or k not in report.ks.tolist():
            return math.nan, math.nan
        value, high = (float(curve[report.at(k)]) for curve in (report.inner_product, report.inner_product_high))
        return value, high - value

    def pass_at(self, k: int) -> tuple[float, float]:
        """
        pass@k of the probe prompts, and half the width of its interval: Σ s v / Σ s, with v the unbiased estimate of
        each prompt and s its sampling weight. With weights that differ it is the ratio of two means. It is never above
        1, and its spread is that of v, not of s. The interval is NaN where v is the same for all prompts, such as 0
        where no rollout is correct: then nothing tells how much it would differ for others.
        """
        report = self.report
        weights_N = report.sampling_weights / report.sampling_weights.mean()
        values_N = torch.as_tensor(pass_at_k(report.num_samples, report.num_correct, k))
        mean, num_prompts = (weights_N * values_N).mean(), len(values_N)
        if len(values_N[weights_N > 0].unique()) == 1:
            return mean.item(), math.nan
        standard_error = (weights_N * (values_N - mean)).std().item() / math.sqrt(num_prompts)
        return mean.item(), student_t(report.confidence, num_prompts - 1) * standard_error


def _pair(numbers: list) -> tuple[float, float]:
    first, second = tensor_from(numbers).tolist()
    return first, second


def read_lines(path: str | Path) -> tuple[list[dict[str, Any]], list[int]]:
    """
    The records of a `conflict.jsonl`, in order, and the numbers of the lines that are not records.

    A last line that is not complete is skipped without being counted: a crash leaves such a line, and so does a probe
    that is being written.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    records = {number: _parsed(line) for number, line in enumerate(lines, start=1)}
    corrupt = [number for number, record in records.items() if record is None and number < len(lines)]
    return [record for record in records.values() if record is not None], corrupt


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
        ProbeRecord.from_dict(content)
    except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, or not a record
        return None
    return content


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `conflict.jsonl`, in order. A line that is not a record is skipped, with a warning."""
    records, corrupt = read_lines(path)
    if corrupt:
        logger.warning("%s: skipped what is not a record, on line %s.", path, ", ".join(map(str, corrupt)))
    return records


def alarms_of(records: Sequence[ProbeRecord], objective: str | None = None) -> list[Alarm]:
    """
    Where a run stands after each of its records, by [`~passk_trl.interference.alarms`]. The windows of a ride overlap.
    Its looks of one size do not, so they count in place of the windows. A record of a ride from before there were
    looks counts for nothing.
    """
    if not records:
        return []
    looks = [{0: each.against_pass1(objective)} if each.first_step is None else each.looks or {} for each in records]
    sizes = sorted({size for each in looks for size in each}) or [0]
    table_TJ2 = np.array([[each.get(size, (math.nan, math.nan)) for size in sizes] for each in looks])
    return alarms(table_TJ2[..., 0], table_TJ2[..., 1], records[-1].report.confidence)


def weighed_k(report: InterferenceReport, training_k: int) -> float:
    """
    The k whose prompt weights are shown: the largest measured k up to the k trained for, or up to n / 2 if that is 1,
    since all weights are 1 at k = 1.
    """
    aim = training_k if training_k > 1 else int(report.num_samples.min()) // 2
    return max((k for k in report.ks.tolist() if k <= aim), default=float(report.ks[0]))
