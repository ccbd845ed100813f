"""Any text, in Markdown, is shown as it is."""

import html

import pytest
from markdown_it import MarkdownIt

from markdown_parts import parts
from passk_trl.reports.markdown import code_block, code_span, escaped


TEXTS = [
    "plain",
    "math_algebra_12",
    "_a_ __b__ **c** ~~d~~",
    "<img src=x onerror=y>&amp;",
    "![a](http://elsewhere/b.png)",
    "a|b",
    "`code` ``more`` `",
    "\\(x^2\\)",
    "<https://elsewhere>",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_shown_as_it_is(text):
    table = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"| a |\n|---|\n| {escaped(text)} |")
    assert f"<td>{html.escape(text).replace('&#x27;', chr(39))}</td>" in table
    assert parts(code_span(text))["code_inline"] == [text]
    assert parts(code_block(text))["fence"] == [f"{text}\n"]


def test_a_terminal_is_told_nothing():
    assert escaped("a\x1b[2J\nb") == "a \\[2J b"
    assert code_span("a\x1b[2J\nb") == "`a [2J b`"


def test_a_name_stays_readable_in_a_terminal():
    assert escaped("HumanEval/12_b-3.4 (x), y: z") == "HumanEval/12_b-3.4 (x), y: z"
