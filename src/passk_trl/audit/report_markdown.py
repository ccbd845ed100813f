"""The report of an audit for a reader, in Markdown."""

from passk_trl.interference import AgreementShift, FilteredConflict, agreement_shift, verdict
from passk_trl.reports.markdown import code_block, code_span, escaped
from passk_trl.reports.wording import (
    NO_NEGATIVE_PROMPT,
    ONSET,
    PROMPT_CHARACTERS,
    contribution_note,
    curve_points,
    notes_on_cosines,
    number_or_dash,
    onset_or_why_not,
    prompt_summary,
    sample_size,
)
from passk_trl.rollouts.prompt_text import cut

from .audit_report import AuditReport


__all__ = ["as_markdown"]

_SHIFT_HEAD = (
    "| {first} | mean a | E[w a] | interval | shift | E[w a]/E[w] | sum over prompts ± s.e. |\n"
    "|---|---|---|---|---|---|---|"
)


def as_markdown(report: AuditReport, num_shown: int) -> str:
    """
    The content of `report.md`.

    Args:
        report ([`AuditReport`]):
            What was found.
        num_shown (`int`):
            Number of the most negatively interfering prompts to show.
    """
    sections = {
        "Verdict": _verdict(report),
        "What was measured": _measurement(report),
        "The curve over k": _curve(report),
        "Success": _success(report),
        f"Weights against agreement, k = {report.k}": _weights(report),
        "Easy and hard prompts alone": _filtered(report),
        "Most negatively interfering prompts": _prompts(report, num_shown),
    }
    title = f"# Would pass@k training lower this model's pass@1?\n\n{code_span(report.about['model'])}"
    return "\n\n".join([title, *(f"## {heading}\n\n{text}" for heading, text in sections.items())]) + "\n"


def _verdict(report: AuditReport) -> str:
    paragraphs = [f"**{verdict(report.unbiased)}**"]
    if report.truncated:
        paragraphs.append(
            f"Rollouts were sampled with {', '.join(report.truncated)}, so not from the policy whose gradients were "
            "taken. This biases the estimates by an unknown amount. Without truncation they are unbiased."
        )
    paragraphs.append(
        "This holds to first order, at these weights: where the inner product of the two gradients is negative, a "
        "small step along the pass@k gradient lowers pass@1 "
        "([Barakat et al. 2026](https://arxiv.org/abs/2602.21189))."
    )
    return "\n\n".join(paragraphs)


def _measurement(report: AuditReport) -> str:
    measurement, coverage = report.measurement, report.measurement.coverage
    stored = {"exact": "stored whole", "sketch": "stored as random sketches, whose error is part of the intervals"}
    lines = [f"- {escaped(name)}: {escaped(value)}" for name, value in report.about.items()]
    lines += [
        f"- {sample_size(report.unbiased)} (over prompts, each k by itself; the verdict, the onset and what is marked "
        f"as a conflict hold at all k at once, ± {report.unbiased.band_factor:.2f} standard errors)",
        f"- gradients of {coverage.covered} of {coverage.total} chosen parameters, {stored[measurement.store]}",
        f"- {coverage.in_graph} of these parameters measured by autograd, the others in closed form",
    ]
    if coverage.left_out:
        lines.append(
            f"- left out, because their gradient could not be taken: {', '.join(map(escaped, coverage.left_out))}"
        )
    for reason, prompts in {
        "a rollout could not be scored": measurement.unscorable,
        "their gradient is not finite": measurement.not_finite,
    }.items():
        if prompts:
            lines.append(f"- left out, because {reason}: rows {', '.join(str(report.rows[i]) for i in prompts)}")
    return "\n".join(lines)


def _curve(report: AuditReport) -> str:
    unbiased, n = report.unbiased, report.measurement.num_rollouts
    rows, points = [], curve_points(unbiased)
    for point in points:
        shift = agreement_shift(unbiased, point.k)
        rows.append(
            f"| {point.k:g} | {point.inner_product} | {point.interval} | {point.cosine} "
            f"| {shift.inner_product_sum:.3g} ± {number_or_dash(shift.inner_product_sum_error, '.3g')} "
            f"| {'conflict' * point.conflict} |"
        )
    onset = [
        f"- {ONSET}: {onset_or_why_not(unbiased)} (a question mark: beyond k = {n - 1}, or nowhere)",
        f"- k*, the paper's sufficient bound (Prop. 4.5), on the measured agreement: "
        f"{number_or_dash(unbiased.k_star_bound, '.2f')}; with the largest entry of the Gram matrix for its G²: "
        f"{number_or_dash(unbiased.k_star_bound_paper, '.2f')} (a dash: its premise does not hold here, because the "
        "success rate does not separate the prompts of negative agreement from the others)",
    ]
    head = "| k | ⟨∇J_k, ∇J_1⟩ | interval | cosine | sum over prompts ± s.e. | |\n|---|---|---|---|---|---|"
    note = (
        f"Beyond k = {n // 2}, half the rollouts, the estimates rest on few prompts, and the intervals cover the true "
        "value less often than they say."
    )
    return "\n".join(["![curve over k](curve.png)", "", *onset, "", head, *rows, "", note, *notes_on_cosines(points)])


