"""The report of an audit for a program: everything that was found, JSON-safe."""

from dataclasses import asdict
from typing import Any

from passk_trl.interference import AgreementShift, FilteredConflict, agreement_shift, verdict
from passk_trl.interference.json_safe import json_safe

from .audit_report import AuditReport


__all__ = ["as_json"]


def as_json(report: AuditReport, num_shown: int) -> dict[str, Any]:
    """
    The content of `report.json`, with `None` in place of NaN and infinity.

    Args:
        report ([`AuditReport`]):
            What was found.
        num_shown (`int`):
            Number of the most negatively interfering prompts to include with their text.
    """
    measurement, unbiased = report.measurement, report.unbiased
    prompts = [_prompt(report, i) for i in range(len(measurement.prompts))]
    content = {
        "verdict": verdict(unbiased),
        "about": report.about,
        "truncated_sampling": report.truncated,
        "num_prompts": len(measurement.prompts),
        "num_rollouts": measurement.num_rollouts,
        "unscorable_rows": [report.rows[i] for i in measurement.unscorable],
        "not_finite_rows": [report.rows[i] for i in measurement.not_finite],
        "gradients": {"store": measurement.store, **asdict(measurement.coverage)},
        "onset": unbiased.onset,
        "onset_interval": list(unbiased.onset_interval),
        "conflict_ks": list(unbiased.conflict_ks),
        "k_star_bound": unbiased.k_star_bound,
        "k_star_bound_paper": unbiased.k_star_bound_paper,
        "success_histogram": report.success_histogram,
        "pass_at_k": report.pass_at_k,
        "k": report.k,
        "curve": [_shift(agreement_shift(unbiased, k)) for k in unbiased.ks.tolist()],
        "curve_plugin": [_shift(agreement_shift(report.plugin, k)) for k in report.plugin.ks.tolist()],
        "filtered_plugin": [_filtered(conflict) for conflict in report.filtered],
        "filtered_unbiased": [_filtered(conflict) for conflict in report.filtered_unbiased],
        "interference": unbiased.to_dict(),
        "interference_plugin": report.plugin.to_dict(),
        "prompts": prompts,
        "most_negative": [{**prompts[i], "text": report.text(i)} for i in unbiased.most_negative(report.k, num_shown)],
    }
    return json_safe(content)


def _shift(shift: AgreementShift) -> dict[str, float]:
    derived = ("shift", "reweighted_mean", "inner_product_sum", "inner_product_sum_error")
    return asdict(shift) | {name: getattr(shift, name) for name in derived}


def _filtered(conflict: FilteredConflict) -> dict[str, Any]:
    return asdict(conflict) | {"shift": None if conflict.shift is None else _shift(conflict.shift)}


def _prompt(report: AuditReport, i: int) -> dict[str, Any]:
    unbiased = report.unbiased
    return {
        "row": report.row(i),
        "num_correct": int(unbiased.num_correct[i]),
        "agreement": float(unbiased.agreement[i]),
        "weight": float(unbiased.weights[unbiased.at(report.k), i]),
        "contribution": float(unbiased.contribution(report.k)[i]),
    }
