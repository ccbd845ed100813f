"""An objective report survives being saved."""

import json

import torch

from passk_trl.interference import ObjectiveReport, measure_objectives
from passk_trl.objectives import objective_from
from probes import random_gram


def test_objective_reports_survive_json():
    for gram in (random_gram(6), -torch.ones(6, 6) + 2 * torch.eye(6)):  # the second has no cosine
        for report in measure_objectives(
            gram, [1, 2, 3, 4, 5, 6], 8, [objective_from("maxrl"), objective_from("grpo")]
        ):
            content = json.dumps(report.to_dict(), allow_nan=False)
            assert repr(ObjectiveReport.from_dict(json.loads(content))) == repr(report)
