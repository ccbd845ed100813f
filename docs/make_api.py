"""Writes the API reference, `docs/api/`, from the docstrings: `make api`.

griffe reads the sources; nothing is imported. Docstrings are laid out here, line by line: griffe's own parsers know
neither `*optional*` nor several arguments in one entry nor cross references, which docstrings in Hugging Face style
have, and Hugging Face's doc-builder writes for its own site, not plain Markdown.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import griffe


ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "api"

# What each page holds: modules, with all of their `__all__`, or single classes.
PAGES = {
    "Trainer and monitor": ["PassKGRPOTrainer", "PassKGRPOConfig", "ConflictMonitor"],
    "Command line": [
        "cli.data.PromptArguments",
        "cli.train.TrainArguments",
        "cli.data.DataArguments",
        "cli.probe.ProbeArguments",
        "cli.evaluate.EvaluateArguments",
    ],
    "Estimators": ["estimators"],
    "Objectives": ["objectives"],
    "Interference": ["interference"],
    "Gradients": ["gradients"],
    "Rewards": ["rewards"],
    "Control": ["control"],
    "Probe sets": ["rollouts.probe_sets"],
    "Audit": ["audit"],
    "Evaluation": ["evaluation"],
    "Records": ["records"],
    "Run": ["reports.run"],
}

_INTRODUCTION = """\
# API reference

Every public name, by page. `make api` writes these pages from the docstrings in `src/passk_trl`: change those, not
these.
"""

_CROSS_REFERENCE = re.compile(r"\[`~?([\w.]+)`\]")
_SECTION = re.compile(r"(Args|Parameters|Attributes|Returns|Raises|Example|Sources?):(?: (.*))?")
_ARGUMENT = re.compile(r"(\S.*?)(?: \((.*?)\))?:(?: (.*))?")
_EXCEPTION = re.compile(r"`?\w+(?:Error|Exception)`?[,:]")
_WIDTH = 100

Found = griffe.Object | griffe.Alias


@dataclass(frozen=True)
class Entry:
    """A public class, function, method or constant: its heading, as `Objective.advantages`, and what griffe found."""

    name: str
    found: Found

    @property
    def methods(self) -> list["Entry"]:
        return [Entry(f"{self.name}.{each.name}", each) for each in _members(self.found, "function")]


def reference() -> dict[str, str]:
    """The text of each file."""
    package = griffe.load("passk_trl", search_paths=[ROOT / "src"], allow_inspection=False)
    found = {page: [package[name] for name in names] for page, names in PAGES.items()}
    entries = {page: [entry for each in those for entry in _entries(each)] for page, those in found.items()}
    links = {path: link for page, those in entries.items() for path, link in _links(page, those)}
    modules = [(page, each) for page, those in found.items() for each in those if each.is_module]
    links |= {module.path: f"[`{module.path}`]({file_of(page)})" for page, module in modules}
    texts = {"README.md": _index(entries, links)}
    for page, those in found.items():
        about = [_laid_out(each, links) for each in those if each.is_module]
        sections = [_section(entry, links) for entry in entries[page]]
        texts[file_of(page)] = "\n\n".join([f"# {page}", *about, *sections]) + "\n"
    return texts


def file_of(page: str) -> str:
    """The name of a page's file."""
    return page.lower().replace(" ", "-") + ".md"


def _entries(found: Found) -> Iterator[Entry]:
    """A module's in the order of its source, which goes from the simple to the composed."""
    those = [each for each in found.members.values() if each.name in found.exports] if found.is_module else [found]
    return (Entry(each.name, each) for each in those)


def _links(page: str, entries: list[Entry]) -> Iterator[tuple[str, str]]:
    """A link for each path, with the anchor that GitHub makes of a heading; headings that read alike are numbered."""
    taken = Counter([page.lower()])
    for entry in (each for top in entries for each in (top, *top.methods)):
        anchor = re.sub(r"[^\w-]", "", entry.name.lower())
        number = f"-{taken[anchor]}" if taken[anchor] else ""
        taken[anchor] += 1
        link = f"[`{entry.name}`]({file_of(page)}#{anchor}{number})"
        yield from ((entry.found.path, link), (entry.found.canonical_path, link))


def _members(found: Found, kind: str) -> list[Found]:
    """The public methods (`"function"`) or properties (`"attribute"`) of a class that have something to say."""
    members = found.members.values() if found.is_class else []
    return [each for each in members if each.kind.value == kind and each.is_public and each.has_docstring]


def _index(entries: dict[str, list[Entry]], links: dict[str, str]) -> str:
    parts = [_INTRODUCTION]
    for page, those in entries.items():
        listed = [f"- {links[entry.found.path]}: {_first_sentence(entry.found, links)}" for entry in those]
        parts.append(f"## [{page}]({file_of(page)})\n\n" + "\n".join(listed) + "\n")
    return "\n".join(parts)


