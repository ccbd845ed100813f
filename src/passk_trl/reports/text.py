"""What a run has to say: pass@k before and after, the conflict curve over k, as text, as figures and as a page."""

from collections.abc import Sequence
from pathlib import Path

from passk_trl.records import ProbeRecord

from .figures import draw_overview
from .page import write_page
from .run import Run, read_run


def write_report(directory: str | Path, beside: Sequence[str | Path] = (), output: str | Path | None = None) -> str:
    """
    Writes the page of a run and its figures, and returns the text that goes with them.

    Args:
        directory (`str` or `Path`):
            The run, which may still be going.
        beside (`Sequence[str | Path]`, *optional*):
            Runs from the same start to set beside it. One that is not there is named in the text.
        output (`str` or `Path`, *optional*):
            The page; the figures go beside it. `report.html` in the run's directory if `None`.

    Returns:
        `str`: pass@k before and after, the conflict curve over k with its error bars, the onset, the files' paths.

    Raises:
        `FileNotFoundError`: if the directory is not there, or is no run's.
    """
    run = read_run(directory)
    others, missing = _runs_beside(beside)
    parts = [_passk_table(run, others)]
    parts += [f"(no run in {other} to set beside it)" for other in missing]
    if run.probes:
        parts += [_conflict_table(run.shown_probe), _onset_lines(run)]
    parts += [f"note: {note}" for note in run.notes]
    page, *_figures = write_page(run, Path(output or Path(directory, "report.html")), others)
    figure = page.with_name("conflict.png")
    draw_overview(run, others).savefig(figure, dpi=150)
    parts.append(f"figure: {figure}\npage: {page}")
    return "\n\n".join(parts)


def _runs_beside(directories: Sequence[str | Path]) -> tuple[list[Run], list[str | Path]]:
    """The runs that were evaluated, and the directories without a run."""
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
        return "no evaluation is on record; set eval_strategy and eval_on_start to see pass@k before and after."
    rows = [("before", run.evaluated[steps[0]])]
    rows += [(f"trained for {r.name}", r.evaluated[max(r.evaluated)]) for r in (run, *others)]
    ks = [k for k in run.ks if all(k in values for _, values in rows)]
    lines = ["held-out prompts    " + "".join(f"{f'pass@{k}':>9}" for k in ks)]
    lines += [f"{name:<20}" + "".join(f"{values[k]:>9.3f}" for k in ks) for name, values in rows]
    return "\n".join(lines)


def _conflict_table(record: ProbeRecord) -> str:
    report = record.report
    lines = [
        f"conflict at step {record.step}: {len(report.agreement)} prompts x {int(report.num_samples.min())} rollouts, "
        f"{100 * report.confidence:g}% intervals",
        f"{'k':>4}{'<grad J_k, grad J_1>':>22}{'interval':>22}{'cosine':>9}{'+-':>7}",
    ]
    columns = zip(
        *(report.ks, report.inner_product, report.inner_product_low, report.inner_product_high),
        *(report.cosine, report.cosine_margin, report.conflict),
        strict=True,
    )
    for k, inner, low, high, cosine, margin, conflict in columns:
        interval = f"{low:.3g} .. {high:.3g}"
        flag = "  conflict" if conflict else ""
        lines.append(f"{k:>4g}{inner:>22.3g}{interval:>22}{cosine:>9.2f}{margin:>7.2f}{flag}")
    return "\n".join(lines)


def _onset_lines(run: Run) -> str:
    def told(record: ProbeRecord) -> str:
        where = "nowhere" if record.report.onset is None else f"k = {record.report.onset:.1f}"
        conflict = f", {run.name} in conflict" * run.in_conflict(record)
        return f"  step {record.step:>4}: {where}{conflict}"

    lines = "\n".join(map(told, run.probes.values()))
    return f"onset, from which the pass@k gradient turns against the pass@1 gradient:\n{lines}"
