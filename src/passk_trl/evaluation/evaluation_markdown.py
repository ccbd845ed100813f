"""The report of an evaluation for a reader, in Markdown."""

from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.reports.markdown import code_span, escaped

from .bands import Band
from .contributions import PromptDifference
from .decisions import verdict
from .evaluation_report import EvaluationReport
from .pass_at_k import Curves, Evaluation


MEASURES = {"pass@k": "at least one of k rollouts is correct", "pass^k": "all of k rollouts are correct"}
"""What is measured, in words."""


def as_markdown(report: EvaluationReport, figure: str) -> str:
    """The report as the text of `evaluation.md`, which shows the figure of the given name."""
    models = ", against ".join(map(code_span, report.models))
    lines = ["# Pass@k", "", f"{models}.", "", *_verdicts(report), _sample(report)]
    if report.unscorable:
        lines.append(f"Left out, because a rollout could not be scored: {len(report.unscorable)} prompts.")
    lines += ["", f"![Pass@k and pass^k over k, with their bands]({figure})"]
    for (name, meaning), curves in zip(MEASURES.items(), curves_of(report.overall), strict=True):
        rows = [[str(k), *_cells(curves, k)] for k in report.ks]
        lines += ["", f"## {name}: {meaning}", "", *_table(["k", *_columns(report, name)], rows)]
    if report.contributions:
        lines += ["", *_contributions(report)]
    if report.by_difficulty:
        lines += ["", *_groups(report)]
    return "\n".join(lines) + "\n"


def curves_of(evaluation: Evaluation) -> tuple[Curves, Curves]:
    """The curves of each of the measures."""
    return evaluation.pass_at_k, evaluation.pass_hat_k


def _verdicts(report: EvaluationReport) -> list[str]:
    if len(report.models) == 1:
        return []
    lines = []
    for name, curves in zip(MEASURES, curves_of(report.overall), strict=True):
        assert curves.crossing is not None  # which two policies have
        lines.append(f"- **{name}**: {verdict(curves.ranges, curves.crossing, report.about['confidence'])}")
    return [*lines, ""]


def _sample(report: EvaluationReport) -> str:
    numbers = [n for prompt in report.prompts for n in prompt["num_samples"]]
    rollouts = f"{max(numbers)} rollout{'s' * (max(numbers) > 1)}"
    if min(numbers) < max(numbers):
        rollouts = f"{min(numbers)} to {rollouts}"
    dataset = f" of {code_span(report.about['dataset'])}" if "dataset" in report.about else ""
    sample = f"{report.overall.num_prompts} prompts{dataset}, {rollouts} each. Estimates are unbiased."
    if report.overall.pass_at_k.policies[0].low is None:
        return f"{sample} A band needs at least {FEWEST_PROMPTS} prompts."
    level = f"{100 * report.about['confidence']:.10g}%"
    return f"{sample} In brackets, {level} bands over prompts: each holds its whole curve, at every k at once."


def _columns(report: EvaluationReport, name: str) -> list[str]:
    return [name] if len(report.models) == 1 else ["model", "against", "model − against"]


def _cells(curves: Curves, k: int) -> list[str]:
    cells = [_at(band, k, ".3f") for band in curves.policies]
    return cells if curves.difference is None else [*cells, _at(curves.difference, k, "+.3f")]


def _at(band: Band, k: int, form: str) -> str:
    value = f"{band.value[k - 1]:{form}}"
    if band.low is None or band.high is None:
        return value
    return f"{value} [{band.low[k - 1]:{form}}, {band.high[k - 1]:{form}}]"


def _contributions(report: EvaluationReport) -> list[str]:
    lines = ["## The prompts that gain and lose most", ""]
    rows = []
    for each in report.contributions:
        lines.append(
            f"At k = {each.k}, {each.num_gaining} prompts gain and add {each.gain:+.3f} to the difference, and "
            f"{each.num_losing} lose and add {each.loss:+.3f}."
        )
        rows += [[str(each.k), *_row(prompt)] for prompt in (*each.most_gaining, *reversed(each.most_losing))]
    lines.append("Noise alone makes some prompts gain and others lose, and the largest differences are partly luck.")
    header = ["k", "prompt", "model: correct", "against: correct", "model − against"]
    return [*lines, "", *_table(header, rows)] if rows else lines


def _row(prompt: PromptDifference) -> list[str]:
    counts = [f"{c} of {n}" for c, n in zip(prompt.num_correct, prompt.num_samples, strict=True)]
    return [escaped(prompt.id), *counts, f"{prompt.difference:+.3f}"]


def _groups(report: EvaluationReport) -> list[str]:
    rows = [
        [escaped(name), str(group.num_prompts), str(k), *_cells(group.pass_at_k, k)]
        for name, group in report.by_difficulty.items()
        for k in report.ks
        if k <= group.largest_k
    ]
    header = ["difficulty", "prompts", "k", *_columns(report, "pass@k")]
    return [f"## pass@k by {report.difficulty}", "", *_table(header, rows)] if rows else []


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, padded so that it is aligned in a terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in lines]
