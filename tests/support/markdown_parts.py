"""What a reader of Markdown is shown: its parts by kind, as a parser of CommonMark with tables sees them."""

import re
from collections import defaultdict
from html import unescape

from markdown_it import MarkdownIt


def parts(text: str) -> dict[str, list[str]]:
    """By kind, such as `"fence"`, `"image"` or `"html_block"`, the content of each part, in order."""
    found = defaultdict(list)
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found[token.type].append(token.content)
        for child in token.children or []:
            found[child.type].append(child.content)
    return dict(found)


def rendered_cells(text: str) -> set[str]:
    """The cells of all tables, as a reader sees them."""
    html = MarkdownIt("commonmark").enable("table").render(text)
    return {unescape(cell) for cell in re.findall("<td>(.*?)</td>", html)}
