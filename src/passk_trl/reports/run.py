"""Reads what was measured from the directory of a run that has ended or is still running."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from passk_trl.interference.alarm import Alarm
from passk_trl.records import ProbeRecord, alarms_of, read_lines, weighed_k


__all__ = ["ForecastOutcome", "MeasuredChange", "Run", "read_run", "run_so_far"]

_EVALUATED = re.compile(r"eval_passk/pass@(\d+)")
_EVALUATED_HAT = re.compile(r"eval_passk/pass\^(\d+)")


@dataclass(frozen=True, eq=False)
class Run:
    """
    What was measured in a run directory.

    Args:
        name (`str`): the objective of training, such as `"pass@8"`.
        training_k (`int`): the k of training.
        evaluated (`dict[int, dict[int, float]]`): pass@k by step, then by k, from the evaluations.
        probes (`dict[int, ProbeRecord]`): the monitor's records by step.
        steps (`tuple[int, int]`, *optional*): steps done and planned, if there is a trainer state.
        notes (`tuple[str, ...]`): sentences for the reader about what could not be read.
        evaluated_hat (`dict[int, dict[int, float]]`): pass^k likewise, where it was logged.
        beside (`tuple[str, ...]`): the directories of the runs that its recipe compares it with.
    """

    name: str
    training_k: int
    evaluated: dict[int, dict[int, float]]
    probes: dict[int, ProbeRecord]
    steps: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    evaluated_hat: dict[int, dict[int, float]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    @property
    def ks(self) -> list[int]:
        """The evaluated k up to the k of training, or all if pass@1 was trained."""
        evaluated = sorted(next(iter(self.evaluated.values()), {}))
        return [k for k in evaluated if k <= self.training_k] if self.training_k > 1 else evaluated

    def values(self, step: int, ks: list[int]) -> dict[str, float]:
        """What the evaluation at a step measured at some k, by name: pass@k, and pass^k where it was logged."""
        at, hat = self.evaluated[step], self.evaluated_hat.get(step, {})
        return {f"pass@{k}": at[k] for k in ks if k in at} | {f"pass^{k}": hat[k] for k in ks if k in hat}

    @property
    def shown_k(self) -> int:
        """The k shown beside 1: the k of training or, if that is 1, the largest evaluated k, or else n / 2."""
        if self.training_k > 1:
            return self.training_k
        probed = [int(weighed_k(record.report, self.training_k)) for record in self.probes.values()]
        return max(self.ks or probed or [1])

    @property
    def forecast_outcomes(self) -> list["ForecastOutcome"]:
        """The forecast change of pass@1 at each probe, and the change that was measured until the next probe."""
        records = list(self.probes.values())
        outcomes = []
        for record, following in zip(records, [*records[1:], None], strict=False):
            if record.forecast is None or 1 not in record.forecast.ks.tolist():
                continue
            at_1 = record.forecast.ks.tolist().index(1)
            change, margin = float(record.forecast.change[at_1]), float(record.forecast.margin[at_1])
            if not math.isfinite(margin):  # the probe tells nothing
                continue
            measured = _measured_change(record, following) if following else None
            outcomes.append(ForecastOutcome(record.step, change, margin, measured))
        return outcomes

    @cached_property
    def _alarms(self) -> dict[int, Alarm]:
        """Where the run stood after each probe, by step."""
        objective = None if self.name == f"pass@{self.training_k}" else self.name
        return dict(zip(self.probes, alarms_of(list(self.probes.values()), objective), strict=True))

    def in_conflict(self, record: ProbeRecord) -> bool:
        """Whether the probes up to this one show that the objective of training works against pass@1."""
        return self._alarms[record.step].in_conflict

    @property
    def latest_probe(self) -> ProbeRecord:
        """The probe at the largest step."""
        return self.probes[max(self.probes)]

    @property
    def shown_probe(self) -> ProbeRecord:
        """The probe whose curve is shown: the first in conflict or, if there is none, the latest."""
        return next((record for record in self.probes.values() if self.in_conflict(record)), self.latest_probe)

    def why_shown(self, record: ProbeRecord) -> str:
        """Why this one of `chosen_probes` is shown."""
        is_first = record is self.shown_probe and self.in_conflict(record)
        return f"the first report with {self.name} in conflict" if is_first else "the latest report"

    @property
    def chosen_probes(self) -> list[ProbeRecord]:
        """The probes that are shown in detail: the first in conflict, and the latest."""
        return list({record.step: record for record in (self.shown_probe, self.latest_probe)}.values())


@dataclass(frozen=True)
class MeasuredChange:
    """
    The change of pass@1 that was measured between two probes.

    Args:
        step (`int`): step of the later probe.
        change (`float`): mean change of pass@1 of the probe prompts per step.
        margin (`float`): half the width of its interval.
    """

    step: int
    change: float
    margin: float


@dataclass(frozen=True)
class ForecastOutcome:
    """
    The change of pass@1 that a probe forecast, and the change that was measured afterwards.

    Args:
        step (`int`): step of the probe.
        change (`float`): forecast change of pass@1 by the optimizer step just before the probe.
        margin (`float`): half the width of its interval.
        measured ([`MeasuredChange`], *optional*): change until the next probe; `None` at the latest probe.
    """

    step: int
    change: float
    margin: float
    measured: MeasuredChange | None


def _measured_change(record: ProbeRecord, following: ProbeRecord) -> MeasuredChange:
    (mean, margin), (later_mean, later_margin) = record.pass_at(1), following.pass_at(1)
    steps = following.step - record.step
    return MeasuredChange(following.step, (later_mean - mean) / steps, math.hypot(margin, later_margin) / steps)


def read_run(directory: str | Path) -> Run:
    """
    Reads the files of a run that exist: `conflict.jsonl`, which the monitor writes; the trainer state, at the end of
    the run or at the latest checkpoint; and `training_args.json`, which `passk-trl train` writes when it starts.

    Args:
        directory (`str` or `Path`): the `output_dir` of the run.

    Returns:
        [`Run`]

    Raises:
        `FileNotFoundError`: if the directory does not exist, or holds no run.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is not a directory: give the output_dir of a run.")
    path = directory / "conflict.jsonl"
    states = _trainer_states(directory)
    if not path.exists() and not states:
        raise FileNotFoundError(
            f"{directory} has neither conflict.jsonl nor trainer_state.json: give the output_dir of a run after its "
            "first report or checkpoint."
        )
    probes, notes = _read_probes(path)
    contents = {path: _read_json(path) for path in states}
    notes += [
        f"{path.relative_to(directory)} cannot be read and is left out." for path in states if not contents[path]
    ]
    state = max(contents.values(), key=lambda content: content.get("global_step", 0), default={})
    if not states:
        notes.append("There is no trainer state yet, so no evaluation is shown. The first checkpoint writes one.")
    config = _read_json(directory / "training_args.json")
    training_k = config.get("pass_at_k") or next((record.training_k for record in reversed(probes.values())), 1)
    return Run(
        name=config.get("objective") or f"pass@{training_k}",
        training_k=training_k,
        evaluated=_evaluated(state.get("log_history", []), _EVALUATED),
        probes=probes,
        steps=(state["global_step"], state["max_steps"]) if {"global_step", "max_steps"} <= state.keys() else None,
        notes=tuple(notes),
        evaluated_hat=_evaluated(state.get("log_history", []), _EVALUATED_HAT),
        beside=tuple(config.get("beside") or ()),
    )


