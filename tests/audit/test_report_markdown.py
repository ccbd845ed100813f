"""A reader of report.md finds the verdict, what was measured, and every table with its numbers."""

from audits import ROLLOUTS, audit_report, measurement
from passk_trl.audit.report_markdown import as_markdown
from passk_trl.interference import verdict
from passk_trl.reports.wording import NO_NEGATIVE_PROMPT, PROMPT_CHARACTERS


def test_each_section_is_there():
    report = audit_report(measurement(unscorable=[1], not_finite=[3]), truncated=["top_p=0.95"])
    text = as_markdown(report, num_shown=2)
    assert f"## Verdict\n\n**{verdict(report.unbiased)}**" in text
    assert "Rollouts were sampled with top_p=0.95, so not from the policy" in text
    assert f"- 16 prompts x {ROLLOUTS} rollouts, 95% intervals (over prompts, each k by itself;" in text
    assert "- gradients of 90 of 100 chosen parameters, stored whole" in text
    assert "- left out, because their gradient could not be taken: model.experts.weight" in text
    assert "- left out, because a rollout could not be scored: rows 10" in text
    assert "- left out, because their gradient is not finite: rows 30" in text
    assert f"pass@1 gradient: k = {report.unbiased.onset:.1f} (" in text
    assert text.count("| conflict |") == len(report.unbiased.conflict_ks) > 0
    assert text.count("**Row ") == 2
    quoted = [line for line in text.splitlines() if line.startswith("> ")]
    assert {len(line) for line in quoted} == {len("> ") + PROMPT_CHARACTERS + len("…")}


def test_prompts_that_agree_are_not_called_interfering():
    report = audit_report(measurement(opposed=False))
    assert as_markdown(report, num_shown=0).endswith(f"{NO_NEGATIVE_PROMPT}\n")
