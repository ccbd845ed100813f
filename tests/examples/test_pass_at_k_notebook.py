"""The notebook runs from its first cell to its last, and ends with its figure."""

import io
import re
from base64 import b64decode
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient


PATH = Path(__file__).parents[2] / "examples" / "pass_at_k.ipynb"


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(policy_path, tmp_path_factory):
    notebook = nbformat.read(PATH, as_version=4)
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    return NotebookClient(notebook, timeout=600, resources=folder).execute()


def test_every_cell_runs(executed):
    assert [cell.execution_count for cell in code_of(executed)] == [1, 2, 3, 4, 5]


def test_it_tells_of_the_conflict_at_the_start(executed):
    printed = "".join(output.get("text", "") for output in code_of(executed)[3].outputs)
    assert re.findall(r"^ *(\d+) ", printed, flags=re.MULTILINE) == ["0", "15", "30"]
    assert re.search(r"^ *0 +[2-7]\.\d +True +no step yet$", printed, flags=re.MULTILINE)


def test_it_ends_with_the_figure(executed):
    (figure,) = [output for output in code_of(executed)[-1].outputs if "image/png" in output.get("data", {})]
    height, width, _ = plt.imread(io.BytesIO(b64decode(figure.data["image/png"]))).shape
    assert (height, width) > (300, 800)


def test_it_is_committed_without_outputs():
    """They differ from machine to machine, and nobody could tell a stale one."""
    for cell in code_of(nbformat.read(PATH, as_version=4)):
        assert cell.outputs == []
        assert cell.execution_count is None
