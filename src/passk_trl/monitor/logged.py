"""What is logged and announced of a report: pure functions of its record."""

import math
from collections.abc import Sequence

import torch

from passk_trl.interference import PASS1_IS_LOST, known_cosine
from passk_trl.interference.alarm import Alarm
from passk_trl.records import ProbeRecord, alarms_of
from passk_trl.reports.wording import more_prompts, onset_or_why_not
from passk_trl.rollouts.metrics import reported_ks

from .window import FEWEST_OF_LOOK


# How gradients were kept, as the log says it.
_STORES = {"exact": "whole (gram='exact')", "sketch": "as sketches of a fixed size (gram='sketch')"}


def metrics_of(record: ProbeRecord, alarm: Alarm) -> dict[str, float]:
    """
    The metrics of a probe.

    Args:
        record ([`ProbeRecord`]): the probe.
        alarm ([`~passk_trl.interference.alarm.Alarm`]): where the run stands after it.

    Returns:
        `dict[str, float]`: by name, `conflict/…`. What the probe cannot tell is left out, such as a cosine whose
        interval has no end, an onset where there is none, or an inner product of which no pair of prompts tells.
    """
    report = record.report
    logged_ks = reported_ks(int(report.num_samples.min()), record.training_k)
    metrics: dict[str, float | None] = {
        "conflict/in_conflict": float(alarm.in_conflict),
        "conflict/evidence": alarm.evidence,
        "conflict/negative_fraction": report.negative_fraction,
        "conflict/onset_k": report.onset if report.onset_interval[1] is not None else None,
    }
    if record.coverage is not None:
        metrics["conflict/coverage"] = record.coverage
    if record.probe_seconds is not None:
        metrics["conflict/probe_seconds"] = record.probe_seconds
    if record.first_step is not None:
        metrics["conflict/window_age"] = float(record.step - record.first_step)
    if record.drift is not None and abs(record.drift[0]) > record.drift[1]:
        metrics["conflict/drift"] = record.drift[0]
    cosines = (report.cosine, report.cosine_low, report.cosine_high)
    columns = (report.ks, report.inner_product, report.inner_product_se, *cosines)
    for k, inner_product, error, *cosine in torch.stack(columns, dim=1).tolist():
        if k in logged_ks:
            metrics[f"conflict/inner_product@{k:g}"] = inner_product if math.isfinite(error) else None
            metrics[f"conflict/cosine@{k:g}"] = known_cosine(*cosine)
    if record.forecast is not None:
        forecast = record.forecast
        for k, change, margin in torch.stack((forecast.ks, forecast.change, forecast.margin), dim=1).tolist():
            if k in logged_ks:
                metrics[f"conflict/forecast_pass@{k:g}"] = change if math.isfinite(margin) else None
    for name, measured in record.objectives.items():
        is_known = math.isfinite(measured.inner_product_high)
        metrics[f"conflict/inner_product@{name}"] = measured.inner_product if is_known else None
        metrics[f"conflict/cosine@{name}"] = known_cosine(measured.cosine, measured.cosine_low, measured.cosine_high)
    for k in logged_ks:
        metrics[f"conflict/pass@{k}"] = record.pass_at(k)[0]
    return {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}


def crossing(records: Sequence[ProbeRecord], objective: str | None = None) -> str | None:
    """
    The sentence that announces that training has entered a conflict with the latest probe, or has left it; `None` if
    neither happened.

    Args:
        records (`Sequence[ProbeRecord]`): the probes of the run, the latest last.
        objective (`str`, *optional*): name of the objective trained for; pass@k, for the `training_k`, if `None`.
    """
    before, now = [False, *(alarm.in_conflict for alarm in alarms_of(records, objective))][-2:]
    if now == before:
        return None
    record = records[-1]
    k, report = record.training_k, record.report
    measured = record.objectives.get(objective) if objective is not None else None
    name = measured.name if measured else f"pass@{k}"
    if not now:
        return f"step {record.step}: training for {name} no longer works against pass@1, by the reports since then."
    if measured:
        index, onset = "f", ""
        value, low, high = measured.inner_product, measured.inner_product_low, measured.inner_product_high
    else:
        index, onset = str(k), _onset_in_words(record)
        curves = (report.inner_product, report.inner_product_low, report.inner_product_high)
        value, low, high = (curve[report.at(k)].item() for curve in curves)
    level = f"{100 * report.confidence:g}%"
    where = "" if record.first_step is None else f", if window is {FEWEST_OF_LOOK} or more"
    return (
        f"step {record.step}: training for {name} works against pass@1, by the evidence of the reports so far "
        f"({level} of runs without a conflict never raise this alarm{where}). In this report, <grad J_{index}, grad "
        f"J_1> is {value:.3g}, {level} interval {low:.3g} to {high:.3g}.{onset}"
    )


def _onset_in_words(record: ProbeRecord) -> str:
    report = record.report
    if report.pass1_is_lost:
        return f" Where the conflict begins cannot be told: {PASS1_IS_LOST}; raise {more_prompts(record)}."
    return "" if report.onset is None else f" Measured, the conflict begins at {onset_or_why_not(report)}."


def coverage_in_words(record: ProbeRecord) -> str:
    """How many of the trainable parameters the monitor takes in, and how it forms and keeps their gradients."""
    assert record.gram is not None  # which a probe of this version records
    assert record.in_graph_parameters is not None
    assert record.covered_parameters is not None
    closed = record.covered_parameters - record.in_graph_parameters
    return (
        f"the monitor takes in {record.covered_parameters} of {record.trainable_parameters} trainable parameters, "
        f"{closed} in closed form and {record.in_graph_parameters} by autograd, {_STORES[record.gram]}."
    )


def left_out_in_words(record: ProbeRecord) -> str | None:
    """Which trainable parameters the monitor leaves out; `None` if it takes in all."""
    if not record.left_out_parameters or not record.coverage:  # or no prompt has a gradient yet
        return None
    or_zero = "" if record.first_step is None else ", or were 0 so far"  # on a ride
    return (
        f"the monitor leaves out {100 * (1 - record.coverage):.1f}% of the trainable parameters, whose gradients "
        f"cannot be taken{or_zero}: {', '.join(record.left_out_parameters)}."
    )
