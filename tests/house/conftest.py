"""The repository and the modules of its packages."""

from pathlib import Path

import pytest

PACKAGES = ("chipctl", "firmware_protocol", "sim_chip", "calibration")


@pytest.fixture(scope="session")
def repository():
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def modules(repository):
    found = [path for name in PACKAGES for path in sorted((repository / name).rglob("*.py"))]
    return {path.relative_to(repository).as_posix(): path.read_text(encoding="utf-8") for path in found}
