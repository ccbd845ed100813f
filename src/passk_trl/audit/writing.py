"""Writes the report of an audit into its directory: `report.json`, `report.md` and three figures."""

import json
from pathlib import Path

from passk_trl import files
from passk_trl.interference import verdict

from .audit_report import AuditReport
from .report_figures import write_figures
from .report_json import as_json
from .report_markdown import as_markdown


__all__ = ["write_audit"]


def write_audit(directory: str | Path, report: AuditReport, num_shown: int = 10) -> str:
    """
    Writes `report.json`, `report.md`, `success.png`, `weights.png` and `curve.png` into a directory.

    Args:
        directory (`str` or `Path`):
            Where to write.
        report ([`AuditReport`]):
            What was found.
        num_shown (`int`, *optional*, defaults to `10`):
            Number of the most negatively interfering prompts to show.

    Returns:
        `str`: the verdict, and the path of `report.md`.
    """
    directory = Path(directory)
    write_figures(directory, report)
    files.write(directory / "report.json", json.dumps(as_json(report, num_shown), indent=1, allow_nan=False) + "\n")
    files.write(directory / "report.md", as_markdown(report, num_shown))
    return f"{verdict(report.unbiased)}\nreport: {directory / 'report.md'}"
