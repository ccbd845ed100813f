"""What an evaluation has to say: `evaluation.md` for a reader, `evaluation.json` for a program."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .pass_at_k import Difference, Estimate, Evaluation


@dataclass(frozen=True)
class Evaluated:
    """
    One checkpoint evaluated, or two side by side. `evaluation.json` has these fields.

    Args:
        models (`list[str]`): the checkpoint, and the one it is set against, if any.
        about (`dict[str, Any]`): what they were evaluated on and how, JSON-safe: dataset, sampling, verifiers.
        overall (`Evaluation`): on all prompts.
        difficulty (`str`): what the prompts are grouped by, in words.
        by_difficulty (`dict[str, Evaluation]`): on each group.
        prompts (`list[dict]`): row of its split, group, and correct rollouts by each model, of every prompt.
        unscorable_rows (`list[int]`): rows that are left out because a rollout could not be scored.
    """

    models: list[str]
    about: dict[str, Any]
    overall: Evaluation
    difficulty: str
    by_difficulty: dict[str, Evaluation]
    prompts: list[dict[str, Any]]
    unscorable_rows: list[int]


def write_evaluation(directory: str | Path, evaluated: Evaluated) -> str:
    """
    Writes `evaluation.json` and `evaluation.md` into a directory.

    Args:
        directory (`str` or `Path`):
            Where to.
        evaluated ([`Evaluated`]):
            What to report.

    Returns:
        `str`: the text of `evaluation.md`, and where it is.
    """
    directory = Path(directory)
    content = json.dumps(asdict(evaluated), indent=1, allow_nan=False)
    (directory / "evaluation.json").write_text(content + "\n")
    text = _as_markdown(evaluated)
    (directory / "evaluation.md").write_text(text)
    return f"{text}\nreport: {directory / 'evaluation.md'}"


def _as_markdown(evaluated: Evaluated) -> str:
    about = evaluated.about
    paired = bool(evaluated.overall.differences)
    against = [f", against `{name}`" for name in evaluated.models[1:]]
    columns = ["model", "against", "model − against", "p"] if paired else ["pass@k"]
    lines = [
        "# Pass@k",
        "",
        f"`{evaluated.models[0]}`{''.join(against)}.",
        "",
        f"{evaluated.overall.num_prompts} prompts of `{about['dataset']}`, {about['num_rollouts']} rollouts each; "
        f"unbiased estimates, {100 * about['confidence']:.10g}% bootstrap intervals over prompts.",
    ]
    if paired:
        lines.append("p: two-sided, paired on prompts, signs of the differences flipped at random; each k by itself.")
    if evaluated.unscorable_rows:
        lines.append(f"Left out, since a rollout could not be scored: {len(evaluated.unscorable_rows)} prompts.")
    lines += ["", *_table(["k", *columns], _rows(evaluated.overall))]
    if evaluated.by_difficulty:
        groups = [
            [name, str(group.num_prompts), *row]
            for name, group in evaluated.by_difficulty.items()
            for row in _rows(group)
        ]
        lines += ["", f"## By {evaluated.difficulty}", "", *_table(["difficulty", "prompts", "k", *columns], groups)]
    return "\n".join(lines) + "\n"


def _rows(evaluation: Evaluation) -> list[list[str]]:
    rows = [
        [str(of_k[0].k), *(_with_interval(estimate) for estimate in of_k)]
        for of_k in zip(*evaluation.policies, strict=True)
    ]
    for row, difference in zip(rows, evaluation.differences, strict=False):
        row += _of_difference(difference)
    return rows


def _of_difference(difference: Difference) -> list[str]:
    return [_with_interval(difference, "+.3f"), f"{difference.p_value:.2g}"]


def _with_interval(estimate: Estimate, form: str = ".3f") -> str:
    if estimate.low is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown that is aligned for the terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    ruled = [header, ["-" * width for width in widths], *rows]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in ruled]
