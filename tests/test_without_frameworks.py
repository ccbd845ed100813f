"""The mathematics can be imported without any framework."""

import subprocess
import sys

import pytest


FRAMEWORKS = {"accelerate", "datasets", "deepspeed", "peft", "transformers", "trl"}


MODULES = [
    "estimators",
    "objectives",
    "interference",
    "evaluation",
    "cli.evaluate_counts",
    "control",
    "control.mixed_advantages",
    "control.two_gradients",
    "control.smallest_share",
    "control.largest_free_k",
    "control.experiments.prompt_weights",
    "control.experiments.shifts_by_difficulty",
]


@pytest.mark.parametrize("module", MODULES)
def test_the_mathematics_loads_no_framework(module):
    """In a fresh interpreter: this one has loaded them already."""
    program = f"import sys, passk_trl.{module}; sys.exit(str(sorted({FRAMEWORKS} & sys.modules.keys()) or ''))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
