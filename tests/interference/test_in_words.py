"""Reports in words."""

import math

import pytest

from passk_trl.interference import cosine_in_words, known_cosine, verdict
from probes import report_with_curve


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            report_with_curve([4.0, 2.0, 0.5, -2.0, -4.0, 2.0, -3.0], 1.0),
            "From k = 3.2 on (95% interval 2.7 to 3.6), training for pass@k would lower pass@1. The conflict is "
            "significant at k = 4 to 5, 7.",
        ),
        (
            report_with_curve([4.0, 2.0, -0.5], 1.0),
            "Undecided: from k = 2.8 on, training for pass@k is measured to lower pass@1, but at no k is the whole "
            "95% band below 0. Probe more than 3 prompts.",
        ),
        (
            report_with_curve([4.0, 3.0, 0.5], 1.0),
            "No conflict up to k = 2: training for pass@k would raise pass@1 (95%, all k at once). Beyond it, 3 "
            "prompts cannot tell.",
        ),
        (
            report_with_curve([4.0, 3.0, 2.0], 1.0),
            "No conflict up to k = 3: training for pass@k would raise pass@1 (95%, all k at once).",
        ),
        (
            report_with_curve([0.5, 0.5, 0.5], 1.0),
            "Undecided: at no k is the whole 95% band above 0. Probe more than 3 prompts.",
        ),
        (
            report_with_curve([4.0, 3.0, 2.0], 1.0, sign=-1.0),
            "Nothing can be said: pass@1's gradient is lost in the noise (3 prompts). Probe more of them.",
        ),
        (
            report_with_curve([4.0, -3.0, -2.0], 1.0, sign=-1.0),
            "The conflict is significant at k = 2 to 3. Where it begins cannot be told: pass@1's gradient is lost in "
            "the noise (3 prompts). Probe more of them.",
        ),
        (
            report_with_curve([0.0, 0.0, 0.0], 0.0),
            "Nothing can be said: no two prompts with a gradient were measured. Choose prompts that the policy "
            "sometimes solves.",
        ),
    ],
)
def test_the_verdict(report, text):
    assert verdict(report) == text


@pytest.mark.parametrize(
    ("cosine", "text", "known"),
    [
        ((0.912, 0.844, 0.957), "0.91 (0.84 to 0.96)", 0.912),
        ((-0.4, -1.0, 0.1), "-0.40 (-1.00 to 0.10)", -0.4),
        ((5.6, -0.3, 1.0), "≥ 1 (-0.30 to 1.00)", 1.0),
        ((-4.04, -1.0, 0.2), "≤ −1 (-1.00 to 0.20)", -1.0),
        ((1.0 + 1e-15, 1.0, 1.0), "1.00 (1.00 to 1.00)", 1.0),  # k = 1
        ((0.3, -1.0, 1.0), "–", None),  # the interval excludes nothing
        ((1.4, 1.2, 5.6), "–", None),  # and this one everything
        ((0.5, math.nan, math.nan), "–", None),
        ((math.nan, math.nan, math.nan), "–", None),
        ((math.inf, -1.0, 1.0), "–", None),
    ],
)
def test_a_cosine_is_told_only_where_the_probe_can_tell_it(cosine, text, known):
    assert cosine_in_words(*cosine) == text
    assert known_cosine(*cosine) == known
