"""The figures of an audit have each number where it belongs."""

import pytest
import torch

from audits import PROMPTS, ROLLOUTS, K, audit_report, measurement
from passk_trl.audit.report_figures import draw_curve, draw_success, draw_weights, write_figures
from passk_trl.interference import ProbeSample


@pytest.fixture(scope="module")
def report():
    return audit_report()


def test_success_is_a_histogram_beside_pass_at_k(report):
    left, right = draw_success(report).axes
    assert [bar.get_height() for bar in left.patches] == report.success_histogram
    [line] = right.get_lines()
    assert dict(zip(*line.get_data(), strict=True)) == report.pass_at_k


def test_each_prompt_with_a_gradient_has_its_weight_and_agreement(report):
    left, right, _ = draw_weights(report).axes
    for axes, estimates, k in ((left, report.unbiased, K), (right, report.plugin, 8)):
        points = axes.collections[0].get_offsets()
        assert points[:, 0].tolist() == estimates.agreement.tolist()
        assert points[:, 1].tolist() == estimates.weights[estimates.at(k)].tolist()


def test_the_curve_is_negative_beyond_the_diamond(report):
    left, right = draw_curve(report).axes
    points, _, (bars,) = left.containers[0]
    assert points.get_ydata().tolist() == report.unbiased.inner_product.tolist()
    low, high = bars.get_segments()[K - 1][:, 1]
    assert low == pytest.approx(report.unbiased.inner_product_low[K - 1])
    assert high == pytest.approx(report.unbiased.inner_product_high[K - 1])
    for axes in (left, right):
        [diamond] = [line for line in axes.get_lines() if line.get_marker() == "D"]
        assert diamond.get_xdata()[0] == report.unbiased.onset
    assert len(left.patches) == 1  # the interval of the onset


def test_without_an_onset_there_is_no_diamond():
    left, _ = draw_curve(audit_report(measurement(opposed=False))).axes
    assert [line for line in left.get_lines() if line.get_marker() == "D"] == []


def test_a_policy_that_solves_nothing_is_drawn_too(tmp_path):
    nothing = ProbeSample.of(torch.zeros(1, PROMPTS, PROMPTS), [0] * PROMPTS, ROLLOUTS)
    write_figures(tmp_path, audit_report(measurement(sample=nothing)))
    assert {path.name for path in tmp_path.iterdir()} == {"success.png", "weights.png", "curve.png"}
