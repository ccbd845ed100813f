"""What an audit has to say: `report.md` for a reader, `report.json` for a program, and three figures."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passk_trl.estimators import pass_at_k
from passk_trl.interference import InterferenceReport, measure_interference
from passk_trl.interference.agreement import AgreementShift, agreement_shift
from passk_trl.interference.easy_hard import FilteredConflict, conflict_of_filtered
from passk_trl.interference.in_words import verdict
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.interference.onset import onset_interval
from passk_trl.reports.style import BLUE, GREY, ORANGE
from passk_trl.rollouts.metrics import reported_ks

from .audit import Measurement


# A prompt's text is cut to this many characters in report.md; report.json has it whole.
_CHARACTERS_SHOWN = 600


@dataclass(frozen=True)
class Audited:
    """
    An audit's measurement, what it is of, and what follows from it.

    Args:
        measured ([`~passk_trl.audit.Measurement`]): counts and Gram matrix.
        about (`dict[str, Any]`): what was audited and how, JSON-safe: model, dataset, parameters, sampling.
        texts (`list[str]`): the text of each row of the dataset.
        rows (`list[int]`): the number of each in the dataset it was drawn from.
        truncated (`list[str]`): settings by which rollouts are not of the policy itself, such as `"top_p=0.95"`.
        k (`int`): the k at which weights, shift and prompts are shown.
        unbiased ([`InterferenceReport`]): the unbiased estimates for k = 1 … n − 1.
        plugin ([`InterferenceReport`]): the paper's, with plug-in weights and self terms, for k = 1 … n.
        filtered (`list[FilteredConflict]`): the paper's grid of easy and hard prompts, `"plugin"` at k = n.
        filtered_unbiased (`list[FilteredConflict]`): the same with unbiased weights and no self terms, at `k`.
    """

    measured: Measurement
    about: dict[str, Any]
    texts: list[str]
    rows: list[int]
    truncated: list[str]
    k: int
    unbiased: InterferenceReport
    plugin: InterferenceReport
    filtered: list[FilteredConflict]
    filtered_unbiased: list[FilteredConflict]


def diagnose(
    measured: Measurement,
    about: dict[str, Any],
    texts: list[str],
    rows: list[int],
    truncated: list[str],
    k: int,
    confidence: float,
) -> Audited:
    """
    Everything that follows from a measurement.

    Args:
        measured, about, texts, rows, truncated, k:
            As in [`Audited`].
        confidence (`float`):
            Level of the intervals.

    Raises:
        `ValueError`: if fewer than eight prompts were measured.
    """
    gram, correct, n = measured.gram, measured.num_correct, measured.num_rollouts
    if len(correct) < FEWEST_PROMPTS:
        raise ValueError(
            f"only {len(correct)} prompts could be measured, too few for an error bar; set num_prompts to at least "
            f"{FEWEST_PROMPTS}, better 256, and check that the reward functions can score their rollouts."
        )
    return Audited(
        measured,
        about,
        texts,
        rows,
        truncated,
        k,
        unbiased=measure_interference(gram, correct, n, None, confidence),
        plugin=measure_interference(gram, correct, n, range(1, n + 1), confidence, "plugin"),
        filtered=conflict_of_filtered(gram, correct, n, n, "plugin", confidence=confidence),
        filtered_unbiased=conflict_of_filtered(gram, correct, n, k, "unbiased", confidence=confidence),
    )


def write_audit(directory: str | Path, audited: Audited, num_shown: int = 10) -> str:
    """
    Writes `report.json`, `report.md`, `success.png`, `weights.png` and `curve.png` into a directory.

    Args:
        directory (`str` or `Path`):
            Where to.
        audited ([`Audited`]):
            What to report.
        num_shown (`int`, *optional*, defaults to `10`):
            Most negatively interfering prompts to show.

    Returns:
        `str`: the verdict, and where the report is.
    """
    directory = Path(directory)
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        for name, draw in {"success": _draw_success, "weights": _draw_weights, "curve": _draw_curve}.items():
            figure = Figure(figsize=(9, 3.6), layout="constrained")
            draw(figure, audited)
            figure.savefig(directory / f"{name}.png", dpi=150)
    content = json.dumps(_without_nan(_as_json(audited, num_shown)), indent=1, allow_nan=False)
    (directory / "report.json").write_text(content + "\n")
    (directory / "report.md").write_text(_as_markdown(audited, num_shown))
    return f"{verdict(audited.unbiased)}\nreport: {directory / 'report.md'}"


# For a program.


def _as_json(audited: Audited, num_shown: int) -> dict[str, Any]:
    measured, report = audited.measured, audited.unbiased
    low, high = onset_interval(report)
    prompts = [_prompt_as_json(audited, i) for i in range(len(measured.prompts))]
    return {
        "verdict": verdict(report),
        "about": audited.about,
        "truncated_sampling": audited.truncated,
        "num_prompts": len(measured.prompts),
        "num_rollouts": measured.num_rollouts,
        "unscorable_rows": [audited.rows[i] for i in measured.unscorable],
        "not_finite_rows": [audited.rows[i] for i in measured.not_finite],
        "gradients": {"store": measured.store, **asdict(measured.coverage)},
        "onset": report.onset,
        "onset_interval": [low, high],
        "conflict_ks": list(report.conflict_ks),
        "k_star_bound": report.k_star_bound,
        "k_star_bound_paper": report.k_star_bound_paper,
        "success_histogram": _histogram(measured),
        "pass_at_k": _passk(measured),
        "k": audited.k,
        "curve": [_shift_as_json(agreement_shift(report, k)) for k in report.ks.tolist()],
        "curve_plugin": [_shift_as_json(agreement_shift(audited.plugin, k)) for k in audited.plugin.ks.tolist()],
        "filtered_plugin": [_cell_as_json(cell) for cell in audited.filtered],
        "filtered_unbiased": [_cell_as_json(cell) for cell in audited.filtered_unbiased],
        "interference": report.to_dict(),
        "interference_plugin": audited.plugin.to_dict(),
        "prompts": prompts,
        "most_negative": [
            {**prompts[i], "text": _text(audited, i)} for i in audited.unbiased.most_negative(audited.k, num_shown)
        ],
    }


def _shift_as_json(shift: AgreementShift) -> dict[str, float]:
    derived = ("shift", "reweighted_mean", "inner_product_sum", "inner_product_sum_error")
    return asdict(shift) | {name: getattr(shift, name) for name in derived}


def _cell_as_json(cell: FilteredConflict) -> dict[str, Any]:
    return asdict(cell) | {"shift": None if cell.shift is None else _shift_as_json(cell.shift)}


def _prompt_as_json(audited: Audited, i: int) -> dict[str, Any]:
    report = audited.unbiased
    return {
        "row": audited.rows[audited.measured.prompts[i]],
        "num_correct": int(report.num_correct[i]),
        "agreement": float(report.agreement[i]),
        "weight": float(report.weights[report.at(audited.k), i]),
        "contribution": float(report.contribution(audited.k)[i]),
    }


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _histogram(measured: Measurement) -> list[int]:
    """Prompts with 0, 1 … n correct rollouts."""
    return torch.bincount(measured.num_correct, minlength=measured.num_rollouts + 1).tolist()


def _passk(measured: Measurement) -> dict[int, float]:
    n = measured.num_rollouts
    return {
        k: torch.as_tensor(pass_at_k(torch.tensor(n), measured.num_correct, k)).mean().item() for k in reported_ks(n)
    }


def _text(audited: Audited, i: int) -> str:
    return audited.texts[audited.measured.prompts[i]]


# For a reader.


def _as_markdown(audited: Audited, num_shown: int) -> str:
    sections = {
        "Verdict": _told_verdict(audited),
        "What was measured": _told_measurement(audited),
        "The curve over k": _told_curve(audited),
        "Success": _told_success(audited),
        f"Weights against agreement, k = {audited.k}": _told_weights(audited),
        "Easy and hard prompts alone": _told_filtered(audited),
        "Most negatively interfering prompts": _told_prompts(audited, num_shown),
    }
    parts = [f"# Would pass@k training lower this model's pass@1?\n\n`{audited.about['model']}`"]
    return "\n\n".join(parts + [f"## {title}\n\n{text}" for title, text in sections.items()]) + "\n"


def _told_verdict(audited: Audited) -> str:
    lines = [f"**{verdict(audited.unbiased)}**"]
    if audited.truncated:
        lines.append(
            f"Rollouts were sampled with {', '.join(audited.truncated)}, so not from the policy whose gradients these "
            "are: the estimates are biased by an amount that this report cannot tell. Without truncation they are not."
        )
    lines.append(
        "This is to first order, at these weights: where the inner product of the two gradients is negative, a small "
        "step along the pass@k gradient lowers pass@1 ([Barakat et al. 2026](https://arxiv.org/abs/2602.21189))."
    )
    return "\n\n".join(lines)


def _told_measurement(audited: Audited) -> str:
    measured, coverage = audited.measured, audited.measured.coverage
    kept = {"exact": "kept whole", "sketch": "kept as random sketches, whose error is in the intervals"}[
        measured.store
    ]
    lines = [f"- {name}: {value}" for name, value in audited.about.items()]
    lines += [
        f"- {len(measured.prompts)} prompts x {measured.num_rollouts} rollouts, "
        f"{100 * audited.unbiased.confidence:g}% intervals (jackknife over prompts, for each k by itself)",
        f"- gradients of {coverage.covered} of {coverage.total} chosen parameters, {kept}",
    ]
    if coverage.left_out:
        lines.append(f"- left out, of layer kinds that are not covered: {', '.join(coverage.left_out)}")
    for reason, prompts in {
        "a rollout could not be scored": measured.unscorable,
        "their gradient is not finite": measured.not_finite,
    }.items():
        if prompts:
            lines.append(f"- left out, since {reason}: rows {', '.join(str(audited.rows[i]) for i in prompts)}")
    return "\n".join(lines)


def _told_curve(audited: Audited) -> str:
    report, n = audited.unbiased, audited.measured.num_rollouts
    low, high = onset_interval(report)
    rows = []
    for at, k in enumerate(report.ks.tolist()):
        shift, cosine = agreement_shift(report, k), float(report.cosine[at])
        rows.append(
            f"| {k:g} | {shift.weighted_agreement:.3g} | {shift.low:.3g} .. {shift.high:.3g} "
            f"| {_number(cosine, '.2f')} | {shift.inner_product_sum:.3g} ± {shift.inner_product_sum_error:.3g} "
            f"| {'conflict' * report.in_conflict(k)} |"
        )
    onset = [
        f"- onset, the first k at which the curve turns negative: {_number(report.onset, '.2f')}, interval "
        f"{_number(low, '.2f')} to {_number(high, '.2f')} (a dash: not up to k = {n - 1})",
        f"- k*, the paper's sufficient bound (Prop. 4.5), on the measured agreement: "
        f"{_number(report.k_star_bound, '.2f')}; with the largest entry of the Gram matrix for its G²: "
        f"{_number(report.k_star_bound_paper, '.2f')} (a dash: its premise does not hold here, success does not part "
        "the prompts of negative agreement from the others)",
    ]
    note = f"Intervals beyond k = {n // 2}, half the rollouts, rest on few prompts and cover less than they say."
    head = "| k | ⟨∇J_k, ∇J_1⟩ | interval | cosine | sum over prompts ± s.e. | |\n|---|---|---|---|---|---|"
    return "\n".join(["![curve over k](curve.png)", "", *onset, "", head, *rows, "", note])


def _told_success(audited: Audited) -> str:
    passk = _passk(audited.measured)
    table = [
        "| " + " | ".join(f"pass@{k}" for k in passk) + " |",
        "|" + "---|" * len(passk),
        "| " + " | ".join(f"{value:.3f}" for value in passk.values()) + " |",
    ]
    return "\n".join(["![success histogram](success.png)", "", *table])


def _told_weights(audited: Audited) -> str:
    n = audited.measured.num_rollouts
    negative = audited.unbiased.negative_fraction
    rows = [
        _shift_row(f"unbiased, k = {audited.k}", agreement_shift(audited.unbiased, audited.k)),
        _shift_row(f"the paper's plug-in with self terms, k = {n}", agreement_shift(audited.plugin, n)),
    ]
    return "\n".join(
        [
            "![weights against agreement](weights.png)",
            "",
            "The agreement a of a prompt is the inner product of the gradient of its own success with the pass@1 "
            "gradient; where it is negative, what helps the prompt hurts the rest. Its weight w is how much pass@k "
            "listens to it, k(1−p)^(k−1) at success rate p.",
            "",
            f"{100 * negative:.0f}% of the prompts have a negative agreement (noise pulls this towards half). "
            "Weighting prompts as pass@k does shifts the mean agreement:",
            "",
            _SHIFT_HEAD.format(first=""),
            *rows,
        ]
    )


def _told_filtered(audited: Audited) -> str:
    n = audited.measured.num_rollouts
    parts = [
        "Easy: success above δ1. Hard: below δ2, but not zero. Agreement is with the pass@1 gradient of these. "
        "Choosing prompts by the rollouts that their gradients come from biases these figures; they show where a "
        "conflict sits, not whether there is one."
    ]
    for title, cells in {
        f"The paper's form: plug-in weights at k = {n}, self terms included": audited.filtered,
        f"Unbiased weights at k = {audited.k}, no self terms": audited.filtered_unbiased,
    }.items():
        rows = [
            _shift_row(f"{cell.delta_1:.2f}, {cell.delta_2:.2f} ({cell.num_hard}/{cell.num_easy})", cell.shift)
            for cell in cells
        ]
        parts.append("\n".join([f"{title}:", "", _SHIFT_HEAD.format(first="δ1, δ2 (hard/easy)"), *rows]))
    return "\n\n".join(parts)


_SHIFT_HEAD = (
    "| {first} | mean a | E[w a] | interval | shift | E[w a]/E[w] | sum over prompts ± s.e. |\n"
    "|---|---|---|---|---|---|---|"
)


def _shift_row(name: str, shift: AgreementShift | None) -> str:
    if shift is None:
        return f"| {name} | too few prompts | | | | | |"
    return (
        f"| {name} | {shift.mean_agreement:.3g} | {shift.weighted_agreement:.3g} "
        f"| {shift.low:.3g} .. {shift.high:.3g} | {shift.shift:.3g} | {_number(shift.reweighted_mean, '.3g')} "
        f"| {shift.inner_product_sum:.3g} ± {shift.inner_product_sum_error:.3g} |"
    )


def _told_prompts(audited: Audited, num_shown: int) -> str:
    worst = audited.unbiased.most_negative(audited.k, num_shown)
    if not worst:
        return "None takes anything from the inner product."
    n = audited.measured.num_rollouts
    parts = [f"What each adds to ⟨∇J_k, ∇J_1⟩ at k = {audited.k} is its weight times its agreement, over N."]
    for i in worst:
        prompt, text = _prompt_as_json(audited, i), _text(audited, i)
        cut = text[:_CHARACTERS_SHOWN] + "…" * (len(text) > _CHARACTERS_SHOWN)
        quoted = "\n".join(f"> {line}" for line in cut.splitlines())
        parts.append(
            f"**Row {prompt['row']}**: {prompt['num_correct']} of {n} correct, weight {prompt['weight']:.3g} × "
            f"agreement {prompt['agreement']:.3g} = {prompt['contribution']:.3g}\n\n{quoted}"
        )
    return "\n\n".join(parts)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)


# Figures.


def _draw_success(figure: Figure, audited: Audited) -> None:
    left, right = figure.subplots(1, 2)
    counts = _histogram(audited.measured)
    left.bar(range(len(counts)), counts, color=BLUE)
    left.set(xlabel=f"correct rollouts of {audited.measured.num_rollouts}", ylabel="prompts")
    left.set_title("success of the prompts", fontsize=9)
    passk = _passk(audited.measured)
    right.plot(list(passk), list(passk.values()), color=ORANGE, marker="o", markersize=3)
    right.set(ylabel="pass@k", ylim=(0, 1.02))
    _k_axis(right)
    right.set_title("pass@k, unbiased", fontsize=9)


def _draw_weights(figure: Figure, audited: Audited) -> None:
    left, right = figure.subplots(1, 2)
    points = _scatter(left, audited.unbiased, audited.k)
    left.set_title(f"unbiased weights, k = {audited.k}", fontsize=9)
    _scatter(right, audited.plugin, audited.measured.num_rollouts)
    right.set_title(f"the paper's plug-in weights, k = {audited.measured.num_rollouts}", fontsize=9)
    figure.colorbar(points, ax=[left, right], label="success rate")


def _scatter(axes: Axes, report: InterferenceReport, k: int) -> Any:
    mixed = (report.num_correct > 0) & (report.num_correct < report.num_samples)
    weights = report.weights[report.at(k)]
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="agreement with the pass@1 gradient", ylabel="weight")
    return axes.scatter(
        *(report.agreement[mixed], weights[mixed]), c=report.success_rate[mixed], cmap="cividis", vmin=0, vmax=1, s=12
    )


def _draw_curve(figure: Figure, audited: Audited) -> None:
    left, right = figure.subplots(1, 2)
    report = audited.unbiased
    errors = [report.inner_product - report.inner_product_low, report.inner_product_high - report.inner_product]
    style = {"color": BLUE, "marker": "o", "markersize": 3, "capsize": 2}
    left.errorbar(report.ks, report.inner_product, yerr=torch.stack(errors), **style)
    right.errorbar(report.ks, report.cosine, yerr=report.cosine_margin, **style)
    low, high = onset_interval(report)
    for axes in (left, right):
        axes.axhline(0, color=GREY, linewidth=0.8)
        _k_axis(axes)
        if low is not None:
            axes.axvspan(low, high if high is not None else report.ks[-1].item(), color=ORANGE, alpha=0.15)
        if report.onset is not None:
            axes.plot(report.onset, 0, marker="D", color=ORANGE, markersize=6)
    left.set(ylabel="inner product of pass@k and pass@1 gradients")
    right.set(ylabel="their cosine", ylim=(-1.1, 1.1))
    left.set_title("conflict over k (diamond: onset, shaded: its interval)", fontsize=9)


def _k_axis(axes: Axes) -> None:
    axes.set_xlabel("k")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
