"""Docstrings of Hugging Face's form as Markdown, for mkdocstrings: sections become lists, [`Name`] becomes a link.

griffe's own parsers know neither `*optional*` nor several arguments in one entry nor these cross references.
"""

import logging
import re
from collections.abc import Iterator
from inspect import cleandoc
from textwrap import dedent
from typing import Any

import griffe


logger = logging.getLogger("mkdocs.plugins.docstrings")  # its warnings fail a strict build

_REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\]")
_TITLE = re.compile(r"^(Args|Parameters|Attributes|Returns|Raises|Example|Sources?):[ \n]", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*?)( \(.*?\))?:(?=\s)", re.MULTILINE)  # such as "k (`int`, *optional*):"
_EXCEPTION = re.compile(r"^(?=`?\w+(?:Error|Exception)`?[,:])", re.MULTILINE)


class HuggingFaceDocstrings(griffe.Extension):
    """Rewrites every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        everything = {each.path: each for each in _within(pkg)}
        for each in everything.values():
            if each.is_class:
                _correct_signature(each)
            if each.docstring:
                each.docstring.value = _linked(_laid_out(cleandoc(each.docstring.value)), each, everything)


def _within(found: griffe.Object) -> Iterator[griffe.Object]:
    yield found
    for member in found.members.values():
        if not member.is_alias:
            yield from _within(member)


def _correct_signature(found: griffe.Class) -> None:
    """griffe does not see that of a named tuple, and not the fields that a dataclass has from TRL."""
    if "NamedTuple" in map(str, found.bases):
        kind = griffe.ParameterKind.positional_or_keyword
        fields = [
            griffe.Parameter(name, annotation=each.annotation, kind=kind) for name, each in found.members.items()
        ]
        found.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*fields)))
    if "dataclass" in found.labels and len(found.resolved_bases) < len(found.bases):
        found.members.pop("__init__", None)


def _laid_out(docstring: str) -> str:
    """Each section below its title in bold; the entries of arguments, attributes and errors as a list."""
    description, *sections = _TITLE.split(docstring)
    first, *others = description.strip().split("\n\n", 1)
    # The first line is what the table at the top of a page shows: there the whole first sentence.
    parts = [re.sub(r"(?<=\.) (?=[A-Z`])", "\n", first.replace("\n", " "), count=1), *others]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        below = " " if body[0] not in " \n" else "\n\n"
        parts.append(f"**{title}:**{below}{_entries(title, dedent(body).strip())}")
    return "\n\n".join(parts)


def _entries(title: str, body: str) -> str:
    if title == "Raises":
        return _EXCEPTION.sub("- ", body)
    if title in ("Args", "Parameters", "Attributes"):
        return _ENTRY.sub(lambda entry: f"- **{entry[1].replace('*', chr(92) + '*')}**{entry[2] or ''}:", body)
    return body


def _linked(text: str, found: griffe.Object, everything: dict[str, griffe.Object]) -> str:
    def link(reference: re.Match) -> str:
        short, name = reference.groups()
        called_so = [path for path in _meant(name, found, [*everything]) if path in everything]
        path = next((path for path in called_so if everything[path].docstring), None)
        shown = name.split(".")[-1] if short else name
        if path:
            return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'
        if not called_so and ("." not in name or name.startswith("passk_trl.")):
            logger.warning(f"the docstring of {found.path} names [`{name}`], which is not there")
        return f"`{name}`"

    return _REFERENCE.sub(link, text)


def _meant(name: str, found: griffe.Object, paths: list[str]) -> Iterator[str]:
    """What is called so in the same class, else in the same module and above, else wherever it is defined."""
    scope: griffe.Object | None = found
    while scope:
        yield f"{scope.path}.{name}"
        scope = scope.parent
    yield name
    last = name.split(".")[-1] if name.startswith("passk_trl.") else name
    yield from (path for path in paths if path.endswith(f".{last}"))
