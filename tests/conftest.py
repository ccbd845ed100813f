"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

from passk_trl.policy import cached_policy


@pytest.fixture(scope="session")
def policy_path() -> Path:
    """Folder of the quickstart's start policy, from the user's cache; built there once, in about a minute."""
    return cached_policy(progress=False)