def _success(report: AuditReport) -> str:
    passk = report.pass_at_k
    table = [
        "| " + " | ".join(f"pass@{k}" for k in passk) + " |",
        "|" + "---|" * len(passk),
        "| " + " | ".join(f"{value:.3f}" for value in passk.values()) + " |",
    ]
    return "\n".join(["![success histogram](success.png)", "", *table])


def _weights(report: AuditReport) -> str:
    n = report.measurement.num_rollouts
    rows = [
        _shift_row(f"unbiased, k = {report.k}", agreement_shift(report.unbiased, report.k)),
        _shift_row(f"the paper's plug-in with self terms, k = {n}", agreement_shift(report.plugin, n)),
    ]
    return "\n".join(
        [
            "![weights against agreement](weights.png)",
            "",
            "The agreement a of a prompt is the inner product of the gradient of its own success with the pass@1 "
            "gradient. Where it is negative, a step that helps the prompt lowers pass@1. The weight w of a prompt is "
            "the weight that pass@k gives to its gradient, k(1−p)^(k−1) at success rate p.",
            "",
            f"{_negative_share(report)}The weights of pass@k shift the mean agreement:",
            "",
            _SHIFT_HEAD.format(first=""),
            *rows,
        ]
    )


def _negative_share(report: AuditReport) -> str:
    share = report.unbiased.negative_fraction
    if share != share:  # no prompt has a gradient
        return ""
    return (
        f"Of the prompts with correct and incorrect rollouts, {100 * share:.0f}% have a negative agreement (noise "
        "pulls this share towards half). "
    )


def _filtered(report: AuditReport) -> str:
    paragraphs = [
        "Easy: success rate above δ1. Hard: below δ2, but not zero. Agreement is with the pass@1 gradient of these "
        "prompts. The same rollouts choose the prompts and give their gradients, which biases these figures: they "
        "show where a conflict is, not whether there is one."
    ]
    for title, conflicts in {
        f"The paper's form: plug-in weights at k = {report.measurement.num_rollouts}, self terms included": (
            report.filtered
        ),
        f"Unbiased weights at k = {report.k}, no self terms": report.filtered_unbiased,
    }.items():
        rows = [_shift_row(_thresholds(conflict), conflict.shift) for conflict in conflicts]
        paragraphs.append("\n".join([f"{title}:", "", _SHIFT_HEAD.format(first="δ1, δ2 (hard/easy)"), *rows]))
    return "\n\n".join(paragraphs)


def _thresholds(conflict: FilteredConflict) -> str:
    return f"{conflict.delta_1:.2f}, {conflict.delta_2:.2f} ({conflict.num_hard}/{conflict.num_easy})"


def _shift_row(name: str, shift: AgreementShift | None) -> str:
    if shift is None:
        return f"| {name} | too few prompts | | | | | |"
    return (
        f"| {name} | {shift.mean_agreement:.3g} | {shift.weighted_agreement:.3g} "
        f"| {number_or_dash(shift.low, '.3g')} .. {number_or_dash(shift.high, '.3g')} | {shift.shift:.3g} "
        f"| {number_or_dash(shift.reweighted_mean, '.3g')} "
        f"| {shift.inner_product_sum:.3g} ± {number_or_dash(shift.inner_product_sum_error, '.3g')} |"
    )


def _prompts(report: AuditReport, num_shown: int) -> str:
    unbiased, k = report.unbiased, report.k
    most_negative = unbiased.most_negative(k, num_shown)
    if not most_negative:
        return NO_NEGATIVE_PROMPT
    paragraphs = [contribution_note(k)]
    for i in most_negative:
        contribution = float(unbiased.contribution(k)[i])
        quoted = code_block(cut(report.text(i), PROMPT_CHARACTERS))
        paragraphs.append(
            f"**Row {report.row(i)}**: {prompt_summary(unbiased, i, k)} = {contribution:.3g}\n\n{quoted}"
        )
    return "\n\n".join(paragraphs)