def _first_sentence(found: Found, links: dict[str, str]) -> str:
    paragraph = " ".join(_laid_out(found, links).split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


def _section(entry: Entry, links: dict[str, str], heading: str = "##") -> str:
    parts = [f"{heading} {entry.name}", f"```python\n{_signature(entry.found)}\n```", _laid_out(entry.found, links)]
    properties = _members(entry.found, "attribute")
    if properties:
        parts.append("**Properties:**\n\n" + "\n".join(_property(each, links) for each in properties))
    return "\n\n".join([*parts, *(_section(method, links, "###") for method in entry.methods)])


def _property(found: Found, links: dict[str, str]) -> str:
    about = _laid_out(found, links)
    kind = "" if about.startswith("`Tensor[") else f"`{found.annotation}`"  # which the docstring tells with its shape
    return _item(found.name, kind, about)


# Signatures ------------------------------------------------------------------------------------------------------


def _signature(found: Found) -> str:
    if found.is_attribute:
        return f"{found.path} = {found.value}" if isinstance(found.value, griffe.ExprTuple) else found.path
    if found.is_class and not _is_constructor_known(found):
        return f"class {found.path}({', '.join(map(str, found.bases))})"
    returns = f" -> {found.returns}" if found.is_function and found.returns else ""
    parameters = _parameters(found)
    line = f"{found.path}({', '.join(parameters)}){returns}"
    return line if len(line) <= _WIDTH else f"{found.path}(\n    " + ",\n    ".join(parameters) + f",\n){returns}"


def _is_constructor_known(found: Found) -> bool:
    """Not that of a dataclass some of whose fields are in another package, as TRL's are."""
    return "dataclass" not in found.labels or not _has_foreign_base(found)


def _has_foreign_base(found: Found) -> bool:
    known = found.resolved_bases
    return len(known) < len(found.bases) or any(map(_has_foreign_base, known))


def _parameters(found: Found) -> list[str]:
    if found.is_class and "NamedTuple" in map(str, found.bases):
        return [f"{field.name}: {field.annotation}" for field in found.attributes.values()]
    alone = [griffe.Parameters(each) for each in found.parameters if each.name not in ("self", "cls")]
    return [griffe.Function("", parameters=each).signature()[1:-1].replace("'", '"') for each in alone]


# Docstrings ------------------------------------------------------------------------------------------------------


def _laid_out(found: Found, links: dict[str, str]) -> str:
    """A docstring as Markdown, its cross references as links where the reference has what they name."""
    docstring = found.docstring.value if found.docstring else ""
    text = "\n\n".join(_sections(docstring))
    return _CROSS_REFERENCE.sub(lambda match: _reference_to(match[1], found, links), text)


def _reference_to(name: str, found: Found, links: dict[str, str]) -> str:
    owner = found if found.is_class else found.parent
    own = links.get(f"{owner.path}.{name}")  # such as `to_dict`, which several classes have
    return own or next((link for path, link in links.items() if f".{path}".endswith(f".{name}")), f"`{name}`")


def _sections(docstring: str) -> Iterator[str]:
    """The description, then each titled section."""
    lines: list[str] = []
    title = ""
    for line in [*docstring.splitlines(), "Returns:"]:  # a title more, which closes the last section
        match = _SECTION.fullmatch(line)
        if not match:
            lines.append(line)
            continue
        if lines:
            yield _one_section(title, lines)
        title, lines = match[1], [match[2]] if match[2] else []


def _one_section(title: str, lines: list[str]) -> str:
    if not title:
        return "\n".join(lines).strip()
    if title in ("Args", "Parameters", "Attributes"):
        return f"**{title}:**\n\n{_arguments(lines)}"
    text = dedent("\n".join(lines)).strip()
    if title == "Raises":
        items = [f"{'- ' if _EXCEPTION.match(line) else '  '}{line.strip()}" for line in text.split("\n")]
        return f"**{title}:**\n\n" + "\n".join(items)
    return f"**{title}:** {text}" if title != "Example" else f"**{title}:**\n\n{text}"


def _arguments(lines: list[str]) -> str:
    """An item for each entry, such as ``k (`int`, *optional*):``, with what is indented below it."""
    items = re.split(r"^    (?=\S)", "\n".join(lines), flags=re.MULTILINE)[1:]
    return "\n".join(_argument(*item.split("\n", 1)) for item in items)


def _argument(first: str, below: str = "") -> str:
    name, kind, beginning = _ARGUMENT.fullmatch(first).groups(default="")
    about = "\n".join(part for part in (beginning, dedent(below).strip()) if part)
    return _item(name, kind, about)


def _item(name: str, kind: str, about: str) -> str:
    name = name.replace("*", r"\*")  # `**kwargs` in bold
    return f"- **{name}**" + (f" ({kind})" if kind else "") + f": {indent(about, '  ').lstrip()}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.md"):
        stale.unlink()
    for name, text in reference().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
