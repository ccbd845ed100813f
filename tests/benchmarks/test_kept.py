"""What a benchmark keeps is made anew when what it depends on has changed, and only then."""

from pathlib import Path

import pytest

import kept as keeping
from kept import dependencies, kept


def made_by(parts: list[str], recipe: Path, maker=None, **settings) -> dict:
    return dependencies(parts, [maker or test_what_is_kept_is_made_once], [recipe], **settings)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("k: 8\n")
    return path


def test_what_is_kept_is_made_once(tmp_path, recipe):
    depends = made_by(["estimators"], recipe, k=4)
    assert kept(tmp_path / "some.pt", depends, lambda: ([1.0, float("inf")], 450)) == ([1.0, float("inf")], 450)
    assert kept(tmp_path / "some.pt", depends, lambda: pytest.fail("made again")) == ([1.0, float("inf")], 450)


def test_it_is_made_anew_after_a_change_and_says_which(tmp_path, recipe, capsys):
    def one() -> int:
        return 1

    def other() -> int:
        return 2

    first = made_by(["estimators"], recipe, one, k=4)
    changes = {
        "k": made_by(["estimators"], recipe, one, k=5),
        "sources": made_by(["estimators"], recipe, other, k=4),
    }
    recipe.write_text("k: 4\n")
    changes["recipe"] = made_by(["estimators"], recipe, one, k=4)
    for name, changed in changes.items():
        path = tmp_path / f"{name}.pt"
        kept(path, first, lambda: "old")
        assert kept(path, changed, lambda: "new") == "new"
        assert f"its {name} changed" in capsys.readouterr().out
        assert kept(path, changed, lambda: pytest.fail("made again")) == "new"


def test_a_change_of_the_package_counts_and_one_of_its_words_does_not(tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(keeping, "PACKAGE", tmp_path)
    source = tmp_path / "monitor" / "rider.py"
    source.parent.mkdir()
    source.write_text('def ride():\n    """Rides."""\n    return 1\n')
    before = made_by(["monitor"], recipe)
    source.write_text('def ride():\n    """Rides on."""\n    return (1)  # one\n')
    assert made_by(["monitor"], recipe) == before
    source.write_text('def ride():\n    """Rides."""\n    return 2\n')
    assert made_by(["monitor"], recipe) != before
    with pytest.raises(FileNotFoundError):
        made_by(["no_such_part.py"], recipe)
