"""One page on a run that needs nothing beside it: figures, tables, and the prompts that interfere most."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from passk_trl.records import PROMPTS_SHOWN, ProbeRecord, weighed_k
from passk_trl.rollouts.prompt_text import cut

from .figures import draw_agreement, draw_curve, draw_forecast, draw_heat_map, draw_training
from .run import Run


_CURVE_HEAD = ("k", "", "⟨∇J_k, ∇J_1⟩", "interval", "cosine")
_PROBE_HEAD = ("step", "onset k", "in conflict", "pass@1", "forecast pass@1 per step", "came per step")

# Title, alternative text and caption of each figure.
_TOLD = {
    "heat_map": (
        "Where pass@k turns against pass@1",
        "Heat map over step and k: the cosine of the pass@k and pass@1 gradients, the onset, the k trained for. The "
        "table of the probes has the onsets.",
        "Purple: the gradients agree; orange: a step along the pass@k gradient lowers pass@1, with a dot where that "
        "is significant. Above the line with diamonds, the onset, the measured curve is negative. Dashed: the k "
        "trained for. Hatched: the cosine is not defined, lost in the noise of the probe.",
    ),
    "curve": (
        "The curve over k",
        "Cosine of the pass@k and pass@1 gradients against k with error bars; the tables over k have the numbers.",
        "The cosine with its interval, at the first probe at which what is trained for is in conflict and at the "
        "latest, where these differ. An estimate beyond ±1 is drawn there.",
    ),
    "training": (
        "pass@k over training",
        "pass@1 and pass@k against step, from evaluations and, with intervals, from probes.",
        "Filled marks: the evaluations, which leave no interval. White marks: the probe prompts, drawn anew for each "
        "probe, with the interval over prompts.",
    ),
    "agreement": (
        "Agreement against success",
        "Scatter plot of each probe prompt: its agreement with the pass@1 gradient against its success rate.",
        "A mark is a prompt; the larger it is, the more pass@k listens to it. Large triangles below the line are the "
        "conflict: prompts with much weight that pull against pass@1.",
    ),
    "forecast": (
        "Forecast against outcome",
        "Forecast change of pass@1 per step at each probe, beside the change measured until the next; the table of "
        "the probes has the numbers.",
        "Circles: by how much the optimiser's step just before the probe changes pass@1, to first order. Squares: by "
        "how much pass@1 of the probe prompts rose per step until the next. Bars: intervals.",
    ),
}

# A prompt is cut to this many characters on the page.
_CHARACTERS_SHOWN = 600


@dataclass(frozen=True)
class Picture:
    """
    A figure of the page.

    Args:
        name (`str`): the name of its file, without the ending.
        title (`str`): its heading.
        alternative (`str`): what it shows, for who cannot see it.
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
        """The drawing as text, for a data URI."""
        return base64.b64encode(self.png).decode()


def write_page(run: Run, path: Path, others: Sequence[Run] = ()) -> list[Path]:
    """
    Writes the page of a run, and its figures as PNG files beside it.

    Args:
        run ([`Run`]): what to show.
        path (`Path`): the HTML file to write.
        others (`Sequence[Run]`, *optional*): runs whose pass@k is drawn beside the run's.

    Returns:
        `list[Path]`: the files written, the page first.
    """
    shown = pictures(run, others)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{picture.name}.png") for picture in shown]
    for file, picture in zip(files, shown, strict=True):
        file.write_bytes(picture.png)
    path.write_text(_as_html(run, others, shown), encoding="utf-8")
    return [path, *files]


def pictures(run: Run, others: Sequence[Run] = ()) -> list[Picture]:
    """The figures of a run: those for which there is something to draw."""
    figures: dict[str, Figure] = {}
    if run.probes:
        figures |= {"heat_map": draw_heat_map(run), "curve": draw_curve(run)}
    if run.probes or run.evaluated:
        figures["training"] = draw_training(run, others)
    if run.probes:
        figures["agreement"] = draw_agreement(run)
    if run.foretold:
        figures["forecast"] = draw_forecast(run)
    return [Picture(name, *_TOLD[name], _png(figure)) for name, figure in figures.items()]


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
        verdict=_verdict(run),
        progress=_progress(run),
        pictures=shown,
        passk_head=["", *(f"pass@{k}" for k in run.ks)],
        passk_rows=_passk_rows(run, others),
        probe_head=_PROBE_HEAD,
        probe_rows=_probe_rows(run),
        curve_head=_CURVE_HEAD,
        probes=[_probe(run, record) for record in run.chosen_probes] if run.probes else [],
    )


