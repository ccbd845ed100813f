"""Reports in words."""

import pytest

from passk_trl.interference import verdict
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
            "95% interval below 0. Probe more than 3 prompts.",
        ),
        (
            report_with_curve([4.0, 3.0, 0.5], 1.0),
            "No conflict up to k = 2: training for pass@k would raise pass@1 (95% intervals). Beyond it, 3 prompts "
            "cannot tell.",
        ),
        (
            report_with_curve([4.0, 3.0, 2.0], 1.0),
            "No conflict up to k = 3: training for pass@k would raise pass@1 (95% intervals).",
        ),
        (
            report_with_curve([0.5, 0.5, 0.5], 1.0),
            "Undecided: at no k is the whole 95% interval above 0. Probe more than 3 prompts.",
        ),
        (
            report_with_curve([4.0, 3.0, 2.0], 1.0, sign=-1.0),
            "Nothing can be said: the squared norm of the pass@1 gradient itself is measured negative, so it is lost "
            "in the noise of 3 prompts. Probe more of them.",
        ),
        (
            report_with_curve([0.0, 0.0, 0.0], 0.0),
            "Nothing can be said: no prompt has both correct and incorrect rollouts, so none has a gradient. Choose "
            "prompts that the policy sometimes solves.",
        ),
    ],
)
def test_the_verdict(report, text):
    assert verdict(report) == text
