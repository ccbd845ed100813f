"""The documentation site: a warning ends the build, every public name is on it, and it opens in a real browser."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest
from mkdocstrings import Inventory

import passk_trl


ROOT = Path(__file__).parents[1]
REFERENCE = sorted((ROOT / "docs" / "api").glob("*.md"))
DOCUMENTED = [name for page in REFERENCE for name in re.findall(r"^::: passk_trl\.(\S+)$", page.read_text(), re.M)]

# Modules without a page in the reference: those of the classes that the package itself exports, and the inner works.
INSIDE = {
    "child_process",
    "config",
    "distributed",
    "files",
    "memory",
    "monitor",
    "private_names",
    "quiet",
    "random_streams",
    "rollout_trainer",
    "trainer",
    "withheld",
    "working_dir",
}

# What a browser fetches by itself.
FETCHED = re.compile(r"""<(?:script|img|iframe|source)[^>]* src=["']?([^"' >]+)|<link[^>]* href=["']?([^"' >]+)""")


def build(root: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    path = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # mkdocstrings formats signatures with ruff
    )
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PATH": path}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="session")
def on_site(site) -> set[str]:
    with (site / "objects.inv").open("rb") as file:
        return {*Inventory.parse_sphinx(file)}


MISTAKES = {  # what is added to a page, and the complaint
    ("train.md", "[dead](nowhere.md)"): "'nowhere.md', but the target is not found",
    ("train.md", "[dead](../recipes/nowhere.md)"): "'../recipes/nowhere.md', but the target is not found",
    ("train.md", "[dead](audit.md#nowhere)"): "does not contain an anchor '#nowhere'",
    ("new.md", "# A page that no menu leads to"): "- new.md",
}


def test_each_dead_link_is_named_and_fails_the_build(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for other in {path.name for path in ROOT.iterdir()} - {"docs"}:
        (tmp_path / other).symlink_to(ROOT / other)
    for page, text in MISTAKES:
        with (tmp_path / "docs" / page).open("a") as file:
            file.write(f"\n\n{text}\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert [complaint for complaint in MISTAKES.values() if complaint not in built.stderr] == []
    assert f"Aborted with {len(MISTAKES)} warnings" in built.stdout + built.stderr


def test_every_module_has_a_page():
    modules = {module.name for module in pkgutil.iter_modules(passk_trl.__path__)}
    assert modules - {name.split(".")[0] for name in DOCUMENTED} == INSIDE
    index = (ROOT / "docs" / "api" / "README.md").read_text()
    assert [page.name for page in REFERENCE if page.name != "README.md" and f"]({page.name})" not in index] == []


def test_every_public_name_is_on_a_page(on_site):
    public = {f"passk_trl.{name}" for name in passk_trl.__all__} - {"passk_trl.__version__"}
    for name in DOCUMENTED:
        if not name.split(".")[-1][0].isupper():
            module = import_module(f"passk_trl.{name}")
            public |= {f"{module.__name__}.{each}" for each in getattr(module, "__all__", functions_of(module))}
    assert public - on_site == set()


def functions_of(module) -> set[str]:
    """And classes: what a module without `__all__` has for others."""
    here = {each for each in vars(module).values() if callable(each) and each.__module__ == module.__name__}
    return {each.__name__ for each in here if not each.__name__.startswith("_")}


def test_the_site_fetches_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    fetched = {link for page in pages for pair in FETCHED.findall(page.read_text()) for link in pair if link}
    assert len(pages) > 30
    assert len(fetched) > 10
    assert [link for link in fetched if "//" in link] == []
    sheets = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"@import|url\([\"']?(?:https?:)?//", sheets)


@pytest.fixture(scope="module")
def address(site):
    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("localhost", 0), partial(Silent, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375], ids=["desktop", "phone"])
def test_every_page_opens_in_a_browser(browser, site, address, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints, requests, too_wide = [], [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    for path in sorted(site.rglob("*.html")):
        page.goto(address + path.relative_to(site).as_posix(), wait_until="load")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            too_wide.append(path.name)
        shown = page.eval_on_selector_all("article img", "all => all.map(one => [one.naturalWidth, one.clientWidth])")
        assert all(natural > 0 and 0 < drawn <= width for natural, drawn in shown), path
    assert complaints == []
    assert too_wide == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


@pytest.mark.browser
def test_the_search_finds_a_public_name(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.keyboard.press("/")
    page.keyboard.type("required_probe_size")
    page.wait_for_selector(".md-search-result__item")
    assert "Interference" in page.inner_text(".md-search-result__list")
    page.close()
