"""What takes long to measure is kept in a file, with what it depends on, and is measured anew when that changes."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import passk_trl
from passk_trl import files
from passk_trl.rollouts.blocks import digest


PACKAGE = Path(passk_trl.__file__).parent


def kept(path: Path, made_by: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What is in the file, if it was made by this. Otherwise what is made now and written there."""
    if path.exists():
        found = torch.load(path)
        if found["made by"] == made_by:
            return found["made"]
        changed = ", ".join(name for name in made_by if found["made by"].get(name) != made_by[name])
        print(f"{path.name} is made anew: its {changed} changed", flush=True)
    made = make()
    with files.whole(path) as unfinished:
        torch.save({"made by": made_by, "made": made}, unfinished)
    return made


def dependencies(parts: list[str], makers: list[Any], texts: list[Path], **settings: Any) -> dict[str, Any]:
    """
    What a kept thing depends on.

    Args:
        parts (`list[str]`): of the package: its folders and files.
        makers (`list`): functions, classes and modules that make it.
        texts (`list[Path]`): files that count as they are, such as recipes.
        settings: JSON-safe.
    """
    sources = sorted(file for part in parts for file in _python_files(PACKAGE / part))
    code = [_without_words(file.read_text()) for file in sources]
    code += [_without_words(textwrap.dedent(inspect.getsource(maker))) for maker in makers]
    return {
        **settings,
        "sources": digest("".join(code).encode()),
        "recipe": digest(b"".join(path.read_bytes() for path in texts)),
        "libraries": {name: version(name) for name in ("torch", "transformers", "trl")},
    }


def _python_files(path: Path) -> list[Path]:
    files_of_folder = list(path.rglob("*.py"))
    if not (path.is_file() or files_of_folder):
        raise FileNotFoundError(f"{path} is no part of the package; name one that is.")
    return files_of_folder or [path]


def _without_words(source: str) -> str:
    """A program without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
