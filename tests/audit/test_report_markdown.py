"""A reader of report.md finds the verdict, what was measured, and every table with its numbers."""

from dataclasses import replace

from audits import ROLLOUTS, audit_report, measurement
from markdown_parts import parts
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
    quoted = [line for line in text.splitlines() if line.endswith("…")]
    assert {len(line) for line in quoted} == {PROMPT_CHARACTERS + len("…")}
    assert len(quoted) == 2


def test_a_prompt_is_shown_as_it_is_and_adds_nothing_to_the_report():
    report = audit_report()
    plain = parts(as_markdown(report, num_shown=2))
    attack = "What is 1|2?\n# A heading\n\n````\n<img src=x> ![a](http://elsewhere/b.png)\n```\x0b# Another"
    hostile = replace(report, texts=[attack] * len(report.texts))
    parsed = parts(as_markdown(hostile, num_shown=2))
    assert {kind: found for kind, found in parsed.items() if kind != "fence"} == {
        kind: found for kind, found in plain.items() if kind != "fence"
    }
    assert parsed["fence"] == [f"{attack}\n"] * 2


def test_prompts_that_agree_are_not_called_interfering():
    report = audit_report(measurement(opposed=False))
    assert as_markdown(report, num_shown=0).endswith(f"{NO_NEGATIVE_PROMPT}\n")
