"""A program finds all of an audit, in numbers that JSON has."""

import json
import math
from dataclasses import replace

import pytest

from audits import PROMPTS, K, audit_report, measurement
from passk_trl.audit.report_json import as_json


def test_all_that_was_found_is_there():
    report = audit_report(measurement(unscorable=[1], not_finite=[3]), truncated=["top_p=0.95"])
    content = as_json(report, num_shown=2)
    assert content["truncated_sampling"] == ["top_p=0.95"]
    assert (content["unscorable_rows"], content["not_finite_rows"]) == ([10], [30])
    assert content["gradients"]["left_out"] == ["model.experts.weight"]
    assert len(content["prompts"]) == PROMPTS
    assert content["prompts"][15]["row"] == 150
    assert sum(prompt["contribution"] for prompt in content["prompts"]) / PROMPTS == pytest.approx(
        content["curve"][K - 1]["weighted_agreement"]
    )
    assert [prompt["text"] for prompt in content["most_negative"]] == [
        report.texts[prompt["row"] // 10] for prompt in content["most_negative"]
    ]
    assert len(content["most_negative"]) == 2


def test_what_is_not_a_number_is_null():
    report = audit_report()
    unbiased = replace(report.unbiased, onset=math.nan)
    content = as_json(replace(report, unbiased=unbiased), num_shown=0)
    assert content["onset"] is None
    json.dumps(content, allow_nan=False)
