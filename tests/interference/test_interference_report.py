"""A report survives being saved, and is asked by k."""

import json
from dataclasses import replace
from math import isnan

import pytest
import torch
from torch import Tensor

from bandit_world import WORLD
from passk_trl.interference import InterferenceReport, measure_interference, verdict
from probes import COUNTS, GRAMS, ROLLOUTS, every_probe


@every_probe
def test_report_survives_json(gram, counts, estimator):
    report = measure_interference(gram, counts, ROLLOUTS, [1, 2.5, 7], 0.9, estimator)
    line = json.dumps(report.to_dict(), allow_nan=False)
    restored = InterferenceReport.from_dict(json.loads(line))
    assert json.dumps(restored.to_dict()) == line
    for name, value in vars(report).items():
        if isinstance(value, Tensor):
            assert value.dtype == getattr(restored, name, value).dtype
            assert torch.equal(value.nan_to_num(7.0), getattr(restored, name).nan_to_num(7.0))
    assert torch.equal(report.conflict, restored.conflict)


def test_in_conflict_refuses_a_k_that_was_not_measured():
    report = measure_interference(GRAMS["opposed"], COUNTS["spread"], ROLLOUTS, [1, 4])
    with pytest.raises(ValueError, match=r"k=2 was not measured; `ks` is \[1.0, 4.0\]"):
        report.in_conflict(2)


def test_a_k_is_found_at_its_index():
    report = measure_interference(GRAMS["opposed"], COUNTS["spread"], ROLLOUTS, [1, 2.5, 4])
    assert [report.at(k) for k in (1, 2.5, 4.0)] == [0, 1, 2]
    for k in (2, 5, 0):
        with pytest.raises(ValueError, match=rf"k={k} was not measured; `ks` is \[1.0, 2.5, 4.0\]. Measure again"):
            report.at(k)


@every_probe
def test_contributions_add_up_to_the_inner_product(gram, counts, estimator):
    report = measure_interference(gram, counts, ROLLOUTS, [1, 2.5, 7], estimator=estimator)
    for k in (1, 2.5, 7):
        expected, scale = report.inner_product[report.at(k)], gram.abs().max()
        torch.testing.assert_close(report.contribution(k).mean(), expected, rtol=1e-9, atol=1e-12 * scale.item())


def test_the_contribution_of_a_prompt_is_its_weight_times_its_agreement():
    # Agreement without self-pairs: (2, 2, 2, -6)/3; weights at k = 2 of c = 3, 3, 3 and 1 of 4: 0, 0, 0 and 2.
    gradients = torch.tensor([1.0, 1.0, 1.0, -2.0], dtype=torch.float64)
    report = measure_interference(gradients[:, None] * gradients, [3, 3, 3, 1], 4, [1, 2])
    assert report.contribution(1).tolist() == report.agreement.tolist()
    assert report.contribution(2).tolist() == [0, 0, 0, 2 * report.agreement[3].item()]
    with pytest.raises(ValueError, match="k=3 was not measured"):
        report.contribution(3)


def report_of(agreement: list[float]) -> InterferenceReport:
    """With these agreements, and with the same weight for every prompt."""
    report = measure_interference(torch.eye(len(agreement)), [1] * len(agreement), 4, [1, 2])
    return replace(report, agreement=torch.tensor(agreement, dtype=torch.float64))


def test_the_most_negative_prompts_come_worst_first():
    report = report_of([1.0, -1.0, 0.0, -3.0, -2.0])
    assert report.most_negative(2, 2) == [3, 4]
    assert report.most_negative(2, 10) == [3, 4, 1]  # never one that does not lower it
    assert report.most_negative(2, 0) == []
    assert report_of([1.0, 0.0, 2.0]).most_negative(1, 3) == []


def test_prompts_that_lower_it_alike_keep_their_order():
    assert report_of([-1.0, -2.0, -1.0, -2.0]).most_negative(1, 4) == [1, 3, 0, 2]


def test_the_most_negative_prompts_are_those_of_the_weights_at_that_k():
    """The easy prompt disagrees more, but weighs nothing at k = 7."""
    report = replace(
        measure_interference(torch.eye(3), [7, 1, 1], ROLLOUTS, [1, 7]),
        agreement=torch.tensor([-5.0, -1.0, 1.0], dtype=torch.float64),
    )
    assert report.most_negative(1, 3) == [0, 1]
    assert report.most_negative(7, 3) == [1]


def test_a_prompt_without_a_gradient_is_neither_negative_nor_not():
    """Of three prompts with correct and incorrect rollouts, one disagrees with the mean of the others."""
    gradients = torch.tensor([2.0, 2.0, -1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    gram, counts = gradients[:, None] * gradients, [3, 3, 1, 0, 4, 4]
    assert measure_interference(gram, counts, 4, [1]).negative_fraction == pytest.approx(1 / 3)
    weighted = measure_interference(gram, counts, 4, [1], sampling_weights=[1, 1, 0.5, 9, 9, 9])
    assert weighted.negative_fraction == pytest.approx(0.5 / 2.5)
    assert isnan(measure_interference(torch.zeros(3, 3), [0, 4, 4], 4, [1]).negative_fraction)


@every_probe
def test_contributions_of_weighted_prompts_add_up_too(gram, counts, estimator):
    weights = torch.linspace(0.2, 1.8, len(gram), dtype=torch.float64)
    report = measure_interference(gram, counts, ROLLOUTS, [1, 2.5, 7], estimator=estimator, sampling_weights=weights)
    for k in (1, 2.5, 7):
        expected, scale = report.inner_product[report.at(k)], gram.abs().max()
        torch.testing.assert_close(report.contribution(k).mean(), expected, rtol=1e-9, atol=1e-12 * scale.item())


def test_a_record_of_an_earlier_version_is_read():
    """It had one number of degrees of freedom, another error of the cosine, and an onset of 1 for a lost gradient."""
    report = measure_interference(GRAMS["random"], COUNTS["spread"], ROLLOUTS, [1, 2, 4])
    content = report.to_dict()
    for name in ("degrees", "band_factor", "cosine_low", "cosine_high", "onset_interval"):
        del content[name]
    old = InterferenceReport.from_dict(content | {"cosine_se": [0.1, 0.2, None], "onset": 1.0})
    assert torch.equal(old.inner_product_low, report.inner_product_low)
    assert old.degrees.tolist() == [5.0] * 3
    assert old.band_factor >= report.band_factor
    assert old.cosine_low.isnan().all()
    assert (old.onset, old.onset_interval) == (None, (1.0, None))
    assert (old.k_star_bound, old.k_star_bound_paper) == (None, None)


def test_a_clear_conflict_of_an_earlier_version_is_still_one():
    gram, counts = WORLD.probe(400, 16, torch.Generator().manual_seed(0))
    content = measure_interference(gram, counts, 16).to_dict()
    for name in ("degrees", "band_factor", "cosine_low", "cosine_high", "onset_interval"):
        del content[name]
    old = InterferenceReport.from_dict(content | {"cosine_se": [0.1] * 15})
    assert old.conflict_ks
    assert old.onset_interval[1] == old.conflict_ks[0] >= old.onset
    assert verdict(old).startswith(f"From k = {old.onset:.1f} on")
    assert InterferenceReport.from_dict(json.loads(json.dumps(old.to_dict()))).to_dict() == old.to_dict()
