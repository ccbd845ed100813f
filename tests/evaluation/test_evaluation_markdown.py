"""A reader finds the verdict first, then each number with its band, then the prompts."""

from dataclasses import replace

from evaluations import report
from markdown_parts import parts, rendered_cells
from passk_trl.evaluation.evaluation_markdown import as_markdown


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    part = text.split(f"## {heading}")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines() if line[:1] == "|"]


def test_the_verdict_comes_first():
    found = report()
    lines = as_markdown(found, "evaluation.png").splitlines()
    assert lines[2] == "`my/model`, against `my/other`."
    assert [each.outcome for each in found.overall.pass_at_k.ranges] == ["gain", "undecided", "loss"]
    gain, undecided, loss = found.overall.pass_at_k.ranges
    assert lines[4].startswith(
        f"- **pass@k**: gain at k = 1{f' to {gain.last}' * (gain.last > 1)}, undecided at {undecided.first} to "
        f"{undecided.last}, loss at {loss.first} to 16 (95%, all k at once). Measured, the loss begins at k = "
    )
    assert lines[5].startswith("- **pass^k**: gain at k = 1 to 16 (95%, all k at once).")
    assert lines[7].startswith("60 prompts of `some/data`, 16 rollouts each.")
    assert "![Pass@k and pass^k over k, with their bands](evaluation.png)" in lines


def test_the_tables_have_the_numbers():
    found = report()
    text = as_markdown(found, "evaluation.png")
    for heading, curves in (("pass@k:", found.overall.pass_at_k), ("pass^k:", found.overall.pass_hat_k)):
        head, _, *body = rows(text, heading)
        assert head == ["k", "model", "against", "model − against"]
        assert [row[0] for row in body] == ["1", "2", "4", "8", "16"]
        for k, model, _, difference in body:
            (band, _), of_both, at = curves.policies, curves.difference, int(k) - 1
            assert model == f"{band.value[at]:.3f} [{band.low[at]:.3f}, {band.high[at]:.3f}]"
            assert difference == f"{of_both.value[at]:+.3f} [{of_both.low[at]:+.3f}, {of_both.high[at]:+.3f}]"
    widths = {len(line) for line in text.split("## pass^k")[0].splitlines() if line.startswith("|")}
    assert len(widths) == 1  # aligned in a terminal too


def test_names_from_elsewhere_are_shown_as_they_are_and_add_nothing(tmp_path):
    name = "a|b\n# <img src=x> ![c](http://elsewhere/d.png) `e` \x1b[2J_f_ g_h"
    shown = name.replace("\n", " ").replace("\x1b", " ")
    found = report()
    contributions = [
        replace(each, most_gaining=[replace(prompt, id=name) for prompt in each.most_gaining])
        for each in found.contributions
    ]
    hostile = replace(found, models=[name, name], contributions=contributions, about={**found.about, "dataset": name})
    hostile = replace(hostile, difficulty="level", by_difficulty={name: found.overall})
    parsed = parts(as_markdown(hostile, "evaluation.png"))
    plain = parts(as_markdown(replace(found, difficulty="level", by_difficulty={"x": found.overall}), "e.png"))
    counts, plain_counts = ({kind: len(each) for kind, each in of.items()} for of in (parsed, plain))
    inline = ("text", "text_special")  # which a parser divides at what is escaped
    assert {k: n for k, n in counts.items() if k not in inline} == {
        k: n for k, n in plain_counts.items() if k not in inline
    }
    assert parsed["code_inline"][:3] == [shown] * 3
    assert rendered_cells(as_markdown(hostile, "evaluation.png")) >= {shown}


def test_the_prompts_that_carry_gain_and_loss_are_named():
    found = report()
    text = as_markdown(found, "evaluation.png")
    body = rows(text, "The prompts that gain and lose most")[2:]
    for each in found.contributions:
        listed = [row for row in body if row[0] == str(each.k)]
        shown = [*each.most_gaining, *reversed(each.most_losing)]
        assert [row[1] for row in listed] == [prompt.id for prompt in shown]
        assert listed[0][2:] == [
            f"{shown[0].num_correct[0]} of 16",
            f"{shown[0].num_correct[1]} of 16",
            f"{shown[0].difference:+.3f}",
        ]
        assert f"{each.num_losing} lose and add {each.loss:+.3f}." in text


def test_one_policy_has_no_verdict():
    text = as_markdown(report(num_policies=1), "evaluation.png")
    assert rows(text, "pass@k:")[0] == ["k", "pass@k"]
    assert "gain" not in text
    assert "against" not in text


def test_groups_and_what_is_left_out_are_said():
    found = report()
    text = as_markdown(
        replace(found, unscorable=[7, 8], difficulty="`level`", by_difficulty={"3": found.overall}), "evaluation.png"
    )
    assert "Left out, because a rollout could not be scored: 2 prompts." in text
    assert rows(text, "pass@k by `level`")[2][:3] == ["3", "60", "1"]


def test_few_prompts_have_numbers_without_a_band():
    text = as_markdown(report(num_prompts=7), "evaluation.png")
    assert "A band needs at least 8 prompts." in text
    assert "undecided at k = 1 to 16" in text
    assert not any("[" in cell for row in rows(text, "pass@k:") for cell in row)


def test_a_range_of_rollouts():
    assert "12 to 16 rollouts each" in as_markdown(report(rollouts=(12, 16)), "evaluation.png")
    assert "1 rollout each" in as_markdown(report(rollouts=(1, 1)), "evaluation.png")
