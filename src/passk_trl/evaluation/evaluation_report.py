"""The report of an evaluation: `evaluation.md` for a reader, `evaluation.json` for a program."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .pass_at_k import Evaluation, PassAtKEstimate


__all__ = ["EvaluationReport", "write_evaluation"]


@dataclass(frozen=True)
class EvaluationReport:
    """
    What was found of one checkpoint, or of two side by side. `evaluation.json` has these fields.

    Args:
        models (`list[str]`): the checkpoint, and the one it is compared with, if any.
        about (`dict[str, Any]`): what they were evaluated on and how, JSON-safe: dataset, sampling, verifiers.
        overall ([`Evaluation`]): on all prompts.
        difficulty (`str`): what the prompts are grouped by, in words.
        by_difficulty (`dict[str, Evaluation]`): on each group.
        prompts (`list[dict]`): of each prompt, its row in the split, its group and its correct rollouts by model.
        unscorable_rows (`list[int]`): rows that are left out because a rollout could not be scored.
    """

    models: list[str]
    about: dict[str, Any]
    overall: Evaluation
    difficulty: str
    by_difficulty: dict[str, Evaluation]
    prompts: list[dict[str, Any]]
    unscorable_rows: list[int]


def write_evaluation(directory: str | Path, report: EvaluationReport) -> str:
    """
    Writes `evaluation.json` and `evaluation.md` into a directory.

    Args:
        directory (`str` or `Path`):
            Where to write.
        report ([`EvaluationReport`]):
            What was found.

    Returns:
        `str`: the text of `evaluation.md`, and its path.
    """
    directory = Path(directory)
    content = json.dumps(asdict(report), indent=1, allow_nan=False)
    (directory / "evaluation.json").write_text(content + "\n")
    text = _as_markdown(report)
    (directory / "evaluation.md").write_text(text)
    return f"{text}\nreport: {directory / 'evaluation.md'}"


def _as_markdown(report: EvaluationReport) -> str:
    about = report.about
    paired = bool(report.overall.differences)
    against = [f", against `{name}`" for name in report.models[1:]]
    columns = ["model", "against", "model − against", "p"] if paired else ["pass@k"]
    lines = [
        "# Pass@k",
        "",
        f"`{report.models[0]}`{''.join(against)}.",
        "",
        f"{report.overall.num_prompts} prompts of `{about['dataset']}`, {about['num_rollouts']} rollouts each; "
        f"unbiased estimates, {100 * about['confidence']:.10g}% bootstrap intervals over prompts.",
    ]
    if paired:
        lines.append(
            "p: two-sided test, paired on prompts, that flips signs of the differences at random; each k by itself."
        )
    if report.unscorable_rows:
        lines.append(f"Left out, because a rollout could not be scored: {len(report.unscorable_rows)} prompts.")
    lines += ["", *_table(["k", *columns], _rows(report.overall))]
    if report.by_difficulty:
        groups = [
            [name, str(group.num_prompts), *row]
            for name, group in report.by_difficulty.items()
            for row in _rows(group)
        ]
        lines += ["", f"## By {report.difficulty}", "", *_table(["difficulty", "prompts", "k", *columns], groups)]
    return "\n".join(lines) + "\n"


def _rows(evaluation: Evaluation) -> list[list[str]]:
    rows = [
        [str(estimates[0].k), *(_with_interval(estimate) for estimate in estimates)]
        for estimates in zip(*evaluation.policies, strict=True)
    ]
    for row, difference in zip(rows, evaluation.differences, strict=False):
        row += [_with_interval(difference, "+.3f"), f"{difference.p_value:.2g}"]
    return rows


def _with_interval(estimate: PassAtKEstimate, form: str = ".3f") -> str:
    if estimate.low is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, padded so that it is aligned in a terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in lines]
