"""The page of a run: that it needs nothing beside it, says what is there, and opens in a real browser."""

import re

import pytest

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.reports.run import read_run
from passk_trl.reports.text import write_report
from passk_trl.reports.wording import BEYOND_NOTE
from runs import record, write_arguments, write_probes, write_state


HOSTILE = "<script>console.error('ran')</script><img src='https://example.org/x.png'> What is 2 + 2? " + "long" * 99


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The page of a run of the smallest policy, through the trainer and the monitor."""
    directory = tmp_path_factory.mktemp("trained")
    trainer = PassKGRPOTrainer(
        model=tiny.policy(),
        reward_funcs=tiny.starts_low,
        args=tiny.training_args(
            directory, pass_at_k=4, eval_strategy="steps", eval_steps=2, eval_on_start=True, max_steps=4
        ),
        train_dataset=tiny.questions(),
        eval_dataset=tiny.questions(8),
        processing_class=tiny.tokenizer(),
        callbacks=[ConflictMonitor(tiny.questions(), every=2, num_prompts=12, num_rollouts=8, at_start=True)],
    )
    trainer.train()
    trainer.save_state()
    write_report(directory)
    return directory / "report.html"


@pytest.fixture(scope="module")
def in_conflict(tmp_path_factory):
    """The page of a long run in conflict, with prompts that would do harm if they were taken for HTML."""
    directory = tmp_path_factory.mktemp("in_conflict")
    records = [record(step, opposed=step >= 40, text=HOSTILE) for step in range(0, 401, 20)]
    write_probes(directory, records)
    write_state(
        directory, {step: {1: 0.6 - step / 2000, 4: 0.7 + step / 2000} for step in range(0, 401, 20)}, 400, 500
    )
    write_arguments(directory, 4)
    write_report(directory)
    return directory / "report.html"


def test_the_page_has_its_figures_in_it_and_asks_for_nothing(in_conflict):
    page = in_conflict.read_text()
    sources = re.findall(r"<img src=\"([^\"]+)\" alt=\"([^\"]+)\"", page)
    assert len(sources) == 5
    assert all(source.startswith("data:image/png;base64,iVBOR") and len(alt) > 20 for source, alt in sources)
    assert not re.search(r"<script|<link[^>]+http|url\(|@import", page)


def test_the_prompts_that_interfere_most_are_shown_as_text(in_conflict):
    page = in_conflict.read_text()
    assert "&lt;script&gt;console.error(&#39;ran&#39;)&lt;/script&gt;" in page
    report = read_run(in_conflict.parent).probes[400].report
    for row in (120, 130, 140, 150):
        summary = f"<strong>Row {row}</strong>: 1 of 8 correct, weight {report.weights[3, row // 10]:.3g} × agreement"
        assert f"{summary} {report.agreement[row // 10]:.3g}" in page


def test_the_page_says_what_became_of_the_conflict(in_conflict):
    page = in_conflict.read_text()
    run = read_run(in_conflict.parent)
    assert (
        "At step 400, training for pass@4 works against pass@1, by all reports so far, since step 40. In the latest "
        "report alone, the measured pass@k gradient works against pass@1&#39;s from k = "
    ) in page
    assert "In the evaluations, pass@1 fell from 0.600 to 0.400." in page
    assert "The trainer state is of step 400 of 500." in page
    assert "Step 40, the first report with pass@4 in conflict" in page
    assert "Step 400, the latest report" in page
    mean, margin = run.probes[40].pass_at(1)
    assert f"<td>{mean:.3f} ± {margin:.3f}</td>" in page


def test_a_run_without_texts_says_why_there_are_none(tmp_path):
    without = {key: value for key, value in record(10, opposed=True).items() if key not in ("texts", "rows")}
    write_probes(tmp_path / "run", [without])
    write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Their text was not recorded: only probes of a probe_dataset" in page
    assert "<strong>Prompt 12</strong>: 1 of 8 correct" in page


def test_the_page_of_a_ride_has_nothing_that_only_probes_have(tmp_path):
    of_probe = record(10, opposed=True)
    kept = {key: value for key, value in of_probe.items() if key not in ("texts", "rows", "forecast")}
    for name, written in {"probe": of_probe, "ride": {**kept, "first_step": 3, "looks": [[128, -1.0, 2.0]]}}.items():
        write_probes(tmp_path / name, [written])
        write_report(tmp_path / name)
    pages = {name: (tmp_path / name / "report.html").read_text() for name in ("probe", "ride")}
    assert ["forecast pass@1 per step" in page for page in pages.values()] == [True, False]
    assert "measured per step" not in pages["ride"]
    assert "text was not recorded" not in pages["ride"]
    assert "<strong>Prompt 12</strong>: 1 of 8 correct" in pages["ride"]


def test_the_page_and_the_text_explain_a_cosine_beyond_what_one_can_be(tmp_path):
    content = record(10, opposed=True)
    shorter = [squared / 100 for squared in content["report"]["norm_squared"]]
    write_probes(tmp_path / "run", [{**content, "report": {**content["report"], "norm_squared": shorter}}])
    assert BEYOND_NOTE in write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "≤ −1 (" in page
    assert page.count(BEYOND_NOTE) == 1
    write_probes(tmp_path / "other", [content])  # as it was, without such a cosine
    assert BEYOND_NOTE not in write_report(tmp_path / "other")
    assert BEYOND_NOTE not in (tmp_path / "other" / "report.html").read_text()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375], ids=["desktop", "phone"])
@pytest.mark.parametrize("which", ["trained", "in_conflict"])
def test_the_page_opens_in_a_browser(browser, request, which, width):
    path = request.getfixturevalue(which)
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(path.as_uri(), wait_until="load")
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    images = page.eval_on_selector_all("img", "all => all.map(one => [one.naturalWidth, one.clientWidth])")
    assert len(images) == 5
    assert all(natural > 0 for natural, _ in images)
    assert all(shown >= 0.9 * min(width, 450) for _, shown in images)  # letters are readable on a phone
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "16px"
    page.close()


@pytest.mark.browser
def test_a_prompt_is_read_in_the_browser_as_it_was_written(browser, in_conflict):
    page = browser.new_page()
    page.goto(in_conflict.as_uri())
    assert HOSTILE[:80] in page.inner_text("pre >> nth=0")
    page.close()
