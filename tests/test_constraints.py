"""`constraints.txt`: what `make install` takes can be installed on every Python that `pyproject.toml` allows."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution

from packaging.specifiers import SpecifierSet

from test_docs import ROOT


def test_each_version_runs_on_the_oldest_python():
    """Debian 12 has Python 3.11.2, for which a package of the docs once had no version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest,) = SpecifierSet(project["requires-python"])
    asked = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name = line.partition("==")[0]
        try:
            asked[name] = distribution(name).metadata["Requires-Python"]
        except PackageNotFoundError:  # a comment, or a package of the browser's tests
            continue
    assert len(asked) > 100
    assert [name for name, python in asked.items() if not SpecifierSet(python or "").contains(oldest.version)] == []
