"""The report of a run as text: pass@k before and after, the conflict over k, the onset of each report, the verdict."""

from collections.abc import Sequence
from pathlib import Path

from .figures import draw_overview
from .page import verdict, write_page
from .run import Run, read_run
from .wording import ALARM_NOTE, CURVE_NOTE, ONSET, curve_points, notes_on_cosines, onset_or_why_not, sample_size


def write_report(
    directory: str | Path, beside: Sequence[str | Path] | None = None, output: str | Path | None = None
) -> str:
    """
    Writes the page of a run and its figures, and returns its report as text.

    Args:
        directory (`str` or `Path`):
            The run, which may still be running.
        beside (`Sequence[str | Path]`, *optional*):
            Other runs from the same start, to compare with it. Those of its recipe if `None`. The text names those
            that do not exist.
        output (`str` or `Path`, *optional*):
            Path of the page. The figures go into the same folder. `report.html` in the run's directory if `None`.

    Returns:
        `str`: pass@k before and after, the conflict over k with its intervals, the onset, the paths of the files.

    Raises:
        `FileNotFoundError`: if the directory does not exist, or holds no run.
    """
    run = read_run(directory)
    others, missing = _runs_beside(run.beside if beside is None else beside)
    parts = [_passk_table(run, others)]
    parts += [f"(no run in {other} to compare with)" for other in missing]
    if run.probes:
        parts += [_conflict_table(run), _table_of_reports(run), verdict(run)]
    parts += [f"note: {note}" for note in run.notes]
    page, *_figures = write_page(run, Path(output or Path(directory, "report.html")), others)
    figure = page.with_name("conflict.png")
    draw_overview(run, others).savefig(figure, dpi=150)
    parts.append(f"figure: {figure}\npage: {page}")
    return "\n\n".join(parts)


def _runs_beside(directories: Sequence[str | Path]) -> tuple[list[Run], list[str | Path]]:
    """The runs that have an evaluation, and the directories without a run."""
    runs, missing = [], []
    for directory in directories:
        try:
            runs.append(read_run(directory))
        except FileNotFoundError:
            missing.append(directory)
    return [run for run in runs if run.evaluated], missing


def _passk_table(run: Run, others: list[Run]) -> str:
    steps = sorted(run.evaluated)
    if not steps:
        return "no evaluation was recorded; set eval_strategy and eval_on_start to see pass@k before and after."
    rows = [("before", run.values(steps[0], run.ks))]
    rows += [(f"trained for {r.name}", r.values(max(r.evaluated), run.ks)) for r in (run, *others)]
    names = [name for name in rows[0][1] if all(name in values for _, values in rows)]
    lines = ["held-out prompts    " + "".join(f"{name:>9}" for name in names)]
    lines += [f"{title:<20}" + "".join(f"{values[name]:>9.3f}" for name in names) for title, values in rows]
    return "\n".join(lines)


def _conflict_table(run: Run) -> str:
    record = run.shown_probe
    lines = [
        f"conflict at step {record.step}, {run.why_shown(record)}: {sample_size(record.report)}",
        f"{'k':>4}{'<grad J_k, grad J_1>':>22}{'interval':>22}{'cosine and its interval':>26}",
    ]
    points = curve_points(record.report)
    for point in points:
        numbers = f"{point.k:>4g}{point.inner_product:>22}{point.interval:>22}{point.cosine:>26}"
        lines.append(f"{numbers}{'  conflict' * point.conflict}")
    return "\n".join([*lines, CURVE_NOTE, *notes_on_cosines(points)])


def _table_of_reports(run: Run) -> str:
    lines = [ONSET, f"  step  {'onset in this report':<26}by all reports so far"]
    for record in run.probes.values():
        state = f"{run.name} in conflict" if run.in_conflict(record) else "no alarm"
        lines.append(f"{record.step:>6}  {onset_or_why_not(record.report):<25} {state}")
    return "\n".join([*lines, ALARM_NOTE])
