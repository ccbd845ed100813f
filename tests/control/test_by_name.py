from dataclasses import replace

import pytest
import torch

from passk_trl import control
from passk_trl.interference import InterferenceReport
from situations import line_report, report, rewards, situation


def broken(*names: str) -> InterferenceReport:
    """A report in which some numbers are NaN."""
    good = report(True)
    return replace(good, **{name: torch.full_like(getattr(good, name), torch.nan) for name in names})


REPORTS = {
    "none": [],
    "conflict": [report(True)],
    "lost in noise": [line_report([1] * 10 + [14] * 10, [1.0, -1.0] * 10)],
    "solved": [line_report([16] * 10, [0.0] * 10)],
    "never solved": [line_report([0] * 10, [0.0] * 10)],
    "no inner product": [report(True), broken("inner_product", "inner_product_se")],
    "no interval": [broken("inner_product_se")],
    "no agreement": [broken("agreement")],
}

HARDLY_SCORED = rewards([1, 8])
HARDLY_SCORED[:, 1:] = torch.nan

BATCHES = {
    "usual": rewards([0, 1, 8, 15, 16]),
    "one prompt": rewards([3]),
    "solved": rewards([16, 16]),
    "never solved": rewards([0, 0]),
    "one scored rollout": HARDLY_SCORED,
    "nothing scored": torch.full((2, 16), torch.nan),
}


@pytest.mark.parametrize("name", control.CONTROLLERS)
def test_nothing_is_trained_or_logged_that_is_not_finite(name):
    for reports in REPORTS.values():
        controller = control.CONTROLLERS[name]()
        for batch in BATCHES.values():
            for entry in (0.0, 1.0, torch.nan, torch.inf):
                gram_PP = torch.full((len(batch), len(batch)), entry).fill_diagonal_(1.0).double()
                decision = controller.decide(situation(batch, reports, gram=lambda gram_PP=gram_PP: gram_PP))
                assert decision.advantages_PG.isfinite().all()
                assert torch.tensor(list(decision.logged.values())).isfinite().all()


def test_recipes_know_every_controller_by_name_and_the_recommended_ones_come_first():
    assert list(control.CONTROLLERS)[:3] == ["guard", "mix", "governor"]
    abstract = {"CONTROLLERS", "Controller", "Decision", "Situation"}
    assert {each.__name__ for each in control.CONTROLLERS.values()} == set(control.__all__) - abstract
