"""Writes the report of an evaluation: `evaluation.json` for a program, `evaluation.md` and a picture for a reader."""

import json
from dataclasses import asdict
from pathlib import Path

from passk_trl import files
from passk_trl.withheld import text_without_secrets

from .evaluation_markdown import as_markdown
from .evaluation_report import EvaluationReport


__all__ = ["write_evaluation"]

_FIGURE = "evaluation.png"


def write_evaluation(directory: str | Path, report: EvaluationReport) -> str:
    """
    Writes `evaluation.json`, `evaluation.md` and `evaluation.png` into a directory.

    Args:
        directory (`str` or `Path`):
            Where to write. It is made if it does not exist.
        report ([`EvaluationReport`]):
            What was found.

    Returns:
        `str`: the text of `evaluation.md`, and its path.
    """
    from .evaluation_figure import draw_evaluation  # matplotlib takes a second to import

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(report), indent=1, allow_nan=False)
    files.write(directory / "evaluation.json", content + "\n")
    text = text_without_secrets(as_markdown(report, _FIGURE))
    files.write(directory / "evaluation.md", text)
    draw_evaluation(report).savefig(directory / _FIGURE, dpi=200)
    return f"{text}\nreport: {directory / 'evaluation.md'}"
