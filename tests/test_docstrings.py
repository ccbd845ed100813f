"""Docstrings become Markdown without a loss: several arguments in an entry, shapes, errors, sources and links."""

import logging
import re
from collections.abc import Iterator

import griffe
import pytest

from docstrings import HuggingFaceDocstrings


MODULES = {
    "__init__.py": "",
    "part.py": '''
from dataclasses import dataclass
from typing import NamedTuple

from elsewhere import Base


def measure(k, *, low=0, high=1, **kwargs):
    """
    Measures at one
    k. It tells `low` too, as [`Report.to_dict`] and [`~trl.GRPOTrainer`] do.

    Args:
        k (`int`):
            The k, see [`Report`].
        low, high (`Tensor[K]`, *optional*, defaults to `0` and `1`): ends of
            the interval.
        **kwargs:
            Not used.

    Returns:
        [`Report`]: what was found.

    Raises:
        `ValueError`: if k is below 1 or
        above n.
        TypeError: If it is no number.

    Source: Somebody 2026, section 5.
    """


@dataclass
class Report(Base):
    """What [`measure`] found."""

    k: int

    def to_dict(self):
        """As [`from_dict`] reads."""

    def from_dict(self):
        """As [`to_dict`] wrote."""


class Pair(NamedTuple):
    """Two numbers."""

    first: int
    second: float
''',
}

EXPECTED = """\
Measures at one k.
It tells `low` too, as <Report.to_dict> and `trl.GRPOTrainer` do.

**Args:**

- **k** (`int`):
    The k, see <Report>.
- **low, high** (`Tensor[K]`, *optional*, defaults to `0` and `1`): ends of
    the interval.
- **\\*\\*kwargs**:
    Not used.

**Returns:**

<Report>: what was found.

**Raises:**

- `ValueError`: if k is below 1 or
above n.
- TypeError: If it is no number.

**Source:** Somebody 2026, section 5."""


@pytest.fixture
def sample() -> Iterator[griffe.Module]:
    extensions = griffe.load_extensions("dataclasses", HuggingFaceDocstrings)
    with griffe.temporary_visited_package("sample", extensions=extensions, modules=MODULES) as package:
        yield package["part"]


def text_of(found: griffe.Object) -> str:
    """With links as <path>."""
    link = r'<autoref optional identifier="sample\.part\.([\w.]+)"><code>\1</code></autoref>'
    return re.sub(link, r"<\1>", found.docstring.value)


def test_a_docstring_keeps_everything(sample):
    assert text_of(sample["measure"]) == EXPECTED


def test_a_name_is_looked_for_in_the_same_class_first(sample):
    assert 'identifier="sample.part.Report.from_dict"><code>from_dict<' in sample["Report.to_dict"].docstring.value


def test_signatures_have_the_fields_of_a_named_tuple_and_not_a_part_of_those_of_a_dataclass(sample):
    assert [str(each.annotation) for each in sample["Pair"].parameters] == ["int", "float"]
    assert "__init__" not in sample["Report"].members


def test_a_name_that_is_not_there_fails_the_build(caplog):
    with griffe.temporary_visited_package(
        "sample",
        extensions=griffe.load_extensions(HuggingFaceDocstrings),
        modules={"__init__.py": '"""[`Nowhere`]"""'},
    ):
        pass
    (record,) = caplog.records
    assert record.name.startswith("mkdocs.plugins.")  # whose warnings mkdocs counts
    assert record.levelno == logging.WARNING
    assert "[`Nowhere`], which is not there" in record.message