def _verdict(run: Run) -> str:
    if not run.probes:
        return "No probe was recorded, so nothing is known of the conflict; train with a ConflictMonitor."
    latest = run.latest_probe
    state = "works against pass@1" if run.in_conflict(latest) else "is not significantly in conflict with pass@1"
    flagged = [step for step, record in run.probes.items() if run.in_conflict(record)]
    told = (
        f" It was in conflict at {len(flagged)} of {len(run.probes)} probes, first at step {flagged[0]}."
        if flagged
        else ""
    )
    return f"At step {latest.step}, training for {run.name} {state}. {_onset(latest)}{told}"


def _onset(record: ProbeRecord) -> str:
    if record.report.onset is None:
        return f"The measured pass@k gradient agrees with pass@1's up to k = {record.report.ks[-1]:g}."
    if record.report.onset == 1:
        return "The pass@1 gradient is lost in the noise of this probe; raise num_prompts to see it."
    return f"The measured pass@k gradient turns against pass@1's from k = {record.report.onset:.1f} on."


def _progress(run: Run) -> str:
    probed = f"Probes: {len(run.probes)}" + (f", the latest at step {max(run.probes)}." if run.probes else ".")
    return probed + (f" The trainer state is of step {run.steps[0]} of {run.steps[1]}." if run.steps else "")


def _passk_rows(run: Run, others: Sequence[Run]) -> list[list[str]]:
    if not run.evaluated:
        return []
    rows = [("before", run.evaluated[min(run.evaluated)])]
    rows += [
        (f"{r.name}, step {max(r.evaluated)}", r.evaluated[max(r.evaluated)]) for r in (run, *others) if r.evaluated
    ]
    return [[name, *(f"{values[k]:.3f}" if k in values else "–" for k in run.ks)] for name, values in rows]


def _probe_rows(run: Run) -> list[list[str]]:
    foretold = {each.step: each for each in run.foretold}
    rows = []
    for step, record in run.probes.items():
        mean, margin = record.pass_at(1)
        told = foretold.get(step)
        rows.append(
            [
                f"{step}",
                "–" if record.report.onset is None else f"{record.report.onset:.1f}",
                "yes" if run.in_conflict(record) else "no",
                f"{mean:.3f} ± {margin:.3f}",
                f"{told.change:+.2g} ± {told.margin:.1g}" if told else "–",
                f"{told.outcome.change:+.2g} ± {told.outcome.margin:.1g}" if told and told.outcome else "–",
            ]
        )
    return rows


def _probe(run: Run, record: ProbeRecord) -> dict[str, Any]:
    report = record.report
    k = weighed_k(report, run.training_k)
    return {
        "step": record.step,
        "why": ", the latest probe"
        if record is run.latest_probe
        else f", the first probe with {run.name} in conflict",
        "size": f"{len(report.agreement)} prompts × {int(report.num_samples.min())} rollouts, "
        f"{100 * report.confidence:g}% intervals",
        "curve": _curve_rows(record),
        "prompts": [_prompt(record, i, k) for i in report.most_negative(k, PROMPTS_SHOWN)],
        "told": _told_prompts(record, k),
    }


def _curve_rows(record: ProbeRecord) -> list[list[str]]:
    report = record.report
    columns = (report.ks, report.inner_product, report.inner_product_low, report.inner_product_high)
    return [
        [
            f"{k:g}",
            "conflict" * bool(conflict),
            f"{inner:.3g}",
            f"{low:.3g} .. {high:.3g}",
            "–" if cosine.isnan() else f"{cosine:.2f} ± {margin:.2f}",
        ]
        for k, inner, low, high, cosine, margin, conflict in zip(
            *columns, report.cosine, report.cosine_margin, report.conflict, strict=True
        )
    ]


def _told_prompts(record: ProbeRecord, k: float) -> str:
    if not record.report.most_negative(k, PROMPTS_SHOWN):
        return "None takes anything from the inner product."
    told = (
        f"What each adds to ⟨∇J_k, ∇J_1⟩ at k = {k:g}, up to the number of prompts, is its weight times its "
        "agreement; the worst come first. Noise alone makes some negative."
    )
    if not record.texts:
        told += (
            " Their text was not recorded: without a probe_dataset a probe takes the training batch, and records of "
            "earlier versions have none."
        )
    return told


def _prompt(record: ProbeRecord, i: int, k: float) -> dict[str, str]:
    report = record.report
    weight = report.weights[report.at(k), i]
    row = record.rows[i] if i < len(record.rows) else None
    counts = f"{report.num_correct[i]} of {report.num_samples[i]} correct"
    return {
        "place": f"Prompt {i}" if row is None else f"Row {row}",
        "told": f"{counts}, weight {weight:.3g} × agreement {report.agreement[i]:.3g}",
        "text": "" if row is None else cut(record.texts.get(row, ""), _CHARACTERS_SHOWN),
    }
