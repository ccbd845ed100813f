"""The page on models has the families that the tests measure, and their reasons for those that they do not."""

import re
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import make_models
import zoo


PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()


def test_the_page_lists_exactly_the_families_of_the_zoo():
    listed = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| [\d,]+ \|", PAGE, flags=re.MULTILINE)
    assert listed == [(family, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family]) for family in zoo.FAMILIES]
    assert f"For {len(zoo.FAMILIES)} of them" in PAGE
    assert make_models.left_out_rows() in PAGE


def test_the_script_measures_a_family():
    measured = make_models.measure("jamba")
    assert 0 < measured.in_graph < measured.parameters
    assert measured.error < 1e-5
    assert measured.cost > 0
    assert "| `jamba` | `JambaForCausalLM` |" in make_models.page({"jamba": measured})
