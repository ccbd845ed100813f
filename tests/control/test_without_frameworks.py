"""The mathematics of the controllers loads no training framework."""

import subprocess
import sys

import pytest


FRAMEWORKS = ("transformers", "trl", "accelerate", "peft", "datasets")


@pytest.mark.parametrize(
    "module",
    [
        "mixed_advantages",
        "two_gradients",
        "smallest_share",
        "largest_free_k",
        "experiments.prompt_weights",
        "experiments.shifts_by_difficulty",
    ],
)
def test_importing_it_loads_no_framework(module):
    code = f"import sys, passk_trl.control.{module}; print(*sorted(set({FRAMEWORKS}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []
