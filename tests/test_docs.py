"""What the documentation says is so: its Python runs, its links lead somewhere, its error messages are ours."""

import ast
import doctest
import functools
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import datasets
import pytest
import trl

import passk_trl
from passk_trl.tasks import ambiguous_arithmetic


ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "recipes/README.md")),
    *sorted({*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/README.md")}),
]
SOURCES = "".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
SOURCES_OF_TRL = "".join(path.read_text() for path in (Path(trl.__file__).parent / "generation").glob("*.py"))


def python_of(page: Path) -> str:
    return "\n\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, policy_path):
    """From top to bottom, with a small policy and a small task in the place of those from the hub, for two steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "conflict.jsonl").touch()
    rows = ambiguous_arithmetic(400, split="train")
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    small = {"max_steps": 2, "use_cpu": True, "bf16": False, "report_to": [], "max_completion_length": 8}
    config = functools.partial(passk_trl.PassKGRPOConfig, **small)
    monkeypatch.setattr(passk_trl, "PassKGRPOConfig", config, raising=False)
    code = re.sub(r'"Qwen/[^"]+"', repr(str(policy_path)), python_of(page))
    known = {"probe": ambiguous_arithmetic(100, split="probe")}
    exec(compile("from passk_trl import *\n" + code, str(page), "exec"), known)


def test_the_readme_is_short_and_begins_with_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert {"make quickstart", "make test"} == {line.split("  ")[0] for line in lines[:35] if line.startswith("make ")}


def test_the_pages_links_lead_somewhere():
    broken = []
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", page.read_text()):
            leads_to = page.parent / target
            if "://" not in target and not (leads_to.exists() and (not anchor or anchor in anchors_of(leads_to))):
                broken.append(f"{page.name}: {target}#{anchor}")
    assert broken == []


@functools.cache
def anchors_of(page: Path) -> list[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    alike = [plain[:i].count(anchor) for i, anchor in enumerate(plain)]
    return [f"{anchor}-{number}" if number else anchor for anchor, number in zip(plain, alike, strict=True)]


def docstrings_of(source: Path) -> list[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, documented)]
    return [docstring for node in nodes if (docstring := ast.get_docstring(node))]


def test_the_examples_of_docstrings_run():
    run = doctest.DocTestRunner()
    for source in sorted((ROOT / "src").rglob("*.py")):
        for docstring in docstrings_of(source):
            for example in re.findall(r"```python\n(>>> .*?)```", docstring, flags=re.DOTALL):
                module = ".".join(source.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
                known = {**vars(importlib.import_module(module))}
                run.run(doctest.DocTestParser().get_doctest(example, known, module, None, 0))
    results = run.summarize(verbose=False)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_architecture_page_has_every_room_and_the_arrows_that_are_checked():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| ((?:`[\w./]+`(?:, )?)+) \| .* \| (.*) \|$", page, flags=re.MULTILINE)
    rooms = {name.removesuffix(".py").strip("/") for first, _ in rows for name in re.findall(r"`([\w./]+)`", first)}
    assert rooms == {module.name for module in pkgutil.iter_modules(passk_trl.__path__)}
    assert all((ROOT / path).exists() for _, tests in rows for path in re.findall(r"`(tests/[^`]+)`", tests))
    sources = SOURCES + "".join(path.read_text() for path in (ROOT / "tests" / "support").glob("*.py"))
    named = re.findall(r"`(_?[a-zA-Z_]+)`", page[page.index("## Where to add") :])
    assert [name for name in named if name not in sources] == []
    (contract, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.sub(r" \| \(\w+\)", "", layer) for layer in contract["layers"]]  # one in brackets is yet to come
    assert "\n".join(f"    {layer}" for layer in layers) in page


def test_the_messages_of_the_troubleshooting_page_are_ours_or_of_trl():
    headings = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCES + SOURCES_OF_TRL)
    assert len(headings) > 8
    for heading in headings:
        constant = max(re.split(r"\d+(?:\.\d+)?", heading), key=len)  # between the numbers
        assert constant in joined, heading
