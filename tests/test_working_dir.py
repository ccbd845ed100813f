"""A file of the working directory can be imported where a recipe names it, and takes no library's place."""

import sys

import pytest
from datasets import DatasetDict

from passk_trl.cli.data import PromptArguments, load_splits
from passk_trl.rewards import load_reward
from passk_trl.rewards.code.elsewhere import sandbox_named


def load_data(name: str) -> DatasetDict:
    return load_splits(PromptArguments(dataset_name=name))


CODE = """
import colorsys  # of Python, and a file beside this one

HAS_PYTHONS_OWN = hasattr(colorsys, "rgb_to_hsv")

def named(*args, **kwargs):
    return {}

def splits():
    return {}
"""


@pytest.mark.parametrize(("load", "name"), [(load_reward, "named"), (sandbox_named, "named"), (load_data, "splits")])
def test_a_file_beside_it_shadows_no_library_and_the_path_stays(tmp_path, monkeypatch, load, name):
    module = f"house_{load.__name__}"
    (tmp_path / f"{module}.py").write_text(CODE)
    (tmp_path / "colorsys.py").write_text("")
    monkeypatch.chdir(tmp_path)
    path = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", [*path])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    load(f"{module}.{name}")
    assert sys.modules[module].HAS_PYTHONS_OWN
    assert sys.path == path


def test_the_path_stays_when_the_import_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = [folder for folder in sys.path if folder]
    monkeypatch.setattr(sys, "path", [*path])
    with pytest.raises(ImportError):
        load_reward("no_such_house.reward")
    assert sys.path == path
