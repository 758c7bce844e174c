"""Where shared material is, and small things that many tests need."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def shared(relative: str) -> Path:
    """A file outside the repository; the test is skipped where it is missing."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative}, which is not part of this repository")
    return path
