"""Reports of audits that were never run: real diagnoses of made-up Gram matrices."""

import torch

from passk_trl.audit import AuditMeasurement, AuditReport, diagnose
from passk_trl.gradients import Coverage
from passk_trl.interference import ProbeSample


PROMPTS, ROLLOUTS, K = 16, 8, 4


def measurement(opposed: bool = True, num_prompts: int = PROMPTS, **changes) -> AuditMeasurement:
    """Three of four prompts are easy and one is hard; with `opposed` the hard ones' gradients oppose the rest."""
    hard = torch.arange(num_prompts) >= 0.75 * num_prompts
    sign = torch.where(hard, -1.0 if opposed else 1.0, 1.0).double()
    noise = 0.1 * torch.randn(num_prompts, num_prompts, generator=torch.Generator().manual_seed(0)).double()
    return AuditMeasurement(
        **{
            "prompts": list(range(num_prompts)),
            "num_rollouts": ROLLOUTS,
            "sample": ProbeSample.of(
                sign[:, None] * sign + (noise + noise.T) / 2, torch.where(hard, 1, 7), num_samples=ROLLOUTS
            ),
            "coverage": Coverage(covered=90, total=100, left_out=("model.experts.weight",)),
            "store": "exact",
            "unscorable": [],
            "not_finite": [],
            **changes,
        }
    )


def audit_report(measured: AuditMeasurement | None = None, truncated: list[str] | None = None) -> AuditReport:
    """The prompt i of the dataset is row 10 i of the split that it was drawn from."""
    rows = [10 * i for i in range(PROMPTS)]
    texts = [f"What is {row}? " + "long " * 200 for row in rows]
    return diagnose(measured or measurement(), {"model": "my/model"}, texts, rows, truncated or [], K, 0.95)
