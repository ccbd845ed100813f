"""What a run directory holds, while the run is going and after it."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from passk_trl.records import ProbeRecord, in_conflict_at, read_lines, weighed_k


__all__ = ["Foretold", "Outcome", "Run", "read_run"]

_EVALUATED = re.compile(r"eval_passk/pass@(\d+)")


@dataclass(frozen=True, eq=False)
class Run:
    """
    What was measured in a run directory.

    Args:
        name (`str`): what it was trained for, such as `"pass@8"`.
        training_k (`int`): the k trained for.
        evaluated (`dict[int, dict[int, float]]`): pass@k by step, then k, from the evaluations.
        probes (`dict[int, ProbeRecord]`): what the monitor recorded, by step.
        steps (`tuple[int, int]`, *optional*): steps made and to make, as far as a trainer state tells.
        notes (`list[str]`): what a reader must know of what could not be read, a sentence each.
    """

    name: str
    training_k: int
    evaluated: dict[int, dict[int, float]]
    probes: dict[int, ProbeRecord]
    steps: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def ks(self) -> list[int]:
        """The evaluated k up to the k trained for, or all where only pass@1 was trained."""
        evaluated = sorted(next(iter(self.evaluated.values()), {}))
        return [k for k in evaluated if k <= self.training_k] if self.training_k > 1 else evaluated

    @property
    def shown_k(self) -> int:
        """The k shown beside 1: that trained for, or, where that is 1, the largest evaluated, or else n / 2."""
        if self.training_k > 1:
            return self.training_k
        probed = [int(weighed_k(record.report, self.training_k)) for record in self.probes.values()]
        return max(self.ks or probed or [1])

    @property
    def foretold(self) -> list["Foretold"]:
        """What was forecast of pass@1 at each probe, and what came of it until the next."""
        records = list(self.probes.values())
        told = []
        for record, following in zip(records, [*records[1:], None], strict=False):
            if record.forecast is None or 1 not in record.forecast.ks.tolist():
                continue
            at_1 = record.forecast.ks.tolist().index(1)
            change, margin = float(record.forecast.change[at_1]), float(record.forecast.margin[at_1])
            told.append(Foretold(record.step, change, margin, _outcome(record, following) if following else None))
        return told

    def in_conflict(self, record: ProbeRecord) -> bool:
        """Whether what is trained for, a k or another objective, was in conflict with pass@1 at a probe."""
        if self.name in record.objectives:
            return record.objectives[self.name].conflict
        return in_conflict_at(record.report, self.training_k)

    @property
    def latest_probe(self) -> ProbeRecord:
        """The latest probe."""
        return self.probes[max(self.probes)]

    @property
    def shown_probe(self) -> ProbeRecord:
        """The probe whose curve is shown: the first in conflict, or else the latest."""
        return next((record for record in self.probes.values() if self.in_conflict(record)), self.latest_probe)

    @property
    def chosen_probes(self) -> list[ProbeRecord]:
        """The probes worth a closer look: the first in conflict, and the latest."""
        return list({record.step: record for record in (self.shown_probe, self.latest_probe)}.values())


class Outcome(NamedTuple):
    """By how much pass@1 of the probe prompts rose per step until the probe at `step`; `margin`: half its interval."""

    step: int
    change: float
    margin: float


class Foretold(NamedTuple):
    """By how much the step before the probe at `step` was to raise pass@1, and what came; `None` at the latest."""

    step: int
    change: float
    margin: float
    outcome: Outcome | None


def _outcome(record: ProbeRecord, following: ProbeRecord) -> Outcome:
    (mean, margin), (later_mean, later_margin) = record.pass_at(1), following.pass_at(1)
    steps = following.step - record.step
    return Outcome(following.step, (later_mean - mean) / steps, math.hypot(margin, later_margin) / steps)


def read_run(directory: str | Path) -> Run:
    """
    Reads what there is of `conflict.jsonl`, which a monitor writes, of the trainer's state, at the end of the run or
    at the latest checkpoint, and of `training_args.json`, which `passk-trl train` writes when it starts.

    Raises:
        `FileNotFoundError`: if the directory is not there, or is no run's.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is no directory; give the output_dir of a run.")
    path = directory / "conflict.jsonl"
    states = _trainer_states(directory)
    if not path.exists() and not states:
        raise FileNotFoundError(
            f"{directory} has neither conflict.jsonl nor trainer_state.json; give the output_dir of a run, once its "
            "first probe or checkpoint is there."
        )
    probes, notes = _read_probes(path)
    read = {path: _read_json(path) for path in states}
    notes += [f"{path.relative_to(directory)} is not readable and left out." for path in states if not read[path]]
    state = max(read.values(), key=lambda content: content.get("global_step", 0), default={})
    if not states:
        notes.append("No trainer state is there yet, so no evaluation is shown; the first checkpoint brings one.")
    config = _read_json(directory / "training_args.json")
    training_k = config.get("pass_at_k") or next((record.training_k for record in reversed(probes.values())), 1)
    return Run(
        name=config.get("objective") or f"pass@{training_k}",
        training_k=training_k,
        evaluated=_evaluated(state.get("log_history", [])),
        probes=probes,
        steps=(state["global_step"], state["max_steps"]) if {"global_step", "max_steps"} <= state.keys() else None,
        notes=tuple(notes),
    )


def _read_probes(path: Path) -> tuple[dict[int, ProbeRecord], list[str]]:
    if not path.exists():
        return {}, []
    lines, corrupt = read_lines(path)
    probes = {record.step: record for record in map(ProbeRecord.from_dict, lines)}
    note = f"Lines of conflict.jsonl that are no record, and were skipped: {len(corrupt)}."
    return dict(sorted(probes.items())), [note] if corrupt else []


def _trainer_states(directory: Path) -> list[Path]:
    """The states to look at: that of the run's end and that of the latest checkpoint, which a resumed run may have."""
    checkpoints = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    latest = sorted(checkpoints, key=lambda path: int(path.name.removeprefix("checkpoint-")))[-1:]
    return [path for folder in (directory, *latest) if (path := folder / "trainer_state.json").exists()]


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a file, empty where it is not there or not whole: a checkpoint may be just being written."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _evaluated(log_history: list[dict[str, Any]]) -> dict[int, dict[int, float]]:
    evaluated: dict[int, dict[int, float]] = {}
    for entry in log_history:
        values = {int(match[1]): value for key, value in entry.items() if (match := _EVALUATED.fullmatch(key))}
        if values:
            evaluated[entry["step"]] = values
    return evaluated
