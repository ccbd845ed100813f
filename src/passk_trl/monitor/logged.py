"""What is logged and announced of a probe: pure functions of its record."""

import torch

from passk_trl.estimators import pass_at_k
from passk_trl.records import ProbeRecord
from passk_trl.rollouts.metrics import reported_ks


# How gradients were kept, as the log says it.
_STORES = {"exact": "whole (gram='exact')", "sketch": "as sketches of a fixed size (gram='sketch')"}


def metrics_of(record: ProbeRecord, objective: str | None = None) -> dict[str, float]:
    """
    The metrics of a probe.

    Args:
        record ([`ProbeRecord`]): the probe.
        objective (`str`, *optional*): name of the objective trained for; pass@k, for the `training_k`, if `None`.

    Returns:
        `dict[str, float]`: by name, `conflict/…`. There is no `conflict/onset_k` without an onset.
    """
    report = record.report
    logged_ks = reported_ks(int(report.num_samples.max()), record.training_k)
    metrics = {
        "conflict/in_conflict": float(record.in_conflict(record.training_k, objective)),
        "conflict/negative_fraction": report.negative_fraction,
    }
    if record.coverage is not None:
        metrics["conflict/coverage"] = record.coverage
    if record.probe_seconds is not None:
        metrics["conflict/probe_seconds"] = record.probe_seconds
    if report.onset is not None:
        metrics["conflict/onset_k"] = report.onset
    for k, inner_product, cosine in zip(report.ks.tolist(), report.inner_product, report.cosine, strict=True):
        if k in logged_ks:
            metrics[f"conflict/inner_product@{k:g}"] = float(inner_product)
            metrics[f"conflict/cosine@{k:g}"] = float(cosine)
    if record.forecast is not None:
        for k, change in zip(record.forecast.ks.tolist(), record.forecast.change.tolist(), strict=True):
            if k in logged_ks:
                metrics[f"conflict/forecast_pass@{k:g}"] = change
    for name, measured in record.objectives.items():
        metrics[f"conflict/inner_product@{name}"] = measured.inner_product
        metrics[f"conflict/cosine@{name}"] = measured.cosine
    for k in logged_ks:
        values_N = torch.as_tensor(pass_at_k(report.num_samples, report.num_correct, k))
        metrics[f"conflict/pass@{k}"] = (report.sampling_weights * values_N).mean().item()
    return metrics


def crossing(record: ProbeRecord, earlier: ProbeRecord | None, objective: str | None = None) -> str | None:
    """
    The sentence that announces that training has entered a significant conflict or has left it; `None` if neither
    happened.

    Args:
        record ([`ProbeRecord`]): the latest probe.
        earlier ([`ProbeRecord`], *optional*): the probe before it. Without one, training was not in conflict.
        objective (`str`, *optional*): name of the objective trained for; pass@k, for the `training_k`, if `None`.
    """
    k, report = record.training_k, record.report
    now = record.in_conflict(k, objective)
    if now == (earlier is not None and earlier.in_conflict(k, objective)):
        return None
    measured = record.objectives.get(objective) if objective is not None else None
    name = measured.name if measured else f"pass@{k}"
    if not now:
        return f"step {record.step}: the conflict between {name} and pass@1 is no longer significant."
    if measured:
        index, onset = "f", ""
        value, low, high = measured.inner_product, measured.inner_product_low, measured.inner_product_high
    else:
        index, onset = str(k), f" The conflict begins at k = {report.onset:.1f}."
        curves = (report.inner_product, report.inner_product_low, report.inner_product_high)
        value, low, high = (curve[report.at(k)].item() for curve in curves)
    return (
        f"step {record.step}: training for {name} now works against pass@1: <grad J_{index}, grad J_1> is "
        f"{value:.3g}, {100 * report.confidence:g}% interval {low:.3g} to {high:.3g}.{onset}"
    )


def coverage_in_words(record: ProbeRecord) -> str:
    """How many of the trainable parameters a probe takes in, and how it forms and keeps their gradients."""
    assert record.gram is not None  # which a probe of this version records
    assert record.in_graph_parameters is not None
    assert record.covered_parameters is not None
    closed = record.covered_parameters - record.in_graph_parameters
    return (
        f"probes take in {record.covered_parameters} of {record.trainable_parameters} trainable parameters, {closed} "
        f"in closed form and {record.in_graph_parameters} by autograd, {_STORES[record.gram]}."
    )


def left_out_in_words(record: ProbeRecord) -> str | None:
    """Which trainable parameters a probe leaves out; `None` if it takes in all."""
    if not record.left_out_parameters or record.coverage is None:
        return None
    return (
        f"probes leave out {100 * (1 - record.coverage):.1f}% of the trainable parameters, whose gradients cannot "
        f"be taken: {', '.join(record.left_out_parameters)}."
    )