def run_so_far(name: str, training_k: int, log_history: list[dict[str, Any]], records: Sequence[ProbeRecord]) -> Run:
    """
    What was measured in a run that is in memory.

    Args:
        name (`str`): the objective of training, such as `"pass@8"`.
        training_k (`int`): the k of training.
        log_history (`list[dict]`): what the trainer has logged.
        records (`Sequence[ProbeRecord]`): the monitor's records.
    """
    evaluated, hat = (_evaluated(log_history, each) for each in (_EVALUATED, _EVALUATED_HAT))
    return Run(name, training_k, evaluated, {record.step: record for record in records}, evaluated_hat=hat)


def _read_probes(path: Path) -> tuple[dict[int, ProbeRecord], list[str]]:
    if not path.exists():
        return {}, []
    lines, corrupt = read_lines(path)
    probes = {record.step: record for record in map(ProbeRecord.from_dict, lines)}
    note = f"Lines of conflict.jsonl that are not a record, and were skipped: {len(corrupt)}."
    return dict(sorted(probes.items())), [note] if corrupt else []


def _trainer_states(directory: Path) -> list[Path]:
    """The trainer states of the end of the run and of the latest checkpoint. A resumed run may have both."""
    checkpoints = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    latest = sorted(checkpoints, key=lambda path: int(path.name.removeprefix("checkpoint-")))[-1:]
    return [path for folder in (directory, *latest) if (path := folder / "trainer_state.json").exists()]


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a file; empty if it does not exist or is incomplete, as while a checkpoint is being written."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _evaluated(log_history: list[dict[str, Any]], name: re.Pattern) -> dict[int, dict[int, float]]:
    """A metric by step, then by k, from the log of a trainer."""
    evaluated: dict[int, dict[int, float]] = {}
    for entry in log_history:
        values = {int(match[1]): value for key, value in entry.items() if (match := name.fullmatch(key))}
        if values:
            evaluated[entry["step"]] = values
    return evaluated
