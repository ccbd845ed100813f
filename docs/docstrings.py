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


logger = logging.getLogger("mkdocs.plugins.docstrings")  # what it warns of fails a strict build

_CROSS_REFERENCE = re.compile(r"\[`~?([\w.]+)`\]")
_TITLE = re.compile(r"^(Args|Parameters|Attributes|Returns|Raises|Example|Sources?):[ \n]", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*?)(?: \((.*?)\))?:(?=\s)", re.MULTILINE)
_EXCEPTION = re.compile(r"^(?=`?\w+(?:Error|Exception)`?[,:])", re.MULTILINE)


class HuggingFaceDocstrings(griffe.Extension):
    """Rewrites every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        everything = list(_within(pkg))
        paths = {each.path for each in everything}
        for each in everything:
            if each.is_alias:
                continue
            if each.is_class:
                _correct_signature(each)
            if each.docstring:
                each.docstring.value = _linked(_laid_out(cleandoc(each.docstring.value)), each, paths)


def _within(found: griffe.Object | griffe.Alias) -> Iterator[griffe.Object | griffe.Alias]:
    yield found
    for member in found.members.values():
        if member.is_alias:
            yield member
        else:
            yield from _within(member)


def _correct_signature(found: griffe.Class) -> None:
    """Give a named tuple the one that griffe does not see, and a dataclass none where TRL has some of its fields."""
    if "NamedTuple" in map(str, found.bases):
        kind = griffe.ParameterKind.positional_or_keyword
        fields = [
            griffe.Parameter(each.name, annotation=each.annotation, kind=kind) for each in found.attributes.values()
        ]
        found.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*fields)))
    if "dataclass" in found.labels and len(found.resolved_bases) < len(found.bases):
        found.members.pop("__init__", None)


def _laid_out(docstring: str) -> str:
    """Each section below its title in bold; the entries of arguments, attributes and errors as a list."""
    description, *sections = _TITLE.split(docstring)
    parts = [description.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        on_the_line = body[0] not in " \n"
        parts.append(f"**{title}:** {body.strip()}" if on_the_line else f"**{title}:**\n\n{_entries(title, body)}")
    return "\n\n".join(parts)


def _entries(title: str, body: str) -> str:
    body = dedent(body).strip()
    if title == "Raises":
        return _EXCEPTION.sub("- ", body)
    return body if title in ("Returns", "Example") else _ENTRY.sub(_item, body)


def _item(entry: re.Match) -> str:
    name, kind = entry.groups()
    return f"- **{name.replace('*', chr(92) + '*')}**" + (f" ({kind})" if kind else "") + ":"


def _linked(text: str, found: griffe.Object, paths: set[str]) -> str:
    """A link where the package has what is named: in the same class or module, else anywhere."""

    def link(match: re.Match) -> str:
        name = match[1]
        near = (found if found.is_class else found.parent or found).path
        candidates = [f"{near}.{name}", name, *sorted(path for path in paths if path.endswith(f".{name}"))]
        path = next((path for path in candidates if path in paths), None)
        if path is None and ("." not in name or name.startswith("passk_trl.")):
            logger.warning(f"the docstring of {found.path} names [`{name}`], which is not there")
        shown = f"<code>{name if match[0][2] != '~' else name.split('.')[-1]}</code>"
        return f'<autoref optional identifier="{path}">{shown}</autoref>' if path else f"`{name}`"

    return _CROSS_REFERENCE.sub(link, text)
