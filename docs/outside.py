"""A mkdocs hook: brings to the site what its pages link to outside docs/, such as recipes and results.

In the repository such a link is a path, which GitHub follows. On the site, docs/ is the root, and any other file keeps
its path. The README is the site's first page.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Adds the README, and each file outside docs/ that a page links to."""
    pages = [ROOT / "README.md", *(Path(file.abs_src_path) for file in files.documentation_pages())]
    outside = dict.fromkeys(pages[:1])
    while pages:
        found = [target for target in _targets(pages.pop()) if _is_outside(target) and target not in outside]
        outside.update(dict.fromkeys(found))
        pages += [target for target in found if target.suffix == ".md"]
    for path in outside:
        files.append(File.generated(config, _on_site(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Replaces the paths of links that lead out of docs/, or into it."""
    source = Path(page.file.abs_src_path)

    def replaced(link: re.Match) -> str:
        target = _target(source, link[0])
        return os.path.relpath(_on_site(target), os.path.dirname(page.file.src_uri)) if target.exists() else link[0]

    return _LINK.sub(replaced, markdown)


def _targets(page: Path) -> Iterator[Path]:
    return (_target(page, link) for link in _LINK.findall(page.read_text(encoding="utf-8")))


def _target(page: Path, link: str) -> Path:
    return Path(os.path.normpath(page.parent / link))


def _is_outside(path: Path) -> bool:
    return path.is_file() and ROOT in path.parents and DOCS not in path.parents


def _on_site(path: Path) -> str:
    return path.relative_to(DOCS if DOCS in path.parents else ROOT).as_posix()
