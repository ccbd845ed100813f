"""The report of a run as one HTML file: figures, tables, and the prompts that interfere most."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from passk_trl import files
from passk_trl.records import PROMPTS_SHOWN, ProbeRecord, weighed_k
from passk_trl.rollouts.prompt_text import cut

from .figures import draw_agreement, draw_curve, draw_forecast, draw_heat_map, draw_training
from .run import ForecastOutcome, MeasuredChange, Run
from .wording import (
    ALARM_NOTE,
    CURVE_NOTE,
    NO_NEGATIVE_PROMPT,
    PROMPT_CHARACTERS,
    CurvePoint,
    contribution_note,
    curve_points,
    notes_on_cosines,
    number_or_dash,
    onset_or_why_not,
    onset_sentence,
    prompt_summary,
    sample_size,
)


_CURVE_HEAD = ("k", "", "⟨∇J_k, ∇J_1⟩", "interval", "cosine")
_PROBE_HEAD = ("step", "onset k in this report", "in conflict by all so far", "pass@1")
_FORECAST_HEAD = ("forecast pass@1 per step", "measured per step")

# Title, alternative text and caption of each figure.
_CAPTIONS = {
    "heat_map": (
        "Where pass@k works against pass@1",
        "Heat map over step and k: the cosine of the pass@k and pass@1 gradients, the onset, the k of training. The "
        "table of the reports has the onsets.",
        "Purple: the gradients agree. Orange: a step along the pass@k gradient lowers pass@1; a dot marks where this "
        "is significant in that report, at all its k at once. The line with diamonds is the onset, where a report "
        "can tell it: above it, the measured inner product is negative. Dashed: the k of training. Hatched: the "
        "cosine cannot be told.",
    ),
    "curve": (
        "The curve over k",
        "Cosine of the pass@k and pass@1 gradients against k with error bars; the tables over k have the numbers.",
        "The cosine with its interval, in the first report with the alarm for the objective of training, and in the "
        "latest. An estimate beyond ±1 is drawn at ±1. Where no mark is, the cosine cannot be told.",
    ),
    "training": (
        "pass@k over training",
        "pass@1 and pass@k against step, from evaluations and, with intervals, from reports.",
        "Filled marks: the evaluations, which have no interval. White marks: the prompts that a report measured, "
        "with the interval over prompts. They differ from report to report. Where all of a report's prompts have the "
        "same pass@k, it has no interval.",
    ),
    "agreement": (
        "Agreement against success",
        "Scatter plot of each measured prompt: its agreement with the pass@1 gradient against its success rate.",
        "Each mark is a prompt. The larger it is, the more weight pass@k gives to the prompt. Large triangles below "
        "the line are the conflict: prompts with a large weight whose gradient works against pass@1.",
    ),
    "forecast": (
        "Forecast against outcome",
        "Forecast change of pass@1 per step at each probe, beside the change measured until the next probe; the table "
        "of the reports has the numbers.",
        "Circles: the change of pass@1 by the optimizer step just before the probe, to first order. Squares: the mean "
        "change of pass@1 of the probe prompts per step until the next probe. Bars: intervals.",
    ),
}


@dataclass(frozen=True)
class Picture:
    """
    A figure of the page.

    Args:
        name (`str`): the name of its file, without the ending.
        title (`str`): its heading.
        alternative (`str`): what it shows, for readers who cannot see it.
        caption (`str`): how to read it.
        png (`bytes`): the drawing.
    """

    name: str
    title: str
    alternative: str
    caption: str
    png: bytes

    @property
    def content(self) -> str:
        """The drawing in base64, for a data URI."""
        return base64.b64encode(self.png).decode()


def write_page(run: Run, path: Path, others: Sequence[Run] = ()) -> list[Path]:
    """
    Writes the page of a run, and its figures as PNG files into the same folder.

    Args:
        run ([`Run`]): the run.
        path (`Path`): the HTML file to write.
        others (`Sequence[Run]`, *optional*): other runs, whose pass@k is drawn too.

    Returns:
        `list[Path]`: the files written, the page first.
    """
    shown = pictures(run, others)
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = [path.with_name(f"{picture.name}.png") for picture in shown]
    for file, picture in zip(figures, shown, strict=True):
        file.write_bytes(picture.png)
    files.write(path, _as_html(run, others, shown))
    return [path, *figures]


def pictures(run: Run, others: Sequence[Run] = ()) -> list[Picture]:
    """The figures of a run that have something to show."""
    figures: dict[str, Figure] = {}
    if run.probes:
        figures |= {"heat_map": draw_heat_map(run), "curve": draw_curve(run)}
    if run.probes or run.evaluated:
        figures["training"] = draw_training(run, others)
    if run.probes:
        figures["agreement"] = draw_agreement(run)
    if run.forecast_outcomes:
        figures["forecast"] = draw_forecast(run)
    return [Picture(name, *_CAPTIONS[name], _png(figure)) for name, figure in figures.items()]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def _as_html(run: Run, others: Sequence[Run], shown: Sequence[Picture]) -> str:
    environment = Environment(
        loader=PackageLoader("passk_trl.reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        run=run,
        verdict=verdict(run),
        progress=_progress(run),
        pictures=shown,
        **_passk_table(run, others),
        **_probe_table(run),
        alarm_note=ALARM_NOTE,
        curve_head=_CURVE_HEAD,
        probes=[_probe(run, record) for record in run.chosen_probes] if run.probes else [],
    )


def verdict(run: Run) -> str:
    """What the reports say of the objective of training, all together and the latest alone, and the evaluations."""
    if not run.probes:
        return "No report was recorded, so nothing is known about the conflict; train with a ConflictMonitor."
    latest = run.latest_probe
    stretches = [list(probes) for in_conflict, probes in groupby(run.probes.values(), run.in_conflict) if in_conflict]
    if run.name == "pass@1":
        state = "cannot work against pass@1"
    elif run.in_conflict(latest):
        state = f"works against pass@1, by all reports so far, since step {stretches[-1][0].step}"
    elif stretches:
        first, last = stretches[-1][0].step, stretches[-1][-1].step
        state = f"no longer works against pass@1, by all reports so far; it did from step {first} to {last}"
    else:
        state = "is not shown to work against pass@1 by the reports so far"
    conflict = f"At step {latest.step}, training for {run.name} {state}."
    return f"{conflict} {onset_sentence(latest)}{_pass1_sentence(run)}"


def _pass1_sentence(run: Run) -> str:
    """What the evaluations say of pass@1, which the monitor may have missed."""
    measured = [run.evaluated[step][1] for step in sorted(run.evaluated) if 1 in run.evaluated[step]]
    if len(measured) < 2:
        return ""
    change = "fell" if measured[-1] < measured[0] else "rose" if measured[-1] > measured[0] else "stayed"
    return f" In the evaluations, pass@1 {change} from {measured[0]:.3f} to {measured[-1]:.3f}."


def _progress(run: Run) -> str:
    reported = f"Reports: {len(run.probes)}" + (f", the latest at step {max(run.probes)}." if run.probes else ".")
    return reported + (f" The trainer state is of step {run.steps[0]} of {run.steps[1]}." if run.steps else "")


def _passk_table(run: Run, others: Sequence[Run]) -> dict[str, list]:
    if not run.evaluated:
        return {"passk_head": [], "passk_rows": []}
    rows = [("before", run.values(min(run.evaluated), run.ks))]
    rows += [
        (f"{r.name}, step {max(r.evaluated)}", r.values(max(r.evaluated), run.ks))
        for r in (run, *others)
        if r.evaluated
    ]
    names = list(rows[0][1])
    cells = [[title, *(f"{values[name]:.3f}" if name in values else "–" for name in names)] for title, values in rows]
    return {"passk_head": ["", *names], "passk_rows": cells}


def _probe_table(run: Run) -> dict[str, Sequence]:
    """The reports, a row for each; with what was forecast, if anything was."""
    outcomes = {outcome.step: outcome for outcome in run.forecast_outcomes}
    rows = []
    for step, record in run.probes.items():
        mean, margin = record.pass_at(1)
        row = [
            f"{step}",
            onset_or_why_not(record.report),
            "yes" if run.in_conflict(record) else "no",
            f"{mean:.3f} ± {number_or_dash(margin, '.3f')}",
        ]
        if outcomes:
            outcome = outcomes.get(step)
            row += [_change(outcome), _change(outcome.measured if outcome else None)]
        rows.append(row)
    return {"probe_head": [*_PROBE_HEAD, *(_FORECAST_HEAD if outcomes else ())], "probe_rows": rows}


def _change(change: ForecastOutcome | MeasuredChange | None) -> str:
    return "–" if change is None else f"{change.change:+.2g} ± {number_or_dash(change.margin, '.1g')}"


def _probe(run: Run, record: ProbeRecord) -> dict[str, Any]:
    report, points = record.report, curve_points(record.report)
    k = weighed_k(report, run.training_k)
    return {
        "step": record.step,
        "reason": run.why_shown(record),
        "size": sample_size(report),
        "curve": [_curve_row(point) for point in points],
        "curve_notes": [CURVE_NOTE, *notes_on_cosines(points)],
        "prompts": [_prompt(record, i, k) for i in report.most_negative(k, PROMPTS_SHOWN)],
        "introduction": _prompts_introduction(record, k),
    }


def _curve_row(point: CurvePoint) -> list[str]:
    return [f"{point.k:g}", "conflict" * point.conflict, point.inner_product, point.interval, point.cosine]


def _prompts_introduction(record: ProbeRecord, k: float) -> str:
    if not record.report.most_negative(k, PROMPTS_SHOWN):
        return NO_NEGATIVE_PROMPT
    if record.texts or record.first_step is not None:  # a ride has no text to record
        return contribution_note(k)
    return (
        f"{contribution_note(k)} Their text was not recorded: only probes of a probe_dataset record it, and not those "
        "of earlier versions."
    )


def _prompt(record: ProbeRecord, i: int, k: float) -> dict[str, str]:
    row = record.rows[i] if i < len(record.rows) else None
    return {
        "title": f"Prompt {i}" if row is None else f"Row {row}",
        "summary": prompt_summary(record.report, i, k),
        "text": "" if row is None else cut(record.texts.get(row, ""), PROMPT_CHARACTERS),
    }
