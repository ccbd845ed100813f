"""The report of an evaluation has the same numbers for a program and for a reader."""

import json

from evaluations import report
from passk_trl.evaluation import write_evaluation


def test_a_program_and_a_reader_find_the_same(tmp_path):
    found = report()
    text = write_evaluation(tmp_path / "new" / "folder", found)
    directory = tmp_path / "new" / "folder"
    content = json.loads((directory / "evaluation.json").read_text())
    assert content["overall"]["pass_at_k"]["policies"][0]["value"] == found.overall.pass_at_k.policies[0].value
    assert content["overall"]["pass_at_k"]["ranges"][0] == {"outcome": "gain", "first": 1, "last": 1}
    assert content["overall"]["pass_at_k"]["crossing"]["k"] == found.overall.pass_at_k.crossing.k
    assert content["contributions"][1]["most_losing"][0]["num_correct"][0] == 0
    first = found.overall.pass_at_k.policies[0]
    assert f"| 1  | {first.value[0]:.3f} [{first.low[0]:.3f}, {first.high[0]:.3f}] |" in text
    assert text == (directory / "evaluation.md").read_text() + f"\nreport: {directory / 'evaluation.md'}"
    assert (directory / "evaluation.png").read_bytes().startswith(b"\x89PNG")
