"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

from passk_trl.policy import cached_policy


os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside one another, and two threads each would wait


@pytest.fixture(scope="session")
def policy_path() -> Path:
    """Folder of the quickstart's start policy, from the user's cache; built there once, in about a minute."""
    return cached_policy(progress=False)


@pytest.fixture(scope="module")
def browser():
    """A real chromium, for tests marked `browser`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()
