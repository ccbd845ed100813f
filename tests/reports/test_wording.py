"""What several reports say in one way."""

import math
from dataclasses import replace

import torch

from passk_trl.interference import known_cosine
from passk_trl.records import ProbeRecord
from passk_trl.reports.wording import (
    BEYOND_NOTE,
    curve_points,
    known_cosines,
    notes_on_cosines,
    number_or_dash,
    onset_or_why_not,
    onset_sentence,
    prompt_summary,
    sample_size,
)
from runs import interference


def test_the_sentence_about_the_onset_is_of_the_measured_curve():
    opposed, agreeing = interference(opposed=True), interference(opposed=False)
    low, high = opposed.onset_interval

    def sentence(report, first_step=None):
        return onset_sentence(ProbeRecord(10, 4, report, [], {}, {}, None, first_step=first_step))

    measured = "In the latest report alone, the measured pass@k gradient"
    told = f"{measured} works against pass@1's from k = {opposed.onset:.1f} on"
    assert sentence(opposed) == f"{told} (95% interval {low:.1f} to {high:.1f})."
    unsure = replace(opposed, onset_interval=(low, None))
    cannot_tell = "This report cannot tell whether it really does:"
    assert sentence(unsure) == (
        f"{told}. {cannot_tell} at no k is the whole 95% band below 0. Raise num_prompts to see it."
    )
    assert onset_or_why_not(unsure) == f"k = {opposed.onset:.1f} ({low:.1f} to ?)"
    agrees = f"{measured} agrees with pass@1's up to k = 7"
    assert sentence(agreeing) == f"{agrees}."
    wide_K = torch.where(agreeing.ks <= 3, agreeing.inner_product_se, 1e3)
    shown = f"{agrees}. The 95% intervals show it up to k = 3. Beyond, it may be noise."
    assert sentence(replace(agreeing, inner_product_se=wide_K)) == shown
    gap_K = torch.where(agreeing.ks == 4, 1e3, agreeing.inner_product_se)  # k = 5, 6 and 7 are sure again
    assert sentence(replace(agreeing, inner_product_se=gap_K)) == shown
    for first in (1, 2):  # at k = 1 a gradient agrees with itself
        wide_K = torch.where(agreeing.ks >= first, 1e3, agreeing.inner_product_se)
        assert sentence(replace(agreeing, inner_product_se=wide_K)) == (
            f"{agrees}. {cannot_tell} the 95% interval at k = {first} holds 0. Raise num_prompts to see it."
        )
    lost = replace(opposed, agreement=-opposed.agreement, onset=None)
    lost_in_noise = "In the latest report alone, pass@1's gradient is lost in the noise; raise"
    assert sentence(lost) == f"{lost_in_noise} num_prompts to see it."
    of_ride = lost_in_noise.replace("alone,", "alone, over the prompts of steps 3 to 10,")
    assert sentence(lost, first_step=3) == f"{of_ride} window to see it."
    assert [onset_or_why_not(each) for each in (opposed, agreeing, lost)] == [
        *(f"k = {opposed.onset:.1f} ({low:.1f} to {high:.1f})", "none", "lost in noise")
    ]


def test_nothing_is_drawn_where_the_probe_cannot_tell_the_cosine():
    report = interference(opposed=True)
    cosine_K, below_K, above_K = known_cosines(report)
    columns = torch.stack((report.cosine, report.cosine_low, report.cosine_high), dim=1).tolist()
    assert cosine_K.isnan().tolist() == [known_cosine(*row) is None for row in columns]
    told = ~cosine_K.isnan()
    assert 0 < told.sum() < len(told)
    assert (cosine_K[told].abs() <= 1).all()
    assert torch.allclose((cosine_K - below_K)[told], report.cosine_low[told])
    assert (above_K[told] >= 0).all()


def test_points_of_the_curve_are_those_of_the_report():
    report = interference(opposed=True)
    points = curve_points(report)
    assert [point.k for point in points] == report.ks.tolist()
    low, high = report.inner_product_low[3], report.inner_product_high[3]
    assert points[3][1:3] == (f"{report.inner_product[3]:.3g}", f"{low:.3g} .. {high:.3g}")
    assert points[3].cosine == f"{report.cosine[3]:.2f} (-1.00 to {report.cosine_high[3]:.2f})"
    assert points[0].cosine == "–"  # ‖∇J_1‖² is within its error of 0
    assert tuple(point.k for point in points if point.conflict) == report.conflict_ks


def test_a_cosine_beyond_what_one_can_be_is_explained_and_no_other():
    report = interference(opposed=True)
    points = curve_points(replace(report, norm_squared=report.norm_squared / 100))
    beyond = [point for point in points if point.cosine.startswith("≤ −1")]
    within = [point for point in points if point not in beyond]
    assert beyond
    assert within
    assert notes_on_cosines(points) == [BEYOND_NOTE]
    assert notes_on_cosines(within) == []


def test_a_prompt_and_the_size_of_a_probe():
    report = interference(opposed=True)
    assert sample_size(report) == "16 prompts x 8 rollouts, 95% intervals"
    weight, agreement = report.weights[3, 15], report.agreement[15]
    assert prompt_summary(report, 15, 4) == f"1 of 8 correct, weight {weight:.3g} × agreement {agreement:.3g}"


def test_no_number_is_a_dash():
    assert [number_or_dash(value, ".1f") for value in (None, math.nan, math.inf, 0.25)] == ["–", "–", "–", "0.2"]
