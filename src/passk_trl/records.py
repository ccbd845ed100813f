"""`conflict.jsonl`: what each probe of a run leaves on disk, written by the monitor and read without TRL."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .estimators import pass_at_k
from .interference import InterferenceReport, ObjectiveReport
from .interference.forecasting import Forecast
from .interference.intervals import student_t


__all__ = ["ProbeRecord", "read_lines", "read_records"]

logger = logging.getLogger(__name__)

PROMPTS_SHOWN = 8
"""How many of the prompts that lower the inner product most are recorded with their text, and shown."""

# A prompt's text is cut to this many characters.
_CHARACTERS_KEPT = 2000


@dataclass(frozen=True, eq=False)
class ProbeRecord:
    """
    One probe of a run, as `conflict.jsonl` has it.

    Args:
        step (`int`): the step at whose end it was made, 0 before the first.
        training_k (`int`): the k trained for.
        report ([`InterferenceReport`]): the conflict over k.
        rows (`list[int]`): the row of each prompt in the probe dataset; empty where it was not recorded.
        texts (`dict[int, str]`): by row, the text of the prompts that interfere most, where it was recorded.
        objectives (`dict[str, ObjectiveReport]`): by name, the conflict of other objectives than pass@k.
        forecast ([`Forecast`], *optional*): what the step just taken does to pass@k, where it was forecast.
    """

    step: int
    training_k: int
    report: InterferenceReport
    rows: list[int]
    texts: dict[int, str]
    objectives: dict[str, ObjectiveReport]
    forecast: Forecast | None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ProbeRecord":
        """
        The record of a line.

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
        )

    def pass_at(self, k: int) -> tuple[float, float]:
        """Unbiased pass@k of the probe prompts, and half the width of its interval."""
        report = self.report
        values_N = report.sampling_weights * torch.as_tensor(pass_at_k(report.num_samples, report.num_correct, k))
        num_prompts = len(values_N)
        standard_error = values_N.std().item() / math.sqrt(num_prompts)
        return values_N.mean().item(), student_t(report.confidence, num_prompts - 1) * standard_error


def read_lines(path: str | Path) -> tuple[list[dict[str, Any]], list[int]]:
    """
    The records of a `conflict.jsonl`, in order, and the numbers of the lines that are none.

    A last line that is not whole, as a crash or a probe that is being written leaves it, is passed over in silence.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    records = {number: _parsed(line) for number, line in enumerate(lines, start=1)}
    corrupt = [number for number, record in records.items() if record is None and number < len(lines)]
    return [record for record in records.values() if record is not None], corrupt


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
        ProbeRecord.from_dict(content)
    except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, or no record
        return None
    return content


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `conflict.jsonl`, in order. A line that is none is skipped with a warning that names it."""
    records, corrupt = read_lines(path)
    if corrupt:
        logger.warning("%s: skipped what is no record, on line %s.", path, ", ".join(map(str, corrupt)))
    return records


def in_conflict_at(report: InterferenceReport, k: float) -> bool:
    """Whether k was measured and found in conflict: an earlier run may have measured other k."""
    return k in report.ks.tolist() and report.in_conflict(k)


def weighed_k(report: InterferenceReport, training_k: int) -> float:
    """The measured k whose weights say most: that trained for or, since all weights are 1 there, not 1 but n / 2."""
    aim = training_k if training_k > 1 else int(report.num_samples.min()) // 2
    return max((k for k in report.ks.tolist() if k <= aim), default=float(report.ks[0]))


def text_of(prompt: str | list[dict[str, Any]]) -> str:
    """What a reader is shown of a prompt."""
    return prompt if isinstance(prompt, str) else "\n\n".join(str(message.get("content")) for message in prompt)


def cut(text: str, characters: int = _CHARACTERS_KEPT) -> str:
    """The beginning of a text, with an ellipsis where something follows."""
    return text[:characters] + "…" * (len(text) > characters)
