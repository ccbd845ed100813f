"""What a run directory has to say: a table of pass@k before and after, the conflict curve over k, and their figure."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .interference import InterferenceReport
from .monitor import in_conflict_at, read_records


# Told apart by brightness and line style too, so that no reader needs to tell red from green (Okabe & Ito's palette).
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"

_FILES = ("trainer_state.json", "training_args.json")

_EVALUATED = re.compile(r"eval_passk/pass@(\d+)")


@dataclass(frozen=True)
class Run:
    """
    What was measured in a run directory.

    Args:
        name (`str`): what it was trained for, such as `"pass@8"`.
        training_k (`int`): the k trained for.
        evaluated (`dict[int, dict[int, float]]`): pass@k by step, then k, from the evaluations.
        probes (`dict[int, InterferenceReport]`): the monitor's reports by step.
    """

    name: str
    training_k: int
    evaluated: dict[int, dict[int, float]]
    probes: dict[int, InterferenceReport]

    @property
    def ks(self) -> list[int]:
        """The evaluated k up to the k trained for, or all where only pass@1 was trained."""
        evaluated = sorted(next(iter(self.evaluated.values()), {}))
        return [k for k in evaluated if k <= self.training_k] if self.training_k > 1 else evaluated


def read_run(directory: str | Path) -> Run:
    """
    Reads `trainer_state.json` and `training_args.json`, as `passk-trl train` leaves them, and `conflict.jsonl` where a
    monitor wrote one.

    Raises:
        `FileNotFoundError`: if the directory lacks one of the first two.
    """
    directory = Path(directory)
    history = json.loads((directory / "trainer_state.json").read_text())["log_history"]
    evaluated: dict[int, dict[int, float]] = {}
    for entry in history:
        values = {int(match[1]): value for key, value in entry.items() if (match := _EVALUATED.fullmatch(key))}
        if values:
            evaluated[entry["step"]] = values
    path = directory / "conflict.jsonl"
    records = read_records(path) if path.exists() else []
    config = json.loads((directory / "training_args.json").read_text())
    return Run(
        name=config.get("objective") or f"pass@{config['pass_at_k']}",
        training_k=config["pass_at_k"],
        evaluated=evaluated,
        probes={record["step"]: InterferenceReport.from_dict(record["report"]) for record in records},
    )


def write_report(directory: str | Path, beside: Sequence[str | Path] = ()) -> str:
    """
    Draws the figure of a run into its directory and returns the text that goes with it.

    Args:
        directory (`str` or `Path`):
            The run.
        beside (`Sequence[str | Path]`, *optional*):
            Runs from the same start to set beside it. One that is not there is named in the text.

    Returns:
        `str`: pass@k before and after, the conflict curve over k with its error bars, the onset, the figure's path.
    """
    run = read_run(directory)
    there = [other for other in beside if all(Path(other, name).exists() for name in _FILES)]
    others = [other for other in map(read_run, there) if other.evaluated]
    parts = [_passk_table(run, others)]
    parts += [f"(no run in {other} to set beside it)" for other in beside if other not in there]
    if run.probes:
        parts += [_conflict_table(*shown_probe(run)), _onset_line(run)]
    figure_path = Path(directory) / "conflict.png"
    draw(run, others).savefig(figure_path, dpi=150)
    parts.append(f"figure: {figure_path}")
    return "\n\n".join(parts)


def shown_probe(run: Run) -> tuple[int, InterferenceReport]:
    """The probe whose curve is shown: the first at which the k trained for is in conflict, or else the last."""
    flagged = [step for step, report in run.probes.items() if in_conflict_at(report, run.training_k)]
    step = flagged[0] if flagged else max(run.probes)
    return step, run.probes[step]


def _passk_table(run: Run, others: list[Run]) -> str:
    steps = sorted(run.evaluated)
    if not steps:
        return "no evaluation was made; set eval_strategy and eval_on_start to see pass@k before and after."
    rows = [("before", run.evaluated[steps[0]])]
    rows += [(f"trained for {r.name}", r.evaluated[max(r.evaluated)]) for r in (run, *others)]
    ks = [k for k in run.ks if all(k in values for _, values in rows)]
    lines = ["held-out prompts    " + "".join(f"{f'pass@{k}':>9}" for k in ks)]
    lines += [f"{name:<20}" + "".join(f"{values[k]:>9.3f}" for k in ks) for name, values in rows]
    return "\n".join(lines)


def _conflict_table(step: int, report: InterferenceReport) -> str:
    lines = [
        f"conflict at step {step}: {len(report.agreement)} prompts x {int(report.num_samples.min())} rollouts, "
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


def _onset_line(run: Run) -> str:
    def told(step: int, report: InterferenceReport) -> str:
        where = "nowhere" if report.onset is None else f"k = {report.onset:.1f}"
        return f"  step {step:>4}: {where}" + (
            f", pass@{run.training_k} in conflict" * in_conflict_at(report, run.training_k)
        )

    lines = "\n".join(told(step, report) for step, report in sorted(run.probes.items()))
    return f"onset, from which the pass@k gradient turns against the pass@1 gradient:\n{lines}"


def draw(run: Run, others: Sequence[Run] = ()) -> Figure:
    """The figure: cosine against k with error bars on the left, pass@1 and pass@k over training on the right."""
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        if run.probes:
            _draw_cosine(left, run)
        _draw_training(right, [run, *others])
    return figure


def _draw_cosine(axes: Axes, run: Run) -> None:
    chosen = dict([shown_probe(run), max(run.probes.items())])
    for (step, report), colour, line in zip(sorted(chosen.items()), (_BLUE, _ORANGE), ("-", "--"), strict=False):
        axes.errorbar(
            *(report.ks, report.cosine),
            yerr=report.cosine_margin,
            color=colour,
            linestyle=line,
            marker="o",
            markersize=3,
            capsize=2,
            label=f"step {step}",
        )
        if report.onset is not None:
            axes.plot(report.onset, 0, marker="D", color=colour, markersize=6)
    axes.axhline(0, color=_GREY, linewidth=0.8)
    axes.axvline(run.training_k, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="k", ylabel="cosine of pass@k and pass@1 gradients", ylim=(-1.1, 1.1))
    axes.set_title("conflict over k (diamond: onset, dotted: k trained for)", fontsize=9)
    axes.legend(frameon=False)


def _draw_training(axes: Axes, runs: Sequence[Run]) -> None:
    k = runs[0].ks[-1] if runs[0].ks else 1
    for run, line in zip(runs, ("-", "--", ":", "-."), strict=False):
        steps = sorted(run.evaluated)
        for shown, colour in {1: _BLUE, k: _ORANGE}.items():
            values = [run.evaluated[step].get(shown, math.nan) for step in steps]
            axes.plot(steps, values, color=colour, linestyle=line, label=f"pass@{shown}, trained for {run.name}")
    axes.set(xlabel="step", ylabel="held-out prompts", ylim=(0, 1.02))
    axes.set_title("pass@k over training", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
