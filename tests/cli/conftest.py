"""Fixtures of the tests of commands."""

import pytest

import tiny


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    """A checkpoint's directory."""
    return str(tiny.saved_policy(tmp_path_factory.mktemp("policy")))
